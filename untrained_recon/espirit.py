"""ESPIRiT [Uecker et al., MRM 71:990, 2014]: coil sensitivities as eigenvectors, several sets of them, from a block of any shape.

sigpy's EspiritCalib takes square blocks and gives one set; few calibration lines of many columns, the usual case, need the former
and fields of view smaller than the object the latter.
"""

import math

import torch
from torch import Tensor

from untrained_recon.config import MapsConfig
from untrained_recon.operators import ifft2, resize


def eigenmaps(calib: Tensor, shape: tuple[int, int], settings: MapsConfig) -> tuple[Tensor, Tensor]:
    """Eigenvectors and eigenvalues of the coil covariance that the calibration block predicts for every pixel.

    Args:
        calib: complex ``(n_coils, w_y, w_x)``, the fully sampled block around the centre of k-space, no smaller than the kernel.
        shape: Matrix ``(n_y, n_x)`` of the maps.
        settings: Kernel width, threshold of the singular values, number of sets.

    Returns:
        Maps, complex ``(n_sets, n_coils, n_y, n_x)`` of unit norm over the coils, phase relative to the first coil, and their
        eigenvalues ``(n_sets, n_y, n_x)``, largest first; 1 where the coils see signal that the maps describe.
    """
    width, n_coils = settings.kernel_width, len(calib)
    blocks = calib.unfold(1, width, 1).unfold(2, width, 1).permute(1, 2, 0, 3, 4)
    _, sizes, basis = torch.linalg.svd(blocks.reshape(-1, n_coils * width**2), full_matrices=False)
    kernels = basis[sizes > settings.thresh * sizes[0]].reshape(-1, n_coils, width, width)
    covariance = torch.zeros((*shape, n_coils, n_coils), dtype=calib.dtype, device=calib.device)
    for kernel in kernels:
        img = ifft2(resize(kernel, shape)).permute(1, 2, 0)
        covariance += img[..., :, None] * img[..., None, :].conj()
    covariance *= math.prod(shape) / width**2
    rows = [torch.linalg.eigh(row) for row in covariance]  # row by row: less memory, and batches that every solver takes
    values = torch.stack([found.eigenvalues.flip(-1)[..., : settings.sets] for found in rows])
    mps = torch.stack([found.eigenvectors.flip(-1)[..., : settings.sets] for found in rows]).permute(3, 2, 0, 1)
    return mps * torch.polar(torch.ones((), device=mps.device), -mps[:, :1].angle()), values.permute(2, 0, 1)
