"""Figures of a device, step by step; small on a CPU, where they only show that the steps run."""

import math
import statistics

import numpy as np
import torch

from untrained_recon.bench.device import matmul_peak, now, peak_memory, seconds
from untrained_recon.bench.fits import Case, iteration_flops, phantom, true_maps
from untrained_recon.bench.gpu_company import replicas, slices, worker, workers
from untrained_recon.bench.gpu_sizes import Figures, Sizes, Step, computed
from untrained_recon.bench.images import Stopwatch
from untrained_recon.config import ComputeConfig, Config, FitConfig
from untrained_recon.errors import FitError
from untrained_recon.metrics import psnr
from untrained_recon.physics.maps import estimate_map_sets
from untrained_recon.physics.operators import Sense
from untrained_recon.recon.demand import image_demand
from untrained_recon.recon.fit.loop import fit
from untrained_recon.recon.methods import solve_without_network
from untrained_recon.recon.networks import build_network
from untrained_recon.recon.networks.compute import arithmetic, precision
from untrained_recon.recon.plane import reconstruct
from untrained_recon.types import FloatArray


def _images(measured: Sizes, device: torch.device) -> Figures:
    """Comes first: the first image of a process is one of the figures."""
    yield "first image of a process, s", _image_seconds(measured.usual, measured.config, device)
    yield "image, s", statistics.median(_image_seconds(measured.usual, measured.config, device) for _ in range(3))
    first = _image_seconds(measured.large, measured.config, device)
    with peak_memory(device) as peak:
        again = statistics.median(_image_seconds(measured.large, measured.config, device) for _ in range(3))
        peak_bytes = peak()
    yield "new matrix, s more", first - again
    yield "large: image, s", again
    yield "large: GB", None if peak_bytes is None else peak_bytes / 1e9
    yield "large: GB estimated", image_demand(measured.config, measured.large.coils, measured.large.shape, device) / 1e9


def _stages(measured: Sizes, device: torch.device) -> Figures:
    """The refinement by the difference of two lengths, as nothing may wait for the device meanwhile."""
    config = measured.config
    for name, case in (("", measured.usual), ("large: ", measured.large)):
        data, _ = phantom(case)
        short = config.model_copy(update={"refine": config.refine.model_copy(update={"iterations": 1})})
        whole, without = (statistics.median(_image_seconds(case, one, device) for _ in range(3)) for one in (config, short))
        yield f"{name}refinement, s", whole - without
        maps = seconds(device, lambda data=data: estimate_map_sets(data.calib, data.calib_mask, config.maps, device))  # type: ignore[misc]
        yield f"{name}maps, s", maps
        yield f"{name}fit and rest, s", without - maps


def _fallback(measured: Sizes, device: torch.device) -> Figures:
    data, _ = phantom(measured.large)
    yield "large: fallback, s", seconds(device, lambda: solve_without_network(data, measured.config, "measured", device))


def _launches(measured: Sizes, device: torch.device) -> Figures:
    """Images whose iterations are launched one by one."""
    config = computed(measured.config, graphs=False)
    for name, case in (("", measured.usual), ("large: ", measured.large)):
        yield f"{name}image not recorded, s", statistics.median(_image_seconds(case, config, device) for _ in range(3))


def _repeated(measured: Sizes, device: torch.device) -> Figures:
    for name, config in (("", measured.config), (", deterministic", computed(measured.config, deterministic=True))):
        one, other = (_image(measured.usual, config, device) for _ in range(2))
        yield f"same seed{name}: difference", float(np.linalg.norm(one - other) / np.linalg.norm(one))
    unrefined = measured.config.model_copy(update={"refine": measured.config.refine.model_copy(update={"iterations": 0})})
    one, other = (_image(measured.usual, unrefined, device) for _ in range(2))
    yield "same seed, fit alone: difference", float(np.linalg.norm(one - other) / np.linalg.norm(one))
    yield "image deterministic, s", _image_seconds(measured.usual, computed(measured.config, deterministic=True), device)


def _precisions(measured: Sizes, device: torch.device) -> Figures:
    """PSNR of default images, mean over seeds, against the same in float32."""
    data, truth = phantom(measured.usual)
    scores = []
    for kind in ("float32", precision(measured.config.compute, device)):
        config = computed(measured.config, precision=kind)
        seeds = (config.model_copy(update={"seed": seed}) for seed in range(3))
        scores.append(statistics.mean(psnr(reconstruct(data, one, device).magnitude, truth) for one in seeds))
    yield "PSNR in float32, dB", scores[0]
    yield "precision: dB from float32", abs(scores[1] - scores[0])


def _fits(measured: Sizes, device: torch.device) -> Figures:
    """Seconds per iteration without a callback, and what the loss is after as many iterations."""
    best = precision(ComputeConfig(), device)
    variants = {
        "plain": ComputeConfig(path="plain"),
        "float32": ComputeConfig(precision="float32"),
        "tf32": ComputeConfig(precision="tf32"),
        f"{best}, not recorded": ComputeConfig(precision=best, graphs=False),
        best: ComputeConfig(precision=best),
    }
    losses, each = {}, math.nan
    for name, compute in variants.items():
        each, losses[name] = _per_iteration(measured.network, compute, device)
        yield f"fit {name}: s per iteration", each
        yield f"fit {name}: loss over plain", losses[name] / losses["plain"]
    peak = matmul_peak(device, best)
    yield "peak, TFLOP/s", peak / 1e12
    yield "fit: share of the peak", iteration_flops(measured.network) / peak / each
    for name in (f"{best}, not recorded", best):
        each, _ = _per_iteration(measured.tiny, variants[name], device)
        yield f"tiny {name}: s per iteration", each
    yield "tiny: s per iteration", each


STEPS: tuple[Step, ...] = (
    *(_images, _stages, _fallback, _launches, _repeated),
    *(slices, replicas, _precisions, _fits, worker, workers),
)


def _image(case: Case, config: Config, device: torch.device) -> FloatArray:
    return reconstruct(phantom(case)[0], config, device).magnitude


def _image_seconds(case: Case, config: Config, device: torch.device) -> float:
    data, _ = phantom(case)
    watch = Stopwatch(device)
    found = reconstruct(data, config, device)
    if found.account.fallback_reason:
        raise FitError(found.account.fallback_reason)
    return watch.stop()


def _per_iteration(case: Case, compute: ComputeConfig, device: torch.device) -> tuple[float, float]:
    """Seconds by the difference of two fits, and the loss of the longer one."""
    data, _ = phantom(case)
    mps, mask, ksp = (torch.from_numpy(array).to(device) for array in (true_maps(case), data.mask, data.ksp))
    operator, few, many = Sense(mps, mask), max(1, case.iterations // 3), case.iterations

    def run(iterations: int) -> tuple[float, float]:
        network = build_network(case.network, 2, case.shape, torch.Generator().manual_seed(0), compute, device)
        start = now(device)
        found = fit(network, operator, ksp, FitConfig(iterations=iterations))
        return now(device) - start, found.loss

    with arithmetic(compute, device):
        run(few)
        (short, _), (long, loss) = run(few), run(many)
    return (long - short) / (many - few), loss
