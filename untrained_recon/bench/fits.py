"""Timed fits of a phantom: the plain float32 loop, and :func:`~untrained_recon.recon.fit.loop.fit` in its ways of computing."""

import statistics
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from untrained_recon.bench.device import now, peak_memory
from untrained_recon.config import ComputeConfig, FitConfig, NetworkConfig
from untrained_recon.encoding import Encoding, ImageIndex
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import LinearOperator, Sense, fft2, ifft2
from untrained_recon.recon.fit.loop import fit
from untrained_recon.recon.fit.watch import Callback, Progress, Watch
from untrained_recon.recon.networks import ImageGenerator, build_network, layer_sizes, to_complex
from untrained_recon.recon.networks.compute import arithmetic, precision
from untrained_recon.types import KSpace

ACCELERATION, ACS = 4, 24
SIGNAL = 100.0  # of the phantom, in standard deviations of the noise in the real part
PLAIN = ComputeConfig(path="plain")


@dataclass(frozen=True)
class Case:
    """What is fitted: phantoms through ``coils`` maps, by a ConvDecoder of two output channels with the paper's Adam.

    Attributes:
        shape: Matrix ``(n_y, n_x)``.
        coils: Receive channels.
        layers: Layers of the network, the final 1×1 convolution included.
        channels: Channels of its layers.
        in_size: Matrix of its input.
        iterations: Iterations of each fit, three at least; the first only warms up.
        slices: Planes of a volume, fitted one after the other.
    """

    shape: tuple[int, int]
    coils: int
    layers: int
    channels: int
    in_size: tuple[int, int] = (8, 8)
    iterations: int = 20
    slices: int = 1

    @property
    def network(self) -> NetworkConfig:
        """Settings of the network."""
        return NetworkConfig(layers=self.layers, channels=self.channels, in_size=list(self.in_size))


@dataclass(frozen=True)
class Variant:
    """A way to run the same fit: the plain loop or :func:`fit`, and how the network is computed."""

    loop: str
    compute: ComputeConfig

    def name(self, device: torch.device) -> str:
        """``plain-float32``, ``ours-bf16``, ``ours-bf16-cuda-graphs``."""
        compiled = "" if self.compute.compile == "none" else f"-{self.compute.compile}"
        return f"{self.loop}-{precision(self.compute, device)}{compiled}"


@dataclass
class Run:
    """Fits as they go.

    Attributes:
        device: Where.
        starts: When each fit started.
        ticks: Ends of the iterations of each fit.
        losses: Loss after every iteration, of all fits.
        peak_bytes: Of memory, see :func:`~untrained_recon.bench.device.peak_memory`.
    """

    device: torch.device
    starts: list[float] = field(default_factory=list)
    ticks: list[list[float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak_bytes: int | None = None

    def start(self) -> None:
        """Begin with the next fit."""
        self.starts.append(now(self.device))
        self.ticks.append([])

    def __call__(self, progress: Progress) -> None:
        """The fits' callback."""
        self.ticks[-1].append(now(self.device))
        self.losses.append(progress.loss)

    @property
    def seconds(self) -> float:
        """Median over the iterations, without the first of each fit."""
        return statistics.median(later - earlier for fit in self.ticks for earlier, later in pairwise(fit))

    @property
    def warm_up(self) -> float:
        """Seconds from the start of the first fit to the end of its first iteration, compilation included."""
        return self.ticks[0][0] - self.starts[0]


class PlainSense(LinearOperator):
    """:class:`~untrained_recon.physics.operators.Sense` as one would write it down. Arguments as there, of one set of maps."""

    def __init__(self, mps: Tensor, mask: Tensor) -> None:
        super().__init__(mps.shape[-2:], mps.shape)
        self.mps, self.mask = mps, mask

    def _apply(self, x: Tensor) -> Tensor:
        return fft2(self.mps * x) * self.mask

    def _adjoint(self, y: Tensor) -> Tensor:
        return (self.mps.conj() * ifft2(y * self.mask)).sum(dim=0)


def plain_fit(
    network: ImageGenerator, operator: LinearOperator, ksp: Tensor, settings: FitConfig, callback: Callback | None = None
) -> None:
    """The fit as one would write it down from the paper: Adam, a constant step size, nothing else. Arguments as for :func:`fit`."""
    with torch.no_grad():
        scale = to_complex(network()).norm() / operator.adjoint(ksp).norm()
    target = scale * ksp
    energy = target.abs().square().sum()
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.lr)
    for iteration in range(1, settings.iterations + 1):
        optimiser.zero_grad()
        img = to_complex(network())[0]
        loss = (target - operator(img)).abs().square().sum() / energy
        loss.backward()
        optimiser.step()
        if callback is not None:
            callback(Progress("fit", iteration, settings.iterations, loss.item(), img.detach() / scale))


def timed(case: Case, variant: Variant, device: torch.device) -> Run:
    """Fit every slice of the case, one after the other."""
    run, settings = Run(device), FitConfig(iterations=case.iterations)
    with arithmetic(variant.compute, device), peak_memory(device) as peak:
        for number in range(case.slices):
            data = phantom(case, number)[0]
            mps, mask, ksp = (torch.from_numpy(array).to(device) for array in (true_maps(case), data.mask, data.ksp))
            generator = torch.Generator().manual_seed(0)
            network = build_network(case.network, 2, case.shape, generator, variant.compute, device)
            run.start()
            if variant.loop == "plain":
                plain_fit(network, PlainSense(mps, mask), ksp, settings, run)
            else:
                fit(network, Sense(mps, mask), ksp, settings, Watch(follow=run))
        run.peak_bytes = peak()
    return run


def true_maps(case: Case) -> np.ndarray:
    """The maps of the phantom, of unit norm over the coils: complex64 ``(coils, n_y, n_x)``."""
    mps = coil_maps(case.shape, case.coils)
    return mps / np.linalg.norm(mps, axis=0)


def phantom(case: Case, number: int = 0) -> tuple[KSpace, np.ndarray]:
    """A slice of a head, every fourth line and the middle ones, with white noise; and its true magnitude ``(n_y, n_x)``."""
    n_y, n_x = case.shape
    mask = np.zeros(case.shape, bool)
    mask[::ACCELERATION] = mask[max(0, n_y // 2 - ACS // 2) : n_y // 2 + ACS // 2] = True
    img = SIGNAL * head(case.shape, number / max(case.slices, 1), seed=0)
    rng = np.random.default_rng(number)
    noise = rng.standard_normal((2, case.coils, n_y, n_x), np.float32)
    full = fft2(torch.from_numpy(true_maps(case) * img)).numpy() + noise[0] + 1j * noise[1]
    ksp = np.where(mask, full, 0).astype(np.complex64)
    index = ImageIndex(0, 0, number, 0, 0, 0, 0)
    return KSpace(ksp, mask, ksp, mask, index, Encoding.of(case.shape), None, prewhitened=True), np.abs(img)


def iteration_flops(case: Case) -> int:
    """Operations of the convolutions in one iteration: ``18 c²`` per pixel of a 3×3 layer, ``2·c·2`` of the last, three times that
    with the backward pass.

    These are the operations of the plain network. A fused layer takes fewer for the same result; shares of the arithmetic peak
    count what is achieved, not what is carried out.
    """
    pixels = [n_y * n_x for n_y, n_x in layer_sizes(case.in_size, case.shape, case.layers)]
    return 3 * (18 * case.channels**2 * sum(pixels) + 4 * case.channels * pixels[-1])
