"""Conjugate gradients on the device: SENSE with any number of sets of maps [Pruessmann et al., MRM 46:638, 2001]."""

import math
import time

import torch
from torch import Tensor

from untrained_recon.operators import CoilFourier, Sense

TOLERANCE = 1e-10  # of the squared gradient, relative to the first


def cg_sense(
    operator: CoilFourier | Sense, ksp: Tensor, lamda: float, iterations: int, seconds: float = math.inf
) -> tuple[Tensor, int]:
    """Minimise ``‖A x - y‖² + λ ‖x‖²`` from a zero image.

    Args:
        operator: Forward model A, of norm at most 1 but for the weights of its mask.
        ksp: complex ``operator.oshape``, the measurement y with the same weights; zero where not sampled.
        lamda: Weight λ.
        iterations: At most so many.
        seconds: Time for them; one is always made.

    Returns:
        complex ``operator.ishape``, and the iterations made.
    """
    deadline = time.monotonic() + seconds
    img = torch.zeros_like(residual := operator.adjoint(ksp))
    direction, energy = residual, _energy(residual)
    enough, iteration = TOLERANCE * energy, 0
    while iteration < iterations and energy > enough:
        iteration += 1
        curved = operator.adjoint(operator(direction)) + lamda * direction
        step = energy / _inner(direction, curved)
        img, residual = img + step * direction, residual - step * curved
        before, energy = energy, _energy(residual)
        direction = residual + (energy / before) * direction
        if time.monotonic() > deadline:
            break
    return img, iteration


def _energy(x: Tensor) -> Tensor:
    return torch.view_as_real(x).square().sum()


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (torch.view_as_real(a) * torch.view_as_real(b)).sum()
