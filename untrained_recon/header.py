"""The ISMRMRD XML header: reduced to what reconstruction needs and checked before any data arrive, and written for new files."""

from typing import Any, TypeVar

from ismrmrd import xsd
from xsdata.formats.dataclass.parsers import XmlParser
from xsdata.formats.dataclass.parsers.config import ParserConfig

from untrained_recon.errors import HeaderError, UnsupportedScanError
from untrained_recon.printable import printable
from untrained_recon.types import Encoding, Header, ImageIndex
from untrained_recon.xmltext import parse_xml

DEFAULT_NOISE_BANDWIDTH = 0.793  # Gadgetron's assumption where the header does not say
SEPARATE_MODES = ("separate", "external")

Number = TypeVar("Number", int, float)


def parse_header(xml: bytes) -> Header:
    """Parse and check an ISMRMRD XML header.

    Args:
        xml: The document; trailing NUL bytes are ignored, as some hosts append one.

    Raises:
        HeaderError: Not XML, not an ISMRMRD header, or a needed value missing or senseless.
        UnsupportedScanError: Non-Cartesian or multi-band encoding.
    """
    document = parse_document(xml)
    if not document.encoding:
        raise HeaderError("the ISMRMRD header has no <encoding>")
    system = document.acquisitionSystemInformation
    bandwidth = getattr(system, "relativeReceiverNoiseBandwidth", None)
    measurement = document.measurementInformation
    return Header(
        encodings=tuple(_encoding(e, f"encoding[{n}]") for n, e in enumerate(document.encoding)),
        noise_bandwidth=bandwidth if isinstance(bandwidth, float) and bandwidth > 0 else DEFAULT_NOISE_BANDWIDTH,
        protocol_name=getattr(measurement, "protocolName", None) or "",
        diffusion=bool(getattr(document.sequenceParameters, "diffusion", None)),
    )


def parse_document(xml: bytes) -> Any:
    """The document as ``ismrmrd.xsd`` binds it, its values unchecked. Raises HeaderError when it is not an ISMRMRD header."""
    # otherwise a wrong value is kept as a string
    strict = ParserConfig(fail_on_unknown_properties=True, fail_on_converter_warnings=True)
    try:
        return XmlParser(config=strict).parse(parse_xml(xml), xsd.ismrmrdHeader)
    except (ValueError, TypeError) as error:
        reason = printable(" ".join(str(error).split()), 200)
        raise HeaderError(f"the ISMRMRD header cannot be parsed: {reason}") from error


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


def _encoding(e: Any, where: str) -> Encoding:
    trajectory = getattr(e.trajectory, "value", e.trajectory)
    if trajectory != "cartesian":
        raise UnsupportedScanError(f"{where}: trajectory {trajectory!r}; only Cartesian scans are reconstructed")
    encoded, recon = _space(e.encodedSpace, f"{where}.encodedSpace"), _space(e.reconSpace, f"{where}.reconSpace")
    parallel = e.parallelImaging
    if (bands := getattr(getattr(parallel, "multiband", None), "multiband_factor", 1)) > 1:
        raise UnsupportedScanError(f"{where}: {bands} slices are excited at once; multi-band scans are not reconstructed")
    mode = getattr(getattr(parallel, "calibrationMode", None), "value", None)
    factor = getattr(getattr(parallel, "accelerationFactor", None), "kspace_encoding_step_1", None)
    limits = e.encodingLimits
    step_1, step_2 = (getattr(limits, f"kspace_encoding_step_{n}", None) for n in (1, 2))
    (n_x, n_y, n_z), encoded_fov = encoded
    (recon_x, recon_y, recon_z), recon_fov = recon
    return Encoding(
        encoded_shape=(n_y, n_x),
        recon_shape=(recon_y, recon_x),
        encoded_fov=(encoded_fov[2], encoded_fov[1], encoded_fov[0]),
        recon_fov=(recon_fov[2], recon_fov[1], recon_fov[0]),
        center_y=n_y // 2 if step_1 is None else int(step_1.center),
        counts=ImageIndex(1, *(_count(limits, name) for name in ImageIndex._fields[1:])),
        separate_calibration=mode in SEPARATE_MODES,
        acceleration=float(factor or 1),
        partitions=n_z,
        recon_partitions=recon_z if n_z > 1 else 1,
        center_z=n_z // 2 if n_z == 1 or step_2 is None else int(step_2.center),
        interleaved=_interleaving(parallel) if mode == "interleaved" else "",
    )


def _interleaving(parallel: Any) -> str:
    """The counter over which undersampling is interleaved; repetitions where the header does not name one."""
    dimension = getattr(parallel.interleavingDimension, "value", None)
    return dimension if dimension in ImageIndex._fields else "repetition"


def _space(space: Any, where: str) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    matrix = tuple(_positive(getattr(space.matrixSize, axis), f"{where}.matrixSize.{axis}") for axis in "xyz")
    fov = tuple(_positive(getattr(space.fieldOfView_mm, axis), f"{where}.fieldOfView_mm.{axis}") for axis in "xyz")
    return (matrix[0], matrix[1], matrix[2]), (fov[0], fov[1], fov[2])


def _positive(value: Number, where: str) -> Number:
    if not 0 < value < 65536:
        raise HeaderError(f"{where} of the ISMRMRD header is {value}; it must be positive")
    return value


def _count(limits: Any, name: str) -> int:
    limit = getattr(limits, name, None)
    return 1 if limit is None else int(limit.maximum) + 1
