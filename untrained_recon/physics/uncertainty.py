"""How far samples may be from what an image explains: their noise, and the error of the maps."""

import math

import torch
from torch import Tensor

from untrained_recon.physics.operators import CoilFourier, Sense, fft2, ifft2
from untrained_recon.types import BoolArray, KSpace


def uncertainty(operator: CoilFourier | Sense, ksp: Tensor, calib: Tensor, calib_mask: BoolArray) -> float:
    """Standard deviation of what image and maps cannot explain of a sample: noise, and the error of the maps themselves.

    The error of the maps is what the calibration lines hold outside the span of the maps. That bounds the noise too, where edges
    of the object reach into the corners of k-space. An image of many coils has the noise of all of them averaged.

    Args:
        operator: Forward model.
        ksp: complex ``operator.oshape``; zero where not sampled.
        calib: complex, of the same shape.
        calib_mask: bool ``(n_y, n_x)``, the samples that ``calib`` holds.
    """
    noise, n_coils = noise_level(ksp, operator.mask > 0), len(ksp)
    if isinstance(operator, CoilFourier):
        return noise
    outside = _gain(operator, ksp, calib, calib_mask) * _outside(operator, calib, calib_mask)
    if n_coils > 1:
        noise = min(noise, outside * math.sqrt(n_coils / (n_coils - 1)))
    return math.sqrt(outside**2 + noise**2 / n_coils)


def _gain(operator: Sense, ksp: Tensor, calib: Tensor, calib_mask: BoolArray) -> float:
    """How much louder the samples are than the calibration samples at the same places, as a scan of its own may calibrate."""
    shared = (operator.mask > 0) & torch.from_numpy(calib_mask).to(ksp.device)
    quiet = float(torch.linalg.vector_norm(calib[:, shared]))
    return float(torch.linalg.vector_norm(ksp[:, shared])) / quiet if calib is not ksp and quiet > 0 else 1.0


def _outside(operator: Sense, calib: Tensor, calib_mask: BoolArray) -> float:
    """Root mean square of what the calibration samples hold outside the span of the maps."""
    lines = torch.from_numpy(calib_mask).to(calib.device)
    imgs = ifft2(calib * lines)
    left = imgs
    for mps in operator.mps.reshape(-1, *calib.shape):  # the sets, orthogonal at every pixel
        energy = mps.abs().square().sum(dim=0).clamp_min(torch.finfo(torch.float32).tiny)
        left = left - mps * ((mps.conj() * imgs).sum(dim=0) / energy)
    return float(fft2(left)[:, lines].abs().square().mean().sqrt())


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


def noise_sd(data: KSpace, ksp: Tensor) -> float:
    """Standard deviation of the noise in the real (and imaginary) part of a sample times its weight.

    Known after a noise scan, where it is 1 for a single acquisition; else estimated by the corners of k-space.

    Args:
        data: Whose samples they are.
        ksp: complex ``(n_coils, n_y, n_x)``, the samples without weights, all or those of some coils.

    Returns:
        0 where it is not known.
    """
    if data.prewhitened:
        return 1 / math.sqrt(data.averages)
    sampling = torch.from_numpy(data.sampling).to(ksp.device)
    return noise_level(ksp * sampling, sampling > 0) / math.sqrt(2)
