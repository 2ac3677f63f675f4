"""The convex methods that sigpy solves; a module of its own, as sigpy takes a second to import."""

import numpy as np
import numpy.typing as npt
import sigpy
import sigpy.mri

from untrained_recon.types import BoolArray, ComplexArray

SIGMA = 0.1
"""Dual step of the primal-dual method. Distance from the minimiser of TV at λ 0.002 and 0.01, on a 64×48 phantom with six coils:
1.7 % and 0.05 % after 200 iterations; with sigpy's 1, 6.8 % at λ 0.01.
"""


def l1_wavelet(ksp: ComplexArray, mps: ComplexArray, mask: BoolArray, lamda: float, iterations: int) -> ComplexArray:
    """Wavelets; shapes and types as for :func:`~untrained_recon.recon.conventional.baselines.solve`, ``ksp`` scaled."""
    # the step is known: sigpy would estimate the operator's norm from global random numbers
    app = sigpy.mri.app.L1WaveletRecon(
        ksp, mps, lamda, weights=_weights(mask), wave_name="db2", alpha=1, max_iter=iterations, show_pbar=False
    )
    img: ComplexArray = app.run()
    return img


def tv(ksp: ComplexArray, mps: ComplexArray, mask: BoolArray, lamda: float, iterations: int) -> ComplexArray:
    """Total variation, likewise."""
    # sigpy's TotalVariationRecon sums |∂y| + |∂x|; BART and the paper take the length of the gradient
    weights = _weights(mask)
    gradient = sigpy.linop.FiniteDifference(mask.shape)
    app = sigpy.app.LinearLeastSquares(
        sigpy.mri.linop.Sense(mps, weights=weights),
        ksp * weights,
        proxg=_GradientLength(gradient.oshape, lamda),
        G=gradient,
        sigma=SIGMA,
        tau=1 / (SIGMA * (1 + 8)),  # ‖M F S‖² is at most 1, ‖∇‖² at most 8
        max_iter=iterations,
        show_pbar=False,
    )
    img: ComplexArray = app.run()
    return img


class _GradientLength(sigpy.prox.Prox):  # type: ignore[misc] # sigpy has no types
    """Proximal map of ``λ Σ |∇x|``: every gradient vector is shortened by λ."""

    def __init__(self, shape: tuple[int, ...], lamda: float) -> None:
        self._lamda = lamda
        super().__init__(shape)

    def _prox(self, alpha: float, gradients: ComplexArray) -> ComplexArray:
        length = np.linalg.norm(gradients, axis=0)
        shortened = np.maximum(length - self._lamda * alpha, 0) / np.maximum(length, np.finfo(np.float32).tiny)
        return gradients * shortened.astype(np.float32)


def _weights(mask: BoolArray) -> npt.NDArray[np.float32]:
    return mask.astype(np.float32)
