"""Elements of the ISMRMRD XML headers of new files."""

from ismrmrd import xsd

from untrained_recon.encoding import Encoding


def encoding_element(encoding: Encoding, first_step: int, last_step: int) -> xsd.encodingType:
    """The ``<encoding>`` of a Cartesian 2-D scan.

    Args:
        encoding: Matrices, fields of view, centre, counts and acceleration.
        first_step: Number of the first line that is acquired, ``encodingLimits.kspace_encoding_step_1.minimum``.
        last_step: Number of the last one.
    """
    n_x = encoding.encoded_shape[1]
    mode = xsd.calibrationModeType.SEPARATE if encoding.separate_calibration else xsd.calibrationModeType.EMBEDDED
    return xsd.encodingType(
        encodedSpace=_space_element(encoding.encoded_shape, encoding.encoded_fov),
        reconSpace=_space_element(encoding.recon_shape, encoding.recon_fov),
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_0=xsd.limitType(minimum=0, maximum=n_x - 1, center=n_x // 2),
            kspace_encoding_step_1=xsd.limitType(minimum=first_step, maximum=last_step, center=encoding.center_y),
            kspace_encoding_step_2=xsd.limitType(minimum=0, maximum=0, center=0),
            segment=xsd.limitType(minimum=0, maximum=0, center=0),
            **{
                name: xsd.limitType(minimum=0, maximum=count - 1, center=0)
                for name, count in encoding.counts._asdict().items()
                if name != "encoding"
            },
        ),
        trajectory=xsd.trajectoryType.CARTESIAN,
        parallelImaging=xsd.parallelImagingType(
            accelerationFactor=xsd.accelerationFactorType(
                kspace_encoding_step_1=round(encoding.acceleration), kspace_encoding_step_2=1
            ),
            calibrationMode=mode,
        ),
    )


def _space_element(shape: tuple[int, int], fov: tuple[float, float, float]) -> xsd.encodingSpaceType:
    return xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=shape[1], y=shape[0], z=1),
        fieldOfView_mm=xsd.fieldOfViewMm(x=fov[2], y=fov[1], z=fov[0]),
    )
