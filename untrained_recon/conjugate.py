"""Conjugate gradients for CG-SENSE [Pruessmann et al., MRM 46:638, 2001], on any device."""

import torch
from torch import Tensor

from untrained_recon.operators import Sense


def cg_sense(operator: Sense, ksp: Tensor, lamda: float, iterations: int) -> Tensor:
    """Minimise ``½ ‖A x - y‖² + ½ λ ‖x‖²``, from zero, by a number of iterations that is fixed so that nothing waits for a GPU.

    Args:
        operator: Forward model A.
        ksp: complex ``operator.oshape``, the measurement y.
        lamda: Weight λ.
        iterations: Number of iterations.

    Returns:
        complex ``operator.ishape``.
    """
    residual = operator.adjoint(ksp)
    img, direction, energy = torch.zeros_like(residual), residual, _energy(residual)
    tiny = torch.finfo(energy.dtype).tiny  # once the residual is zero, so is every step
    for _ in range(iterations):
        mapped = operator.adjoint(operator(direction)) + lamda * direction
        step = energy / torch.vdot(direction.flatten(), mapped.flatten()).real.clamp_min(tiny)
        img = img + step * direction
        residual = residual - step * mapped
        before, energy = energy, _energy(residual)
        direction = residual + energy / before.clamp_min(tiny) * direction
    return img


def _energy(x: Tensor) -> Tensor:
    return torch.view_as_real(x).square().sum()
