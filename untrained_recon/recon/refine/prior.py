"""What a refinement takes for a likely image. Another one is a class with these two methods, chosen in ``Problem.prior``."""

from typing import Protocol

import torch
from torch import Tensor

from untrained_recon.recon.refine.collaborative import denoise, find_groups


class Prior(Protocol):
    """A filter whose strength is a number: the proximal map of an unwritten penalty."""

    def prepare(self, img: Tensor) -> None:
        """Look at the image, complex ``operator.ishape``, as it is every few steps."""

    def __call__(self, img: Tensor, level: float) -> Tensor:
        """The likely image near another one; ``level`` is the uncertainty of its pixels in the units of the image."""


class CollaborativeFilter:
    """Like patches thresholded together, real and imaginary part apart, with the phase of the object taken out.

    Args:
        phase: complex ``operator.ishape``, see :func:`~untrained_recon.recon.refine.phase.image_phase`.
    """

    def __init__(self, phase: Tensor) -> None:
        self._phase = phase

    def prepare(self, img: Tensor) -> None:
        """Find which patches are alike."""
        self._groups = find_groups(self._parts(img))

    def __call__(self, img: Tensor, level: float) -> Tensor:
        """Threshold at the level."""
        filtered = denoise(self._parts(img), self._groups, level)
        return self._phase * torch.complex(*filtered.reshape(2, *img.shape))

    def _parts(self, img: Tensor) -> Tensor:
        """Real and imaginary parts of all images: ``(2 * n, n_y, n_x)``."""
        return torch.view_as_real(self._phase.conj() * img).movedim(-1, 0).reshape(-1, *img.shape[-2:])
