"""The series that leave the gadget, one row each: what they hold, when they are wanted, and what they say of themselves."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import ismrmrd
import numpy as np

from untrained_recon.config import Config
from untrained_recon.encoding import ImageIndex
from untrained_recon.types import ComplexArray, EvidenceMap, FloatArray, Reconstruction

PER_ENCODING = 10
"""By how much ``image_series_index`` of the same kind differs from one encoding space to the next."""

Pixels = FloatArray | ComplexArray


@dataclass(frozen=True)
class Series:
    """A kind of image.

    Attributes:
        number: N of its group ``image_N`` in an image file, below :data:`PER_ENCODING`.
        wanted: Whether a configuration asks for it.
        pixels: Those of a reconstruction, of the shape of its magnitude; None where they were not made.
        image_type: ``ISMRMRD_IMTYPE_…``.
        role: ``GADGETRON_DataRole``. What is not an image is evidence for the reader of one.
        comment: What it says of itself, before what is said of the reconstruction; the series is named after it then.
        limits: Between which the pixels lie, where they are no brightness. They state no window then: gadgets downstream make
            integers of them (of phases from 0 to 4096) and leave the window as it is.
    """

    number: int
    wanted: Callable[[Config], bool]
    pixels: Callable[[Reconstruction], Pixels | None]
    image_type: int = ismrmrd.IMTYPE_MAGNITUDE
    role: str = "Image"
    comment: str = ""
    limits: tuple[float, float] | None = None

    @property
    def evidence(self) -> bool:
        """Whether it is a map that may be missing, in which case the meta of the others says why."""
        return self.role != "Image"


def _pixels(evidence: EvidenceMap | None) -> FloatArray | None:
    return None if evidence is None else evidence.pixels


SERIES = {
    "magnitude": Series(0, lambda config: True, lambda recon: recon.magnitude),
    "complex": Series(1, lambda config: config.output.complex, lambda recon: recon.complex_img, image_type=ismrmrd.IMTYPE_COMPLEX),
    "spread": Series(
        2,
        lambda config: config.evidence.spread,
        lambda recon: _pixels(recon.spread),
        role="STD_MAP",
        comment="OPTIMISATION VARIANCE, not noise and not error: standard deviation of the magnitude over the runs of the network",
    ),
    "noise": Series(
        3,
        lambda config: config.evidence.replicas > 0,
        lambda recon: _pixels(recon.noise),
        role="STD_MAP",
        comment="NOISE MAP: standard deviation of the magnitude by the noise of the samples; bias and other errors are not in it",
    ),
    "undetermined": Series(
        5,
        lambda config: config.evidence.undetermined,
        lambda recon: _pixels(recon.undetermined),
        role="UNDETERMINED_MAP",
        comment="NOT IN THE SAMPLES: magnitude of what the prior supplied; where to doubt, not how large the error is",
    ),
    "phase": Series(
        4,
        lambda config: config.output.phase,
        lambda recon: np.angle(recon.complex_img),
        image_type=ismrmrd.IMTYPE_PHASE,
        comment="PHASE in radians, but for that of the sensitivities",
        limits=(-math.pi, math.pi),
    ),
}
"""All kinds by their names, in the order in which they leave."""


def expected_series(config: Config) -> list[str]:
    """The kinds of image that a configuration sends of every image of the scan."""
    return [kind for kind in possible_series(config) if not SERIES[kind].evidence]


def possible_series(config: Config) -> list[str]:
    """The expected kinds, and the evidence that is asked for, which may be missing."""
    return [kind for kind, series in SERIES.items() if series.wanted(config)]


def series_index(kind: str, encoding: int) -> int:
    """``image_series_index`` of a kind of image: 1 for the magnitude of encoding space 0."""
    return 1 + SERIES[kind].number + PER_ENCODING * encoding


def series_of(image: ismrmrd.Image) -> Series:
    """The row of an image that was made here. Raises KeyError for others."""
    return {series.number: series for series in SERIES.values()}[(image.image_series_index - 1) % PER_ENCODING]


def counters_of(image: ismrmrd.Image) -> ImageIndex:
    """Which image of a scan an image of any series is."""
    encoding = (image.image_series_index - 1) // PER_ENCODING
    return ImageIndex(encoding, *(getattr(image, name) for name in ImageIndex._fields[1:]))
