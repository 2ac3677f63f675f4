"""Whole images against the clock: where the time of one goes, and how soon it is as good as the paper's fit."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from untrained_recon import baselines
from untrained_recon.bench_fits import PLAIN, Case, PlainSense, phantom, plain_fit
from untrained_recon.coils import estimate_maps
from untrained_recon.compute import arithmetic
from untrained_recon.config import Config, FitConfig
from untrained_recon.fit import Progress
from untrained_recon.meter import now, peak_memory, seconds
from untrained_recon.networks import build_network
from untrained_recon.pipeline import reconstruct


@dataclass
class Stopwatch:
    """Follows a reconstruction; the clock stands while an image is scored.

    Attributes:
        device: Where.
        truth: ``(n_y, n_x)`` on the device, the true magnitude; None scores nothing.
        stages: Stage of every iteration.
        times: Seconds from the start to the end of every iteration.
        scores: PSNR in dB of the image of every iteration, its peak that of the truth.
    """

    device: torch.device
    truth: Tensor | None = None
    stages: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    _elapsed: float = 0.0

    def __post_init__(self) -> None:
        self._since = now(self.device)

    def __call__(self, progress: Progress) -> None:
        """The callback."""
        self._elapsed += now(self.device) - self._since
        self.stages.append(progress.stage)
        self.times.append(self._elapsed)
        if self.truth is not None:
            self.scores.append(_psnr(progress.img, self.truth))
        self._since = now(self.device)

    def stop(self) -> float:
        """Seconds from the start."""
        return self._elapsed + now(self.device) - self._since

    def last(self, stage: str) -> float:
        """When a stage's last iteration ended; NaN where it had none."""
        return max((time for time, name in zip(self.times, self.stages, strict=True) if name == stage), default=math.nan)


def one_image(case: Case, config: Config, device: torch.device) -> dict[str, Any]:
    """Seconds of one image by the configuration, as a resident service takes them: an image before it has warmed everything up.

    Returns:
        ``start`` (maps, network and first iteration), ``fit``, ``refine`` and ``end`` (Step 2, combination of the coils), the
        ``whole`` and its ``peak_bytes``; ``method`` and iterations as in :class:`~untrained_recon.types.Reconstruction`; ``maps``,
        measured on their own, and ``cg-sense``, which runs on the CPU.
    """
    data, _ = phantom(case)
    reconstruct(data, config, device)
    with peak_memory(device) as peak:
        watch = Stopwatch(device)
        done = reconstruct(data, config, device, watch)
        whole, peak_bytes = watch.stop(), peak()
    mps = estimate_maps(data.calib, data.calib_mask, config.maps, device)
    first, fitted = (watch.times[0], watch.last("fit")) if watch.times else (math.nan, math.nan)
    refined = watch.last("refine")
    ended = fitted if math.isnan(refined) else refined
    stages = {"start": first, "fit": fitted - first, "refine": ended - fitted, "end": whole - ended, "whole": whole}
    return {
        **stages,
        "peak_bytes": peak_bytes,
        "method": done.method,
        "iterations": done.iterations,
        "maps": seconds(device, lambda: estimate_maps(data.calib, data.calib_mask, config.maps, device)),
        "cg-sense": seconds(device, lambda: baselines.solve("cg-sense", data.ksp, mps, data.mask)),
    }


def equal_quality(case: Case, config: Config, device: torch.device, iterations: int) -> dict[str, Any]:
    """Time to the quality that the paper's fit reaches at its best, with the truth at hand to tell.

    The paper's fit runs the network of the case in the plain float32 loop, Adam with steps of 0.01; it gets its maps for nothing
    and its best iterate by the truth. The configuration's time counts from the k-space on. Neither has Step 2 in its scores.

    Args:
        case: What to reconstruct.
        config: Whose time to measure.
        device: Where.
        iterations: Of the paper's fit.

    Returns:
        ``paper_psnr``, the best in dB, ``paper_iterations`` and ``paper_s`` to it; ``ours_s`` until the configuration's image has
        it, ``ratio`` of the two (None where it never does); ``ours_psnr``, its last, and ``ours_whole_s``.
    """
    data, magnitude = phantom(case)
    truth = torch.from_numpy(magnitude).to(device)
    paper, ours = _paper(case, config, device, iterations, truth), Stopwatch(device, truth)
    reconstruct(data, config, device, ours)
    whole = ours.stop()
    best = int(np.argmax(paper.scores))
    soon_enough = [time for time, score in zip(ours.times, ours.scores, strict=True) if score >= paper.scores[best]]
    return {
        "paper_psnr": paper.scores[best],
        "paper_iterations": best + 1,
        "paper_s": paper.times[best],
        "ours_s": soon_enough[0] if soon_enough else None,
        "ratio": paper.times[best] / soon_enough[0] if soon_enough else None,
        "ours_psnr": ours.scores[-1] if ours.scores else None,
        "ours_whole_s": whole,
    }


def _paper(case: Case, config: Config, device: torch.device, iterations: int, truth: Tensor) -> Stopwatch:
    data, _ = phantom(case)
    mps = torch.from_numpy(estimate_maps(data.calib, data.calib_mask, config.maps, device)).to(device)
    operator = PlainSense(mps, torch.from_numpy(data.mask).to(device))
    network = build_network(case.network, 2, case.shape, torch.Generator().manual_seed(config.seed), PLAIN, device)
    ksp = torch.from_numpy(data.ksp).to(device)
    with arithmetic(PLAIN, device):
        plain_fit(network, operator, ksp, FitConfig(iterations=1))
        network = build_network(case.network, 2, case.shape, torch.Generator().manual_seed(config.seed), PLAIN, device)
        watch = Stopwatch(device, truth)
        plain_fit(network, operator, ksp, FitConfig(iterations=iterations, lr=0.01), watch)
    return watch


def _psnr(img: Tensor, truth: Tensor) -> float:
    magnitude = torch.linalg.vector_norm(img.reshape(-1, *truth.shape), dim=0)
    return 20 * math.log10(float(truth.max() / (magnitude - truth).square().mean().sqrt()))
