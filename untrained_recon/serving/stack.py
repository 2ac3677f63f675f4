"""Images of a scan that a worker makes side by side: one turn, and one job for whoever looks after the worker."""

from collections.abc import Sequence
from dataclasses import dataclass

from untrained_recon.encoding import ImageIndex
from untrained_recon.types import KSpace, Reconstruction

Result = Reconstruction | Exception | list[Reconstruction | Exception]
"""What becomes of an image, or of each image of a stack."""


@dataclass(frozen=True)
class Stack:
    """The k-space of several images, which bears the name of the first."""

    images: Sequence[KSpace]

    @property
    def index(self) -> ImageIndex:
        """Of the first."""
        return self.images[0].index
