"""Processes of this machine, one for each device or several: each does one thing at a time, from the file to the results."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from untrained_recon.recon.plane import pick_device
from untrained_recon.serving.pool import FitPool
from untrained_recon.serving.supervision import Watch
from untrained_recon.serving.turns import Job
from untrained_recon.workers.share import Do, Submit

WATCH = Watch(silence=120.0)  # a file system that is slow holds up the signs of life, too


def slots(devices: Sequence[str] = (), workers: int = 1) -> list[str]:
    """The device of each worker process.

    Args:
        devices: ``auto``, ``cpu``, ``cuda``, ``cuda:N``; none: all GPUs, or the CPU.
        workers: Processes on each.

    Raises:
        ConfigError: A device is not there.
    """
    found = devices or [f"cuda:{n}" for n in range(torch.cuda.device_count())] or ["cpu"]
    return [str(pick_device(name)) for name in found for _ in range(workers)]


@contextmanager
def on_devices(devices: Sequence[str]) -> Iterator[Submit]:
    """Worker processes, one for each entry of ``devices``. Leaving the context ends what runs.

    A process that dies or hangs is replaced, and what it had in work is done again; after three deaths it has failed. As processes
    are started, a script calls this under ``if __name__ == "__main__":``.
    """
    pool = FitPool(devices, max(1, len(os.sched_getaffinity(0)) // len(devices)), task=_do, watch=WATCH)
    try:
        yield lambda do, item: pool.put(Job("", _Call(do, item), None, math.inf))
    finally:
        pool.close(0.0)


@dataclass(frozen=True)
class _Call:
    """What a process is given."""

    do: Do
    item: Any

    @property
    def index(self) -> str:
        return str(self.item)


def _do(call: _Call, _: None, device: str, seconds: float) -> Any:
    """In the process."""
    return call.do(call.item, device)
