"""What the ISMRMRD header says of a scan: where samples lie, what is to be delivered. Units and axes as in
:mod:`untrained_recon.types`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

StepLimits = tuple[int, int]
"""Smallest and largest number of an encoding step, by the header."""


class ImageIndex(NamedTuple):
    """The counters that tell one image from another (ISMRMRD ``encoding_space_ref`` and ``idx``)."""

    encoding: int
    average: int
    slice: int
    contrast: int
    phase: int
    repetition: int
    set: int

    def __str__(self) -> str:
        named = [f"{name} {value}" for name, value in zip(self._fields, self, strict=True) if value or name == "slice"]
        return ", ".join(named)


@dataclass(frozen=True)
class Encoding:
    """One ``<encoding>`` of the ISMRMRD header, matrices as ``(y, x)``.

    Attributes:
        encoded_shape: Encoded matrix; x includes readout oversampling.
        recon_shape: Matrix of the images to be delivered.
        encoded_fov: Encoded field of view ``(z, y, x)`` in mm.
        recon_fov: Field of view of the images ``(z, y, x)`` in mm.
        center_y: ``encodingLimits.kspace_encoding_step_1.center``, the line number of the k-space centre.
        counts: How many values each counter of :class:`ImageIndex` takes by ``encodingLimits``; 1 where the header is silent.
        separate_calibration: Flag-20 lines belong to a calibration scan of its own and must not enter the image.
        acceleration: Nominal acceleration along y, 1 where the header is silent.
        partitions: Encoded matrix along z; 1 for 2-D scans.
        recon_partitions: Images along z to be delivered.
        center_z: ``encodingLimits.kspace_encoding_step_2.center``.
        interleaved: Counter of :class:`ImageIndex` over which undersampling is interleaved (``repetition`` in TPAT), so that the
            mean over it calibrates; empty where calibration lines do.
        limits_y: Minimum and maximum of ``encodingLimits.kspace_encoding_step_1``; None where the header is silent.
        limits_z: The same of step 2.
        gain: Factor on the images, which keeps their values where less k-space is fitted than the header's matrix holds.
        refusal: Why no readout of this space can be taken, to be raised for one that comes; the other values mean nothing then.
        shutter: Whether ``z`` and ``y`` were sampled within an ellipse, as in most 3-D scans, and the corners are to stay empty.
        on_grid: k-space is as large as ``encoded_shape``: no readout has oversampling to be removed, and what lies beyond the field
            of view of the images is cut from the images.
    """

    encoded_shape: tuple[int, int]
    recon_shape: tuple[int, int]
    encoded_fov: tuple[float, float, float]
    recon_fov: tuple[float, float, float]
    center_y: int
    counts: ImageIndex
    separate_calibration: bool
    acceleration: float
    partitions: int = 1
    recon_partitions: int = 1
    center_z: int = 0
    interleaved: str = ""
    limits_y: StepLimits | None = None
    limits_z: StepLimits | None = None
    gain: float = 1.0
    refusal: Exception | None = None
    shutter: bool = False
    on_grid: bool = False

    @classmethod
    def of(
        cls,
        matrix: tuple[int, int],
        recon_shape: tuple[int, int] | None = None,
        voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> "Encoding":
        """That of k-space on a grid, whose images are cut to the middle of the field of view, without interpolation.

        Args:
            matrix: ``(n_y, n_x)`` of the k-space.
            recon_shape: ``(y, x)`` of the images; cut to ``matrix`` where larger, and the same by default.
            voxel_mm: Size of a voxel ``(z, y, x)``.
        """
        recon_y, recon_x = (min(pair) for pair in zip(recon_shape or matrix, matrix, strict=True))
        z, y, x = voxel_mm
        return cls(
            encoded_shape=matrix,
            recon_shape=(recon_y, recon_x),
            encoded_fov=(z, y * matrix[0], x * matrix[1]),
            recon_fov=(z, y * recon_y, x * recon_x),
            center_y=matrix[0] // 2,
            counts=ImageIndex(1, 1, 1, 1, 1, 1, 1),
            separate_calibration=False,
            acceleration=1.0,
            on_grid=True,
        )

    def gridded(self) -> "Encoding":
        """That of the k-space that is made of its readouts: without their oversampling."""
        if self.on_grid:
            return self
        z, y, _ = self.encoded_fov
        return replace(self, encoded_shape=self.image_shape, encoded_fov=(z, y, self.recon_fov[2]), on_grid=True)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Matrix ``(y, x)`` of the k-space that is fitted: encoded lines, readout without its oversampling."""
        return self.encoded_shape if self.on_grid else (self.encoded_shape[0], self.crop_shape[1])

    @property
    def crop_shape(self) -> tuple[int, int]:
        """Matrix ``(y, x)`` that covers the reconstructed field of view at the acquired resolution."""
        (n_y, n_x), (_, *encoded), (_, *recon) = self.encoded_shape, self.encoded_fov, self.recon_fov
        return within(n_y, encoded[0], recon[0]), within(n_x, encoded[1], recon[1])


def within(n: int, fov: float, recon_fov: float) -> int:
    """How many of ``n`` pixels across a field of view lie within that of the images."""
    return max(1, round(n * recon_fov / fov))


@dataclass(frozen=True)
class Measurement:
    """``measurementInformation`` of the ISMRMRD XML header; empty where it is silent.

    Attributes:
        measurement_id: ``measurementID``.
        patient_position: ``patientPosition``: HFS, FFP, …
    """

    measurement_id: str = ""
    patient_position: str = ""


@dataclass(frozen=True)
class Header:
    """What reconstruction takes from the ISMRMRD XML header.

    Attributes:
        encodings: The encoding spaces, in the order of the header.
        noise_bandwidth: ``acquisitionSystemInformation.relativeReceiverNoiseBandwidth``, 0.793 where the header is silent.
        protocol_name: ``measurementInformation.protocolName``, empty where the header is silent.
        diffusion: Whether ``sequenceParameters`` describe diffusion weighting.
        remarks: What was left out of the header, or had to be assumed; a sentence each.
        measurement: Who was measured and how they lay, for the record in the images.
    """

    encodings: tuple[Encoding, ...]
    noise_bandwidth: float
    protocol_name: str
    diffusion: bool = False
    remarks: tuple[str, ...] = ()
    measurement: Measurement = Measurement()


@dataclass(frozen=True)
class TimeRanges:
    """Earliest and latest time stamps of the imaging readouts of an image, in the scanner's ticks.

    Attributes:
        acquisition: ``acquisition_time_stamp``; readouts where it is 0 have none. ``(0, 0)`` where no readout has one.
        physiology: ``physiology_time_stamp``, each of its values, of the same readouts.
    """

    acquisition: tuple[int, int] = (0, 0)
    physiology: tuple[tuple[int, int], ...] = ((0, 0),) * 3

    @classmethod
    def of(cls, stamps: Iterable[tuple[int, ...]]) -> "TimeRanges":
        """The ranges of readouts by their time stamps, each of the acquisition and of the physiology."""
        columns = list(zip(*(stamp for stamp in stamps if stamp[0] > 0), strict=True))
        if not columns:
            return cls()
        acquisition, *physiology = ((min(column), max(column)) for column in columns)
        return cls(acquisition, tuple(physiology))


NO_TIMES = TimeRanges()
