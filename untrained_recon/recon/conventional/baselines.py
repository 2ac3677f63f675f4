"""Conventional reconstructions: what is sent where the network cannot be used, and what to compare it with.

Every solver minimises ``½ ‖M F S x - y‖² + λ R(x)`` with maps S of unit norm over the coils, so that the operator's norm is at
most 1. The data are divided by :func:`data_scale` before and the image is multiplied by it after, so that λ means the same for all
scans.

=================  ===============================  =====================================================================
method             R(x)                             solved by
=================  ===============================  =====================================================================
cg-sense           ``½ ‖x‖²``                       :mod:`untrained_recon.physics.conjugate`, on any device; the others on the CPU
l1-wavelet         ``‖W x‖₁``, db2                  sigpy, FISTA [Lustig et al., MRM 58:1182, 2007]
tv                 ``Σ |∇x|``, isotropic, circular  sigpy, primal-dual hybrid gradients [Block et al., MRM 57:1086, 2007]
bart-l1-wavelet    ``‖W x‖₁``, db2, random shifts   BART's ``pics``, FISTA
bart-tv            as tv                            BART's ``pics``, ADMM
paper-tv           ``Σ |∇x|``                       the command of the paper's baseline, meant for the maps of :func:`bart.ecalib`
=================  ===============================  =====================================================================
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from untrained_recon.errors import ConfigError
from untrained_recon.physics import conjugate
from untrained_recon.physics.operators import Sense
from untrained_recon.recon.conventional import bart
from untrained_recon.types import BoolArray, ComplexArray

RHO = 0.05
"""Penalty of BART's ADMM. Distance from the minimiser of TV at λ 0.002 and 0.01, on a 64×48 phantom with six coils: 2.4 % and 0.2 %
after 100 iterations; with BART's own 0.5, 8.0 % and 1.4 % after 200.
"""

CPU = torch.device("cpu")

Solver = Callable[[ComplexArray, ComplexArray, BoolArray, float, int, torch.device], ComplexArray]
"""``(ksp, mps, mask, lamda, iterations, device) -> img``, shapes and types as for :func:`solve`; ``ksp`` is scaled already."""


@dataclass(frozen=True)
class Method:
    """A solver with its default λ and number of iterations."""

    solver: Solver
    lamda: float
    iterations: int


def solve(
    method: str,
    ksp: ComplexArray,
    mps: ComplexArray,
    mask: BoolArray,
    lamda: float = 0.0,
    iterations: int = 0,
    device: torch.device = CPU,
) -> ComplexArray:
    """Reconstruct one image.

    Args:
        method: A key of :data:`METHODS`.
        ksp: complex64 ``(n_coils, n_y, n_x)``.
        mps: complex64 ``(n_coils, n_y, n_x)``, of unit norm over the coils where there is signal.
        mask: bool ``(n_y, n_x)``, True where sampled.
        lamda: Weight of the regularisation; 0: the method's default.
        iterations: Iterations; 0: the method's default.
        device: Where to compute; the others than ``cg-sense`` do on the CPU whatever it is.

    Returns:
        complex64 ``(n_y, n_x)`` in the units of the data.

    Raises:
        ConfigError: The method is unknown.
        BartError: BART is asked for and missing, or fails.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}; known are {', '.join(METHODS)}")
    scale = data_scale(ksp, mps, mask, device)
    if scale == 0:
        return np.zeros(mask.shape, np.complex64)
    chosen = METHODS[method]
    scaled = (ksp / scale).astype(np.complex64)
    img = chosen.solver(scaled, mps, mask, lamda or chosen.lamda, iterations or chosen.iterations, device)
    return (scale * img).astype(np.complex64)


def cg_sense(operator: Sense, ksp: torch.Tensor, lamda: float = 0.0, iterations: int = 0) -> torch.Tensor:
    """``cg-sense`` where its data are: being linear, it needs no scale, and nothing waits for a GPU.

    Args:
        operator: Maps and mask.
        ksp: complex ``operator.oshape``.
        lamda: See :func:`solve`.
        iterations: Likewise.
    """
    chosen = METHODS["cg-sense"]
    return conjugate.cg_sense(operator, ksp, lamda or chosen.lamda, iterations or chosen.iterations)


def data_scale(ksp: ComplexArray, mps: ComplexArray, mask: BoolArray, device: torch.device = CPU) -> float:
    """99th percentile of the magnitude of the zero-filled image ``S^H F^H M y``; its maximum where that is 0."""
    operator, samples = _on(device, ksp, mps, mask)
    img = operator.adjoint(samples).abs().cpu().numpy()
    return float(np.percentile(img, 99)) or float(img.max())


def _on(device: torch.device, ksp: ComplexArray, mps: ComplexArray, mask: BoolArray) -> tuple[Sense, torch.Tensor]:
    samples, maps, sampled = (torch.from_numpy(array).to(device) for array in (ksp, mps, mask))
    return Sense(maps, sampled), samples


def _cg_sense(
    ksp: ComplexArray, mps: ComplexArray, mask: BoolArray, lamda: float, iterations: int, device: torch.device
) -> ComplexArray:
    img: ComplexArray = conjugate.cg_sense(*_on(device, ksp, mps, mask), lamda, iterations).cpu().numpy()
    return img


def _l1_wavelet(
    ksp: ComplexArray, mps: ComplexArray, mask: BoolArray, lamda: float, iterations: int, _: torch.device
) -> ComplexArray:
    from untrained_recon.recon.conventional import convex

    return convex.l1_wavelet(ksp, mps, mask, lamda, iterations)


def _tv(ksp: ComplexArray, mps: ComplexArray, mask: BoolArray, lamda: float, iterations: int, _: torch.device) -> ComplexArray:
    from untrained_recon.recon.conventional import convex

    return convex.tv(ksp, mps, mask, lamda, iterations)


def _bart_l1_wavelet(
    ksp: ComplexArray, mps: ComplexArray, mask: BoolArray, lamda: float, iterations: int, _: torch.device
) -> ComplexArray:
    return bart.pics(["-w", "1", "-R", f"W:3:0:{lamda:.9g}", "-i", str(iterations)], ksp, mps, mask)


def _bart_tv(ksp: ComplexArray, mps: ComplexArray, mask: BoolArray, lamda: float, iterations: int, _: torch.device) -> ComplexArray:
    return bart.pics(["-w", "1", "-u", f"{RHO:g}", "-R", f"T:3:0:{lamda:.9g}", "-i", str(iterations)], ksp, mps, mask)


def _paper_tv(
    ksp: ComplexArray, mps: ComplexArray, mask: BoolArray, lamda: float, iterations: int, _: torch.device
) -> ComplexArray:
    return bart.pics(["-S", "-R", f"T:7:0:{lamda:.9g}", f"-i{iterations}"], ksp, mps, mask)


# λ: about the best by the truth of 0.0003, 0.001, 0.003, 0.01, 0.03 (CG-SENSE: 0.001 … 0.1); three brains, R 3 to 4, a mask each
METHODS = {
    "cg-sense": Method(_cg_sense, 0.01, 30),
    "l1-wavelet": Method(_l1_wavelet, 0.001, 100),
    "tv": Method(_tv, 0.002, 200),
    "bart-l1-wavelet": Method(_bart_l1_wavelet, 0.001, 100),
    "bart-tv": Method(_bart_tv, 0.002, 100),
    "paper-tv": Method(_paper_tv, 0.01, 200),
}
