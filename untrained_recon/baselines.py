"""Conventional reconstructions: what is sent where the network cannot be used, and what to compare it with."""

import numpy as np
import sigpy
import sigpy.mri
import torch

from untrained_recon.operators import ifft2, rss, to_recon_matrix
from untrained_recon.types import BoolArray, ComplexArray, FloatArray, KSpace

CG_ITERATIONS = 30
CG_LAMBDA = 0.01


def zero_filled(data: KSpace) -> FloatArray:
    """Root sum of squares of the coil images with zeros for what was not acquired: float32 ``encoding.recon_shape``."""
    img: FloatArray = rss(to_recon_matrix(ifft2(torch.from_numpy(data.ksp)), data.encoding)).numpy()
    return img


def cg_sense(ksp: ComplexArray, mps: ComplexArray, mask: BoolArray) -> ComplexArray:
    """Minimise ``½ ‖M F S x - y‖² + λ/2 ‖x‖²`` by conjugate gradients, through sigpy [Pruessmann et al., MRM 46:638, 2001].

    Args:
        ksp: complex64 ``(n_coils, n_y, n_x)``.
        mps: complex64 ``(n_coils, n_y, n_x)``, of unit norm over the coils, so that λ is relative to the operator's norm.
        mask: bool ``(n_y, n_x)``, True where sampled.

    Returns:
        complex64 ``(n_y, n_x)``.
    """
    weights = mask.astype(np.float32)
    app = sigpy.mri.app.SenseRecon(ksp, mps, lamda=CG_LAMBDA, weights=weights, max_iter=CG_ITERATIONS, show_pbar=False)
    img: ComplexArray = app.run().astype(np.complex64)
    return img
