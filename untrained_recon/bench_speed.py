"""The speed of the fit: seconds, share of the device's arithmetic peak and memory, measured side by side in one run."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from untrained_recon import baselines
from untrained_recon.coils import estimate_maps
from untrained_recon.config import FitConfig, NetworkConfig, load_config
from untrained_recon.fit import Callback, Progress, fit
from untrained_recon.meter import device_name, matmul_peak, now, peak_memory, seconds
from untrained_recon.networks import ImageGenerator, build_network, layer_sizes, to_complex
from untrained_recon.operators import Sense, rss
from untrained_recon.phantom import coil_maps, head
from untrained_recon.phase import image_phase
from untrained_recon.refine import refine, uncertainty

REPEATS = 3
BASELINE = "plain-float32"
ACCELERATION, ACS = 4, 24

Key = TypeVar("Key")


@dataclass(frozen=True)
class Case:
    """What is fitted: a phantom through ``coils`` maps, by a ConvDecoder of two output channels with the paper's Adam.

    Attributes:
        shape: Matrix ``(n_y, n_x)``.
        coils: Receive channels.
        layers: Layers of the network, the final 1×1 convolution included.
        channels: Channels of its layers.
        iterations: Iterations of each fit, two at least; the first only warms up.
    """

    shape: tuple[int, int]
    coils: int
    layers: int
    channels: int
    iterations: int

    @property
    def network(self) -> NetworkConfig:
        """Settings of the network."""
        return NetworkConfig(layers=self.layers, channels=self.channels)


@dataclass(frozen=True)
class Variant:
    """A way to run the same fit: the plain loop or :func:`fit`, at a precision, compiled or not."""

    loop: str
    precision: str
    compiled: bool = False

    @property
    def name(self) -> str:
        """``plain-float32``, ``ours-bf16-compile``."""
        return f"{self.loop}-{self.precision}" + ("-compile" if self.compiled else "")


@dataclass
class _Run:
    """A fit as it goes: ends of its iterations, its losses, its memory."""

    device: torch.device
    ticks: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak_bytes: int | None = None

    def __call__(self, progress: Progress) -> None:
        self.ticks.append(now(self.device))
        self.losses.append(progress.loss)

    @property
    def seconds(self) -> float:
        """Of an iteration; between the first tick, the start, and the second everything warms up."""
        return (self.ticks[-1] - self.ticks[1]) / (len(self.ticks) - 2)


class _Bfloat16(ImageGenerator):
    """A network whose convolutions run in bfloat16; its weights and its image stay float32."""

    def forward(self) -> Tensor:
        with torch.autocast(self.z.device.type, torch.bfloat16):
            return super().forward().float()


def bench_speed(case: Case, device: torch.device, bf16: bool = False, compiled: bool = False) -> dict[str, Any]:
    """Time the fit beside the plain eager float32 loop, and whatever else bears on the time of an image.

    Args:
        case: What to fit.
        device: Where.
        bf16: Also with convolutions in bfloat16 (autocast).
        compiled: Also with the network compiled by ``torch.compile``.

    Returns:
        ``case``: what was measured and where. ``flops_per_iteration``: see :func:`iteration_flops`. ``matmul_flops_per_s``: by
        precision, see :func:`matmul_peak`. ``variants``: by :attr:`Variant.name`, ``s_per_iteration`` and ``speedup`` over
        ``plain-float32`` (medians over interleaved repetitions), ``warm_up_s`` (start and first iteration of the first
        repetition, with compilation), ``peak_share`` of the matrix-multiply peak of the same precision, ``peak_bytes`` (see
        :func:`peak_memory`), ``loss`` after the iterations and ``loss_ratio`` to ``plain-float32``. ``growth``: seconds per
        iteration of :func:`fit` with a quarter, half and all of the coils, the channels and the edge of the matrix.
        ``one_image_s``: maps, fit and refinement with the iterations of preset ``fast`` (the fit extrapolated from an iteration
        of this case), and CG-SENSE, which runs on the CPU.
    """
    variants = {variant.name: variant for variant in _variants(device, bf16, compiled)}
    peaks = {precision: matmul_peak(device, precision) for precision in sorted({v.precision for v in variants.values()})}
    _timed(replace(case, iterations=2), Variant("plain", "float32"), device)  # what only the first fit of a process pays
    found = _interleaved({name: partial(_timed, case, variant, device) for name, variant in variants.items()})
    flops = iteration_flops(case)
    return {
        "case": {**asdict(case), "device": device_name(device), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "flops_per_iteration": flops,
        "matmul_flops_per_s": peaks,
        "variants": {
            name: _figures(runs, found[BASELINE], flops / peaks[variants[name].precision]) for name, runs in found.items()
        },
        "growth": _growth(case, device),
        "one_image_s": _one_image(case, device, _median(found[_default(device).name])),
    }


def plain_fit(network: ImageGenerator, operator: Sense, ksp: Tensor, settings: FitConfig, callback: Callback) -> None:
    """The fit as one would write it down from the paper: contiguous tensors, Adam, nothing else. Arguments as for :func:`fit`."""
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
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
        callback(Progress("fit", iteration, settings.iterations, loss.item(), img.detach() / scale))


def iteration_flops(case: Case) -> int:
    """Operations of the convolutions in one iteration: ``18 c²`` per pixel of a 3×3 layer, ``2·c·2`` of the last, three times that
    with the backward pass.
    """
    pixels = [n_y * n_x for n_y, n_x in layer_sizes((8, 8), case.shape, case.layers)]
    return 3 * (18 * case.channels**2 * sum(pixels) + 4 * case.channels * pixels[-1])


def _variants(device: torch.device, bf16: bool, compiled: bool) -> Iterator[Variant]:
    float32 = ["float32"] + (["tf32"] if device.type == "cuda" else [])
    yield from (Variant("plain", precision) for precision in float32)
    for precision in float32 + (["bf16"] if bf16 else []):
        yield from (Variant("ours", precision, c) for c in ([False, True] if compiled else [False]))


def _timed(case: Case, variant: Variant, device: torch.device) -> _Run:
    operator, ksp = _problem(case, device)
    settings = FitConfig(iterations=case.iterations)
    network = build_network(case.network, 2, case.shape, torch.Generator().manual_seed(0)).to(device)
    if variant.precision == "bf16":
        network = _Bfloat16(list(network.layers), network.z)
    if variant.compiled:
        network.compile()
    convolutions = torch.backends.cudnn.flags(
        enabled=True, benchmark=torch.backends.cudnn.benchmark, allow_tf32=variant.precision != "float32"
    )
    with convolutions, peak_memory(device) as peak:
        run = _Run(device, [now(device)])
        loop = plain_fit if variant.loop == "plain" else fit
        loop(network, operator, ksp, settings, run)
        run.peak_bytes = peak()
    return run


def _problem(case: Case, device: torch.device) -> tuple[Sense, Tensor]:
    mps = torch.from_numpy(coil_maps(case.shape, case.coils)).to(device)
    n_y, centre = case.shape[0], case.shape[0] // 2
    mask = torch.zeros(case.shape, dtype=torch.bool, device=device)
    mask[::ACCELERATION] = True
    mask[max(0, centre - ACS // 2) : min(n_y, centre + ACS // 2)] = True
    operator = Sense(mps / rss(mps), mask)
    return operator, operator(torch.from_numpy(head(case.shape, 0.0, seed=0)).to(device))


def _interleaved(measure: Mapping[Key, Callable[[], _Run]]) -> dict[Key, list[_Run]]:
    rounds = [{name: once() for name, once in measure.items()} for _ in range(REPEATS)]
    return {name: [turn[name] for turn in rounds] for name in measure}


def _figures(runs: list[_Run], baseline: list[_Run], ideal_s: float) -> dict[str, float | None]:
    s_per_iteration = _median(runs)
    return {
        "s_per_iteration": s_per_iteration,
        "speedup": statistics.median(plain.seconds / run.seconds for run, plain in zip(runs, baseline, strict=True)),
        "warm_up_s": runs[0].ticks[1] - runs[0].ticks[0],
        "peak_share": ideal_s / s_per_iteration,
        "peak_bytes": None if runs[0].peak_bytes is None else max(run.peak_bytes or 0 for run in runs),
        "loss": runs[-1].losses[-1],
        "loss_ratio": runs[-1].losses[-1] / baseline[-1].losses[-1],
    }


def _growth(case: Case, device: torch.device) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, Case]] = {"coils": {}, "channels": {}, "matrix": {}}
    for part in (4, 2, 1):
        coils, channels, n_y, n_x = (max(1, n // part) for n in (case.coils, case.channels, *case.shape))
        rows["coils"][str(coils)] = replace(case, coils=coils)
        rows["channels"][str(channels)] = replace(case, channels=channels)
        rows["matrix"][f"{n_y}x{n_x}"] = replace(case, shape=(n_y, n_x))
    variant = _default(device)
    cases = {one for row in rows.values() for one in row.values()}
    runs = _interleaved({one: partial(_timed, one, variant, device) for one in cases})
    return {axis: {name: _median(runs[one]) for name, one in row.items()} for axis, row in rows.items()}


def _one_image(case: Case, device: torch.device, s_per_iteration: float) -> dict[str, float]:
    operator, ksp = _problem(case, device)
    numbers, mask = ksp.cpu().numpy(), operator.mask.cpu().numpy()
    mps = operator.mps.cpu().numpy()
    preset = load_config("fast")

    def refinement() -> None:
        phase = image_phase(operator, ksp, mask)
        error = uncertainty(operator, ksp, ksp, mask)
        refine(operator, ksp, operator.adjoint(ksp), phase, error, preset.refine.iterations)

    return {
        "maps": seconds(device, lambda: estimate_maps(numbers, mask, preset.maps, device)),
        "fit": s_per_iteration * preset.fit.iterations,
        "refine": seconds(device, refinement),
        "cg-sense": seconds(device, lambda: baselines.solve("cg-sense", numbers, mps, mask)),
    }


def _median(runs: list[_Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def _default(device: torch.device) -> Variant:
    """What :func:`fit` is without further ado: PyTorch lets convolutions on GPUs use TF32."""
    return Variant("ours", "tf32" if device.type == "cuda" else "float32")
