"""What regular sampling leaves open of an image: the places that alias onto each other, told apart by the coils or not.

Where lines are regular, every pixel of the aliased images is the sum of a few places, and of these alone [Pruessmann et al., MRM
42:952, 1999]. So the variance of these places given the samples is known in closed form, for an image of which nothing is known
beforehand but its energy at every place.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from untrained_recon.physics.operators import AXES, Sense

PIXELS = 48  # along an axis: maps are smooth, and more tell no more


def left_open(operator: Sense, img: Tensor, shifts: Sequence[tuple[int, int]], error: float) -> float:
    """Energy of coil images that the samples leave open, beyond what they would if coils told all places apart (a g-factor of 1).

    Args:
        operator: Maps.
        img: complex ``operator.ishape``, as much of the image as nothing but regular samples tells.
        shifts: ``(y, x)`` in pixels of the places that alias onto another one.
        error: Standard deviation of the complex noise of a sample.

    Returns:
        A sum over all pixels, in the units of the squared image.
    """
    n_y, n_x = img.shape[-2:]
    stride_y, stride_x = (math.ceil(n / PIXELS) for n in (n_y, n_x))

    def places(x: Tensor) -> Tensor:
        """``(n_sets, n, n_y, n_x)`` of a few pixels with the places that alias onto them: ``(…, n, n_places * n_sets)``."""
        rolled = [x.roll([-y, -x_], AXES)[..., ::stride_y, ::stride_x] for y, x_ in ((0, 0), *shifts)]
        return torch.cat(rolled).permute(2, 3, 1, 0).to(torch.complex128)

    mps, n_places = operator.mps.reshape(-1, *operator.mps.shape[-3:]), 1 + len(shifts)
    maps, amplitude = places(mps), places(img.reshape(len(mps), 1, n_y, n_x).abs()) / error
    seen = maps * amplitude
    unit = torch.eye(seen.shape[-1], dtype=seen.dtype, device=seen.device)
    variance = torch.linalg.inv(unit + seen.mH @ seen / n_places).diagonal(dim1=-2, dim2=-1).real  # of the energy beforehand
    own, energy = maps.abs().square().sum(dim=-2), amplitude[..., 0, :].abs().square()
    excess = energy * own * (variance - 1 / (1 + energy * own / n_places))
    return float(excess[..., : len(mps)].mean(dim=(0, 1)).sum()) * n_y * n_x * error**2
