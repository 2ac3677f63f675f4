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
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from untrained_recon.account import Account
from untrained_recon.card import card
from untrained_recon.cautions import Caution
from untrained_recon.encoding import NO_TIMES, Encoding, ImageIndex, TimeRanges

ComplexArray = npt.NDArray[np.complex64]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
CountArray = npt.NDArray[np.int32]


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
    times: TimeRanges = NO_TIMES
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
    """What a reader should know of every pixel of the magnitude, in its units, or why it is not known.

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
        account: How it came about, in words and numbers.
        spread: Over the runs of the network, of the magnitude that each alone would deliver; None where not asked for.
        noise: Of the magnitude, by the noise of the samples; None where not asked for.
        undetermined: The part of the image that the samples do not determine; None where not asked for.
        cautions: What is doubtful about the image, that of its samples included; of each code one.
        maps: complex64 ``(n_coils, n_y, n_x)``, the first set of sensitivities that it was made with; None where it needed none,
            and for 3-D images.
        parts: The images, where several were reconstructed together and the arrays above have leading axes.
    """

    magnitude: FloatArray
    complex_img: ComplexArray
    account: Account
    spread: EvidenceMap | None = None
    noise: EvidenceMap | None = None
    undetermined: EvidenceMap | None = None
    cautions: tuple[Caution, ...] = ()
    maps: ComplexArray | None = None
    parts: "tuple[Reconstruction, ...]" = ()

    @property
    def evidence(self) -> dict[str, EvidenceMap]:
        """The maps that were asked for: ``spread``, ``noise`` and ``undetermined``."""
        maps = {"spread": self.spread, "noise": self.noise, "undetermined": self.undetermined}
        return {name: found for name, found in maps.items() if found is not None}

    def with_evidence(self, change: Callable[[FloatArray], FloatArray]) -> "Reconstruction":
        """The same, with the pixels of every map that there is changed.

        Args:
            change: Old pixels to new ones.
        """
        maps: dict[str, Any] = {
            name: replace(found, pixels=change(found.pixels)) for name, found in self.evidence.items() if found.pixels is not None
        }
        return replace(self, **maps)

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
