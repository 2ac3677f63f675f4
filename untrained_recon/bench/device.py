"""What a device does and uses: its clock, its arithmetic peak, its memory."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch

REPEATS = 9
MATMUL_SIZE = {"cpu": 1024, "cuda": 8192}
MEMORY_INTERVAL_S = 0.005


def now(device: torch.device) -> float:
    """The clock in seconds, read when the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(device: torch.device, stage: Callable[[], object]) -> float:
    """Of the second of two calls; the first warms up."""
    stage()
    start = now(device)
    stage()
    return now(device) - start


def device_name(device: torch.device) -> str:
    """What the maker calls the GPU; ``cpu`` for the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def matmul_peak(device: torch.device, precision: str) -> float:
    """Operations per second of a large matrix product, the best of some: ``float32``, ``tf32`` or ``bf16``."""
    n = MATMUL_SIZE[device.type]
    before, times = torch.get_float32_matmul_precision(), []
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        a, b = torch.randn(2, n, n, generator=torch.Generator().manual_seed(0)).to(device, _dtype(precision))
        for _ in range(REPEATS):
            start = now(device)
            a @ b
            times.append(now(device) - start)
    finally:
        torch.set_float32_matmul_precision(before)
    return 2 * n**3 / min(times)


def _dtype(precision: str) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else torch.float32


@contextlib.contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], int | None]]:
    """Gives a function that tells the peak so far, in bytes.

    On a GPU, of the memory allocated. On the CPU, of the growth of resident memory, sampled every few milliseconds: approximate,
    and too small where memory that was used before is used again. None without psutil.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: torch.cuda.max_memory_allocated(device)
    elif find_spec("psutil") is None:
        yield lambda: None
    else:
        import psutil

        resident = psutil.Process().memory_info
        before, seen, done = resident().rss, [0], threading.Event()

        def watch() -> None:
            while not done.wait(MEMORY_INTERVAL_S):
                seen.append(resident().rss - before)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield lambda: max(seen)
        finally:
            done.set()
            watcher.join()
