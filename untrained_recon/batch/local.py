"""Scans on the devices of this machine: a pool of processes fits images, a thread for each scan in work does the rest."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from untrained_recon.batch.make import make
from untrained_recon.batch.task import Made, Task
from untrained_recon.errors import ServiceStoppedError
from untrained_recon.recon.plane import pick_device
from untrained_recon.serving.pool import FitPool

Submit = Callable[[Task], "Future[Made | None]"]
"""Has :func:`untrained_recon.batch.make.make` done."""

AHEAD = 1  # scans more than workers: one is read while the others are fitted


def slots(devices: Sequence[str] = (), workers: int = 1) -> list[str]:
    """The device of each worker process.

    Args:
        devices: ``cpu``, ``cuda``, ``cuda:N``; none: all GPUs, or the CPU.
        workers: Processes on each.

    Raises:
        ConfigError: A device is not there.
    """
    found = devices or [f"cuda:{n}" for n in range(torch.cuda.device_count())] or ["cpu"]
    return [str(pick_device(name)) for name in found for _ in range(workers)]


@contextmanager
def on_devices(devices: Sequence[str]) -> Iterator[Submit]:
    """Worker processes, one for each entry of ``devices``. Leaving the context ends what runs, and nothing of it is kept.

    As processes are started, a script calls this under ``if __name__ == "__main__":``.
    """
    stop = threading.Event()

    def stopping() -> None:
        if stop.is_set():
            raise ServiceStoppedError("the batch was ended; what was finished is kept")

    pool = FitPool(devices, max(1, len(os.sched_getaffinity(0)) // len(devices)))
    scans = ThreadPoolExecutor(len(devices) + AHEAD, thread_name_prefix="scan")
    try:
        yield lambda task: scans.submit(make, task, pool, stopping)
    finally:
        stop.set()
        pool.close(0.0)
        scans.shutdown(cancel_futures=True)
