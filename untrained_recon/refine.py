"""Refinement of an image: steps towards the data, each followed by collaborative filtering, as a plug-and-play prior
[Venkatakrishnan et al., GlobalSIP 2013; Kamilov et al., IEEE SPL 24:1872, 2017].
"""

import torch
from torch import Tensor

from untrained_recon.collaborative import denoise, find_groups
from untrained_recon.operators import LinearOperator

REGROUP = 10
MOST_MOMENTUM = 0.7  # more lets the filter and the data pull against each other


def refine(operator: LinearOperator, ksp: Tensor, img: Tensor, threshold: float, realness: float, iterations: int) -> Tensor:
    """Accelerated proximal gradient steps on ``½ ‖A x - y‖² + realness/2 ‖imag x‖²`` with the filter as the proximal map.

    Args:
        operator: Forward model A of norm at most 1, from one image.
        ksp: complex ``operator.oshape``, the measurement y; zero where not sampled.
        img: complex ``operator.ishape``, where to start.
        threshold: Of the filter, in the units of ``img``.
        realness: Weight of the prior that the image is real, see :mod:`untrained_recon.phase`.
        iterations: Number of steps.
    """
    ahead, t = img, 1.0
    for iteration in range(iterations):
        if iteration % REGROUP == 0:
            groups = find_groups(_parts(img))
        step = ahead - operator.adjoint(operator(ahead) - ksp)
        step = torch.complex(step.real, step.imag / (1 + realness))
        real, imaginary = denoise(_parts(step), groups, threshold)
        filtered = torch.complex(real, imaginary)
        t_next = (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead = filtered + min((t - 1) / t_next, MOST_MOMENTUM) * (filtered - img)
        img, t = filtered, t_next
    return img


def _parts(img: Tensor) -> Tensor:
    return torch.stack([img.real, img.imag])
