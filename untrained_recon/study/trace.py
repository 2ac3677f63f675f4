"""Image quality against time: what a reconstruction by the network would deliver if it ended at this moment.

The clock starts with the reconstruction, so maps count, and stands still while an image is scored.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from untrained_recon.config import Config
from untrained_recon.errors import ConfigError
from untrained_recon.metrics import psnr
from untrained_recon.output import written
from untrained_recon.physics.operators import rss
from untrained_recon.recon.fit.watch import Progress, Watch
from untrained_recon.recon.plane import reconstruct
from untrained_recon.recon.untrained import Task
from untrained_recon.types import FloatArray, KSpace, Reconstruction

INTERVAL_S = 0.5  # between two scores at least
COST = 0.05  # of the time for scores at most; a budget of the fit pays for them


class Point(NamedTuple):
    """Seconds since the reconstruction began, and the PSNR in dB then (:func:`untrained_recon.metrics.psnr`).

    The foreground's is NaN in traces of an earlier version.
    """

    seconds: float
    psnr: float
    foreground: float = math.nan

    @classmethod
    def of(cls, seconds: float, img: FloatArray, truth: FloatArray) -> "Point":
        """A point with its scores."""
        return cls(seconds, psnr(img, truth), psnr(img, truth, region="foreground"))


def traced(data: KSpace, config: Config, device: torch.device, truth: FloatArray) -> tuple[Reconstruction, list[Point]]:
    """:func:`untrained_recon.recon.plane.reconstruct` with the network, and its quality on the way; the last point is the result.

    Args:
        data: Prewhitened k-space.
        config: Method and settings, with a single run.
        device: Where to compute.
        truth: float32 ``encoding.recon_shape``.

    Returns:
        The reconstruction, with its seconds without those for scores, and the points in the order of time.

    Raises:
        ConfigError: The settings ask for several fits, whose single images are not what is delivered.
    """
    if config.recon.method != "network" or config.recon.mode == "separate" or config.recon.runs > 1:
        raise ConfigError("quality against time can be followed with recon.method network, one run, and not with mode separate")
    tracer = _Tracer(data, config, device, truth)
    recon = reconstruct(data, config, device, Watch(follow=tracer))
    seconds = tracer.seconds()
    points = [*tracer.points, Point.of(seconds, recon.magnitude, truth)]
    return replace(recon, account=replace(recon.account, seconds=seconds)), points


def seconds_to(points: Sequence[Point], quality: float) -> float:
    """Seconds until a PSNR of the foreground was first reached, infinite where it never was."""
    return min((point.seconds for point in points if point.foreground >= quality), default=math.inf)


def save_trace(path: Path, points: Sequence[Point]) -> None:
    """Write CSV with a line for every point."""
    with written(path) as part:
        np.savetxt(part, points, "%.9g", delimiter=",", header=",".join(Point._fields), comments="")


def load_trace(path: Path) -> list[Point]:
    """Read what :func:`save_trace` wrote."""
    return [Point(*values) for values in np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).tolist()]


class _Tracer:
    """A callback of the fit that keeps points."""

    def __init__(self, data: KSpace, config: Config, device: torch.device, truth: FloatArray) -> None:
        self.points: list[Point] = []
        self._truth, self._device = truth, device
        self._ksp = torch.from_numpy(data.ksp).to(device)
        self._task = Task.of(data, self._ksp, torch.from_numpy(data.mask).to(device), config)
        self._start, self._scoring, self._next = time.perf_counter(), 0.0, 0.0

    def seconds(self) -> float:
        """Since the start, without the time for scores."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - self._start - self._scoring

    def __call__(self, progress: Progress) -> None:
        now = self.seconds()
        if now < self._next:
            return
        self.points.append(Point.of(now, self._delivered(progress.img), self._truth))
        cost = self.seconds() - now
        self._scoring += cost
        self._next = now + max(INTERVAL_S, cost / COST)

    def _delivered(self, img: Tensor) -> FloatArray:
        magnitude: FloatArray = rss(self._task.delivered([img], self._ksp)).cpu().numpy()
        return magnitude
