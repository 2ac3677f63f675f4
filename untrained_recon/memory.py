"""Memory of this machine, as far as this process may use it."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

GIB = 1 << 30


def usable_memory() -> int:
    """Bytes that this process may use: the least of the machine's, its control groups' and its resource limit."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        found.append(soft)
    return min(found + [limit for limit, _ in _control_groups()])


def free_memory() -> int:
    """Bytes that it could take now without another being pushed out: the least of the machine's and its control groups'."""
    found = [limit - taken for limit, taken in _control_groups()]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    return max(0, min(found, default=usable_memory()))


def gib(nbytes: float) -> str:
    """For people."""
    return f"{nbytes / GIB:.2f} GiB"


def _control_groups() -> Iterator[tuple[int, int]]:
    """Limit of each control group and what its processes have taken, but for files that can be dropped."""
    for folder, limit, taken in _places():
        with contextlib.suppress(OSError, ValueError):  # "max"
            bound = int((folder / limit).read_text())
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            dropped = int(statistics.get("inactive_file", 0)) + int(statistics.get("active_file", 0))
            yield bound, int((folder / taken).read_text()) - dropped


def _places() -> list[tuple[Path, str, str]]:
    root, found = Path("/sys/fs/cgroup"), []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            below = path.lstrip("/")
            if number == "0":
                found += [(folder, "memory.max", "memory.current") for folder in (root / below, root)]
            elif "memory" in controllers.split(","):
                places = (root / "memory" / below, root / "memory")
                found += [(folder, "memory.limit_in_bytes", "memory.usage_in_bytes") for folder in places]
    return found
