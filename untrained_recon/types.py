"""The values that pass between the stages, and the conventions that all of them share.

Axes
    k-space ``(n_coils, n_y, n_x)``, images ``(n_y, n_x)``, maps ``(n_coils, n_y, n_x)``. ``y`` is the phase encode direction,
    ``x`` the readout, both in the order of the ISMRMRD counters. 3-D scans have ``z``, the second phase encode direction, before
    ``y``. Index ``n // 2`` is the centre of every axis, of k-space and image alike.
Fourier transform
    Centred and orthonormal: ``img = fftshift(ifft(ifftshift(ksp)))`` with norm ``"ortho"``, forward likewise. Noise of unit
    variance stays noise of unit variance.
Units
    Millimetres for fields of view and positions, seconds for durations unless a name says otherwise. After prewhitening the
    noise has standard deviation 1 in the real and in the imaginary part.
Masks
    Boolean, True where a sample was acquired. They come from the readout headers, never from zeros in the data, but for whole
    readouts that are zero in every coil: these were not acquired.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from untrained_recon.account import Account
from untrained_recon.card import card
from untrained_recon.cautions import Caution

ComplexArray = npt.NDArray[np.complex64]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
CountArray = npt.NDArray[np.int32]
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

    @property
    def image_shape(self) -> tuple[int, int]:
        """Matrix ``(y, x)`` of the k-space that is fitted: encoded lines, readout without its oversampling."""
        n_y, n_x = self.encoded_shape
        return n_y, max(1, round(n_x * self.recon_fov[2] / self.encoded_fov[2]))

    @property
    def crop_shape(self) -> tuple[int, int]:
        """Matrix ``(y, x)`` that covers the reconstructed field of view at the acquired resolution."""
        n_y, n_x = self.image_shape
        return max(1, round(n_y * self.recon_fov[1] / self.encoded_fov[1])), n_x


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


@dataclass(frozen=True)
class KSpace:
    """The samples of one image, centred, without readout oversampling, prewhitened where a noise scan was there.

    A 3-D image has an axis ``n_z`` before ``n_y`` in every array.

    Attributes:
        ksp: ``(n_coils, n_y, n_x)``; zero where nothing was acquired.
        mask: ``(n_y, n_x)``; True where acquired.
        calib: ``(n_coils, n_y, n_x)``; the samples from which maps may be estimated (``ksp`` itself unless the calibration was a
            scan of its own).
        calib_mask: ``(n_y, n_x)``; True for the samples that ``calib`` holds.
        index: Which image this is.
        encoding: Where the samples lie and what is to be delivered.
        reference: ISMRMRD acquisition header of the readout nearest to the centre of k-space.
        prewhitened: Whether a noise scan was applied.
        weights: float32 ``(n_y, n_x)``; where samples are means of different numbers of acquisitions, the square root of that
            number (the inverse of the noise's standard deviation), with a mean square of 1 over the samples. None where all are
            means of equally many.
        averages: Mean number of acquisitions of which a sample is the mean.
        times: When the image was acquired.
        cautions: What is doubtful about the samples.
        notes: What the header left open, and how it was read.
        maps: complex64 ``(n_sets, n_coils, n_y, n_x)``, sensitivities that are known; None where they are to be estimated.
    """

    ksp: ComplexArray
    mask: BoolArray
    calib: ComplexArray
    calib_mask: BoolArray
    index: ImageIndex
    encoding: Encoding
    reference: Any
    prewhitened: bool
    weights: FloatArray | None = None
    averages: float = 1.0
    times: TimeRanges = TimeRanges()
    cautions: tuple[Caution, ...] = ()
    notes: tuple[str, ...] = ()
    maps: ComplexArray | None = None

    @property
    def sampling(self) -> FloatArray:
        """The mask with the samples' weights: float32 ``(n_y, n_x)``, for a residual in which the noise is the same everywhere."""
        mask = self.mask.astype(np.float32)
        return mask if self.weights is None else mask * self.weights

    @property
    def acceleration(self) -> float:
        """Acceleration as sampled: grid points per acquired sample."""
        return float(self.mask.size / max(1, int(self.mask.sum())))


@dataclass(frozen=True)
class EvidenceMap:
    """A standard deviation at every pixel of the magnitude, or why there is none.

    Attributes:
        pixels: Of the shape and in the units of ``Reconstruction.magnitude``; None where there is no map.
        note: What the map was made of; or why it is missing.
    """

    pixels: FloatArray | None
    note: str


@dataclass(frozen=True)
class Reconstruction:
    """One reconstructed image and how it came about.

    Attributes:
        magnitude: ``(n_y, n_x)`` root sum of squares over the coils, of ``encoding.recon_shape``; 3-D images have ``n_z`` first.
        complex_img: ``(n_y, n_x)`` coil-combined complex image of the same shape.
        method: ``maps`` (Step 1-B), ``coils`` or ``separate`` (Step 1-A), the name of another method (``recon.method``), ``direct``
            (fully sampled) or ``empty`` (no signal at all); the fallbacks are ``cg-sense`` and ``zero-filled``.
        fallback_reason: Why the method that was asked for was not used; empty where it was, or where nothing was to be done.
        iterations: Iterations of all fits, 0 where none was needed.
        stop_reason: Why the last fit ended.
        loss: Weighted squared residual relative to the data, mean of the fits; NaN where nothing was fitted.
        refinements: Steps of the refinement after the fits.
        refinement_stop: Why it ended; empty where there was none.
        held_out_chi2: Squared error on the measured lines that were held out, before they entered the image, relative to the
            noise's: 1 where only their noise was not predicted. NaN where none were, or the noise is not known.
        chi2: Squared residual of the samples, before they were put back, relative to the noise's; NaN where nothing was fitted.
        seconds: Wall time of the reconstruction.
        device: Where it ran.
        map_sets: Sets of sensitivity maps; 0 where there were none.
        spread: Over the runs of the network, of the magnitude that each alone would deliver; None where not asked for.
        noise: Of the magnitude, by the noise of the samples; None where not asked for.
        cautions: What is doubtful about the image, that of its samples included; of each code one.
        maps: complex64 ``(n_coils, n_y, n_x)``, the first set of sensitivities that it was made with; None where it needed none,
            and for 3-D images.
        parts: The images, where several were reconstructed together and the arrays above have leading axes.
    """

    magnitude: FloatArray
    complex_img: ComplexArray
    method: str
    fallback_reason: str
    iterations: int
    stop_reason: str
    loss: float
    refinements: int
    refinement_stop: str
    held_out_chi2: float
    chi2: float
    seconds: float
    device: str
    map_sets: int = 0
    spread: EvidenceMap | None = None
    noise: EvidenceMap | None = None
    cautions: tuple[Caution, ...] = ()
    maps: ComplexArray | None = None
    parts: "tuple[Reconstruction, ...]" = ()

    @property
    def account(self) -> Account:
        """How the image came about, in numbers."""
        return Account(**{field.name: getattr(self, field.name) for field in fields(Account)})

    @property
    def evidence(self) -> dict[str, EvidenceMap]:
        """The maps that were asked for, ``spread`` and ``noise``."""
        return {name: found for name, found in (("spread", self.spread), ("noise", self.noise)) if found is not None}

    def _repr_html_(self) -> str:
        facts = {label.replace("_", " "): _text(value) for label, value in vars(self.account).items()}
        facts = {"shape": " × ".join(map(str, self.magnitude.shape)), **{label: text for label, text in facts.items() if text}}
        notes = {name: found.note for name, found in self.evidence.items()}
        return card(self.magnitude, {**facts, **notes}, [f"{caution.code}: {caution}" for caution in self.cautions])


def _text(value: object) -> str:
    """A number or text for people; empty for NaN."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return str(value)
