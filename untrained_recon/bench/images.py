"""Whole images against the clock: where the time of one goes, and how soon it is as good as the paper's fit."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from untrained_recon.bench.device import now, peak_memory, seconds
from untrained_recon.bench.fits import PLAIN, Case, PlainSense, phantom, plain_fit
from untrained_recon.config import Config, FitConfig, NetworkConfig
from untrained_recon.metrics import psnr_of
from untrained_recon.physics.maps import estimate_maps
from untrained_recon.physics.operators import rss
from untrained_recon.recon.conventional import baselines
from untrained_recon.recon.fit.watch import Progress, Watch
from untrained_recon.recon.networks import build_network
from untrained_recon.recon.networks.compute import arithmetic
from untrained_recon.recon.plane import reconstruct
from untrained_recon.types import KSpace


@dataclass
class Stopwatch:
    """Follows a reconstruction; the clock stands while an image is scored.

    Attributes:
        device: Where.
        truth: ``(n_y, n_x)`` on the device, the true magnitude; None scores nothing.
        mps: ``(n_coils, n_y, n_x)``, the maps; the magnitude is that of the coil images, as images are free where maps are zero.
        stages: Stage of every iteration.
        times: Seconds from the start to the end of every iteration.
        scores: PSNR in dB of the image of every iteration, its peak that of the truth.
    """

    device: torch.device
    truth: Tensor | None = None
    mps: Tensor | None = None
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
        if self.truth is not None and self.mps is not None:
            error = rss(self.mps * progress.img) - self.truth
            self.scores.append(psnr_of(float(error.square().mean()), float(self.truth.max())))
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
        done = reconstruct(data, config, device, Watch(follow=watch))
        whole, peak_bytes = watch.stop(), peak()
    mps = estimate_maps(data.calib, data.calib_mask, config.maps, device)
    first, fitted = (watch.times[0], watch.last("fit")) if watch.times else (math.nan, math.nan)
    refined = watch.last("refine")
    ended = fitted if math.isnan(refined) else refined
    stages = {"start": first, "fit": fitted - first, "refine": ended - fitted, "end": whole - ended, "whole": whole}
    return {
        **stages,
        "peak_bytes": peak_bytes,
        "method": done.account.method,
        "iterations": done.account.iterations,
        "maps": seconds(device, lambda: estimate_maps(data.calib, data.calib_mask, config.maps, device)),
        "cg-sense": seconds(device, lambda: baselines.solve("cg-sense", data.ksp, mps, data.mask)),
    }


def equal_quality(case: Case, config: Config, device: torch.device, iterations: int) -> dict[str, Any]:
    """Time to the quality that the paper's fit reaches at its best, with the truth at hand to tell.

    The paper's fit runs the network of the case in the plain float32 loop, Adam with steps of 0.01; it gets its maps for nothing
    and its best iterate by the truth. The configuration's time counts from the k-space on. Neither has Step 2 in its scores.

    Args:
        case: What to reconstruct.
        config: Whose time to measure; with one set of maps.
        device: Where.
        iterations: Of the paper's fit.

    Returns:
        ``paper_psnr``, the best in dB, ``paper_iterations`` and ``paper_s`` to it; ``ours_s`` until the configuration's image has
        it, ``ratio`` of the two (None where it never does); ``ours_psnr``, its last, and ``ours_whole_s``.
    """
    data, magnitude = phantom(case)
    truth = torch.from_numpy(magnitude).to(device)
    mps = torch.from_numpy(estimate_maps(data.calib, data.calib_mask, config.maps, device)).to(device)
    paper = _paper(data, case.network, mps, iterations, truth)
    ours = Stopwatch(device, truth, mps)
    reconstruct(data, config, device, Watch(follow=ours))
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


def _paper(data: KSpace, settings: NetworkConfig, mps: Tensor, iterations: int, truth: Tensor) -> Stopwatch:
    device = mps.device
    operator, ksp = PlainSense(mps, torch.from_numpy(data.mask).to(device)), torch.from_numpy(data.ksp).to(device)

    def follow(iterations: int) -> Stopwatch:
        generator = torch.Generator().manual_seed(0)
        network = build_network(settings, 2, data.mask.shape, generator, PLAIN, device)
        watch = Stopwatch(device, truth, mps)
        plain_fit(network, operator, ksp, FitConfig(iterations=iterations, lr=0.01), watch)
        return watch

    with arithmetic(PLAIN, device):
        follow(1)  # warms up
        return follow(iterations)
