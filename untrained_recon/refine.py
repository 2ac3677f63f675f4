"""Refinement of an image: steps towards the data, each followed by collaborative filtering, as a plug-and-play prior
[Venkatakrishnan et al., GlobalSIP 2013; Kamilov et al., IEEE SPL 24:1872, 2017].
"""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from untrained_recon.collaborative import denoise, find_groups
from untrained_recon.operators import Sense
from untrained_recon.phase import imaginary_share, low_resolution
from untrained_recon.types import BoolArray

EPSILON = 1e-6
REGROUP = 10
MOST_MOMENTUM = 0.7  # more lets the filter and the data pull against each other


@dataclass(frozen=True)
class Prior:
    """What is taken for granted of the image; all in the units of the data.

    Attributes:
        first: Threshold of the filter at the beginning, where the image still holds aliasing.
        last: Threshold at the end.
        realness: Weight of the prior that the image is real.
    """

    first: float
    last: float
    realness: float


def prior(operator: Sense, ksp: Tensor, calib: Tensor, calib_mask: BoolArray, acceleration: float) -> Prior:
    """The prior for one image, from its own data.

    The constants were chosen on eight fully sampled scans at 4- and 8-fold acceleration, with and without regular gaps.

    Args:
        operator: Forward model, its maps carrying the phase of the object.
        ksp: complex ``operator.oshape``; zero where not sampled.
        calib: complex, of the same shape.
        calib_mask: bool ``(n_y, n_x)``, the samples that ``calib`` holds.
        acceleration: As sampled.
    """
    level = float(torch.quantile(low_resolution(operator.mps, calib, calib_mask).abs(), 0.9))
    last = 0.015 * level + 0.9 * noise_level(ksp, operator.mask)
    first = max(last, 0.1 * level * (acceleration / 4) ** 1.6)
    share = imaginary_share(operator.mps, calib, calib_mask)
    return Prior(first, last, 0.005 * min(max(1 / max(share, EPSILON) - 1, 0), 100))


def noise_level(ksp: Tensor, mask: Tensor) -> float:
    """Standard deviation of the complex noise, by the median magnitude of the samples near the corners of k-space.

    Args:
        ksp: complex ``(n_coils, n_y, n_x)``, of coils with noise alike.
        mask: bool ``(n_y, n_x)``, True where sampled.

    Returns:
        0 where no corner was sampled. Signal there makes it too large.
    """
    k_y, k_x = (((torch.arange(n, device=ksp.device) - n // 2) / n).abs() for n in mask.shape)
    corners = ksp[:, mask & (k_y > 0.25)[:, None] & (k_x > 0.42)]
    return float(corners.abs().median()) / math.sqrt(math.log(2)) if corners.numel() else 0.0


def refine(operator: Sense, ksp: Tensor, img: Tensor, settings: Prior, iterations: int, seconds: float) -> Tensor:
    """Accelerated proximal gradient steps on ``½ ‖A x - y‖² + realness/2 ‖imag x‖²`` with the filter as the proximal map.

    The threshold falls geometrically from the first to the last, with the iterations or with the time, whichever runs faster.

    Args:
        operator: Forward model A, of norm at most 1.
        ksp: complex ``operator.oshape``, the measurement y; zero where not sampled.
        img: complex ``operator.ishape``, where to start.
        settings: See :class:`Prior`.
        iterations: Number of steps at most.
        seconds: Time for them.
    """
    start, ahead, t = time.monotonic(), img, 1.0
    for iteration in range(iterations):
        done = max(iteration / max(iterations - 1, 1), (time.monotonic() - start) / seconds)
        if iteration % REGROUP == 0:
            groups = find_groups(_parts(img))
        step = ahead - operator.adjoint(operator(ahead) - ksp)
        step = torch.complex(step.real, step.imag / (1 + settings.realness))
        real, imaginary = denoise(_parts(step), groups, settings.first * (settings.last / settings.first) ** min(done, 1.0))
        filtered = torch.complex(real, imaginary)
        t_next = (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead = filtered + min((t - 1) / t_next, MOST_MOMENTUM) * (filtered - img)
        img, t = filtered, t_next
        if done >= 1:
            break
    return img


def _parts(img: Tensor) -> Tensor:
    return torch.stack([img.real, img.imag])
