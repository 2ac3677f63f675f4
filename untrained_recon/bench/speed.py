"""The speed of the reconstruction, measured side by side in one run."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any, TypeVar

import torch

from untrained_recon.bench.device import device_name, matmul_peak
from untrained_recon.bench.fits import PLAIN, Case, Run, Variant, iteration_flops, timed
from untrained_recon.bench.images import equal_quality, one_image
from untrained_recon.config import ComputeConfig, Config
from untrained_recon.recon.networks.compute import precision

REPEATS = 3
BASELINE = Variant("plain", PLAIN)
OURS = Variant("ours", ComputeConfig())

Key = TypeVar("Key")


def bench_speed(case: Case, config: Config, device: torch.device, paper_iterations: int, compiled: bool) -> dict[str, Any]:
    """Time the fit beside the plain eager float32 loop, and whatever else bears on the time of an image.

    Args:
        case: What to fit.
        config: Settings of the whole images.
        device: Where.
        paper_iterations: Iterations of the paper's fit in :func:`equal_quality`.
        compiled: Also with the network compiled, with and without CUDA graphs.

    Returns:
        ``case``: what was measured and where. ``flops_per_iteration``: see :func:`iteration_flops`. ``matmul_flops_per_s``: by
        precision, see :func:`matmul_peak`. ``variants``: by :meth:`Variant.name`, ``s_per_iteration`` and ``speedup`` over
        ``plain-float32`` (medians over interleaved repetitions), ``warm_up_s`` (start and first iteration of the first
        repetition, with compilation), ``peak_share`` of the matrix-multiply peak of the same precision, ``peak_bytes`` (see
        :func:`peak_memory`), ``loss`` after the iterations and ``loss_ratio`` to ``plain-float32``. ``growth``: ``s_per_iteration``
        and ``peak_bytes`` of :func:`fit` with a quarter, half and all of the coils, the channels and the edge of the matrix, and
        with 1, 2 and 4 slices. ``one_image``: see :func:`one_image`. ``equal_quality``: see :func:`equal_quality`.
    """
    variants = {variant.name(device): variant for variant in _variants(device, compiled)}
    precisions = {name: precision(variant.compute, device) for name, variant in variants.items()}
    peaks = {name: matmul_peak(device, name) for name in sorted(set(precisions.values()))}
    timed(replace(case, iterations=2), BASELINE, device)  # what only the first fit of a process pays
    found = _interleaved({name: partial(timed, case, variant, device) for name, variant in variants.items()})
    baseline, flops = found[BASELINE.name(device)], iteration_flops(case)
    return {
        "case": {**asdict(case), "device": device_name(device), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "flops_per_iteration": flops,
        "matmul_flops_per_s": peaks,
        "variants": {name: _figures(runs, baseline, flops / peaks[precisions[name]]) for name, runs in found.items()},
        "growth": _growth(case, device),
        "one_image": one_image(case, config, device),
        "equal_quality": equal_quality(case, config, device, paper_iterations),
    }


def _variants(device: torch.device, compiled: bool) -> Iterator[Variant]:
    yield BASELINE
    gpu, best = device.type == "cuda", precision(OURS.compute, device)
    yield Variant("ours", ComputeConfig(precision="float32"))
    if gpu:
        yield Variant("ours", ComputeConfig(precision="tf32"))
    if best == "bf16":
        yield Variant("ours", ComputeConfig(precision="bf16"))
    if compiled:
        yield Variant("ours", ComputeConfig(precision=best, compile="default"))
    if compiled and gpu:
        yield Variant("ours", ComputeConfig(precision=best, compile="cuda-graphs"))


def _interleaved(measure: Mapping[Key, Callable[[], Run]]) -> dict[Key, list[Run]]:
    rounds = [{name: once() for name, once in measure.items()} for _ in range(REPEATS)]
    return {name: [turn[name] for turn in rounds] for name in measure}


def _figures(runs: list[Run], baseline: list[Run], ideal_s: float) -> dict[str, float | None]:
    s_per_iteration = _median(runs)
    return {
        "s_per_iteration": s_per_iteration,
        "speedup": statistics.median(plain.seconds / run.seconds for run, plain in zip(runs, baseline, strict=True)),
        "warm_up_s": runs[0].warm_up,
        "peak_share": ideal_s / s_per_iteration,
        "peak_bytes": _peak(runs),
        "loss": runs[-1].losses[-1],
        "loss_ratio": runs[-1].losses[-1] / baseline[-1].losses[-1],
    }


def _growth(case: Case, device: torch.device) -> dict[str, dict[str, dict[str, float | None]]]:
    rows: dict[str, dict[str, Case]] = {"coils": {}, "channels": {}, "matrix": {}, "slices": {}}
    for part in (4, 2, 1):
        coils, channels, n_y, n_x = (max(1, n // part) for n in (case.coils, case.channels, *case.shape))
        rows["coils"][str(coils)] = replace(case, coils=coils)
        rows["channels"][str(channels)] = replace(case, channels=channels)
        rows["matrix"][f"{n_y}x{n_x}"] = replace(case, shape=(n_y, n_x))
        rows["slices"][str(4 // part)] = replace(case, slices=4 // part)
    cases = {one for row in rows.values() for one in row.values()}
    runs = _interleaved({one: partial(timed, one, OURS, device) for one in cases})
    return {
        axis: {name: {"s_per_iteration": _median(runs[one]), "peak_bytes": _peak(runs[one])} for name, one in row.items()}
        for axis, row in rows.items()
    }


def _median(runs: list[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def _peak(runs: list[Run]) -> int | None:
    return None if runs[0].peak_bytes is None else max(run.peak_bytes or 0 for run in runs)
