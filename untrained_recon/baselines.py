"""Conventional reconstructions to compare with; each takes the same k-space as the network."""

import torch

from untrained_recon.operators import ifft2, rss
from untrained_recon.pipeline import to_recon_matrix
from untrained_recon.types import FloatArray, KSpace


def zero_filled(data: KSpace) -> FloatArray:
    """Root sum of squares of the coil images with zeros for what was not acquired: float32 ``encoding.recon_shape``."""
    img: FloatArray = rss(to_recon_matrix(ifft2(torch.from_numpy(data.ksp)), data.encoding)).numpy()
    return img
