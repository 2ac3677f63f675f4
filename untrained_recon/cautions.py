"""What makes an image doubtful though it is delivered: a closed list of codes with one sentence each.

A caution is raised where its cause is seen, in :class:`~untrained_recon.types.KSpace` or in
:class:`~untrained_recon.types.Reconstruction`, and leaves with the image: in its comment, its meta attributes and the log. Where
the image would be useless there is an error instead.
"""

from collections.abc import Iterable
from dataclasses import dataclass

SENTENCES = {
    "acceleration-beyond-coils": "fewer samples were measured than the coils can make up for; aliasing is likely",
    "centre-missing": "the centre of k-space was not sampled completely; contrast and brightness may be wrong",
    "lines-averaged-unannounced": "lines came more often than the header announces and were averaged; contrasts may be mixed",
    "maps-missing": "the coils could not be calibrated; the image was made coil by coil and may hold aliasing",
    "model-misfit": "the samples do not agree with the image within their noise; parts of it may be wrong",
    "time-budget": "the time budget ended before the reconstruction did",
    "zero-lines": "lines without any signal were taken as not acquired",
}
"""Every code, and what it says to the reader of the image."""


@dataclass(frozen=True)
class Caution:
    """Why an image is doubtful.

    Attributes:
        code: A key of :data:`SENTENCES`.
        detail: The number that raised it, and the bound.
    """

    code: str
    detail: str = ""

    def __post_init__(self) -> None:
        if self.code not in SENTENCES:
            raise ValueError(f"{self.code!r} is no caution")

    def __str__(self) -> str:
        return SENTENCES[self.code] + (f" ({self.detail})" if self.detail else "")


def distinct(cautions: Iterable[Caution]) -> tuple[Caution, ...]:
    """The cautions of the parts of an image (its planes, its coils): the first of each code."""
    found: dict[str, Caution] = {}
    for caution in cautions:
        found.setdefault(caution.code, caution)
    return tuple(found.values())
