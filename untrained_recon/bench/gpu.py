"""What a GPU is to reach, measured, each figure beside its target."""

import json
import time
from pathlib import Path
from typing import Any

import torch

from untrained_recon.bench.device import device_name
from untrained_recon.bench.figures import stamped
from untrained_recon.bench.gpu_company import SLICES_NAMES
from untrained_recon.bench.gpu_figures import STEPS
from untrained_recon.bench.gpu_sizes import sizes
from untrained_recon.errors import ReconError
from untrained_recon.recon.networks.compute import precision

BUDGET_S = 240.0  # no step begins after it

TARGETS: dict[str, tuple[str, float]] = {
    "first image of a process, s": ("≤", 3.0),
    "new matrix, s more": ("≤", 0.3),
    "large: GB": ("≤", 3.0),
    "refinement, s": ("≤", 0.08),
    "maps, s": ("≤", 0.03),
    "large: fallback, s": ("≤", 0.1),
    **{f"{name}, s": ("≤", 6.0) for name in SLICES_NAMES.values()},
    "fit: share of the peak": ("≥", 0.45),
    "tiny: s per iteration": ("≤", 0.001),
    "same seed: difference": ("≤", 1e-3),
    "same seed, deterministic: difference": ("≤", 0.0),
    "precision: dB from float32": ("≤", 0.05),
}
"""Figures with a target; the others are context."""


def bench_gpu(device: torch.device, output: Path, budget_s: float = BUDGET_S) -> dict[str, Any]:
    """Measure step by step; the file is written after each, so that nothing is lost where time runs out.

    Args:
        device: Where.
        output: JSON, written again after every step: version, ``device``, ``torch``, ``precision``, ``figures`` by name with
            ``value`` and, where there is one, ``target`` and ``met``; ``errors`` by step; ``not_run``, steps that the budget left
            out.
        budget_s: Seconds after which no step begins.

    Returns:
        What the file holds.
    """
    start, measured = time.perf_counter(), sizes(device)
    steps = {step.__name__.strip("_"): step for step in STEPS}
    found: dict[str, Any] = stamped({})
    found |= {
        "device": device_name(device),
        "torch": torch.__version__,
        "precision": precision(measured.config.compute, device),
        "figures": {},
        "errors": {},
        "not_run": list(steps),
    }
    for name, step in steps.items():
        if time.perf_counter() - start > budget_s:
            break
        found["not_run"].remove(name)
        try:
            for figure, value in step(measured, device):
                found["figures"][figure] = _judged(figure, value)
        except (ReconError, RuntimeError) as error:  # RuntimeError: whatever a failing device raises
            found["errors"][name] = f"{type(error).__name__}: {error}"
        found["figures"][f"bench: seconds after {name}"] = {"value": round(time.perf_counter() - start, 1)}
        output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def _judged(figure: str, value: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"value": None if value is None else float(f"{value:.4g}")}
    if value is not None and figure in TARGETS:
        sign, bound = TARGETS[figure]
        row |= {"target": f"{sign} {bound:g}", "met": value <= bound if sign == "≤" else value >= bound}
    return row
