"""Benchmarks: ratios of things measured side by side in one run, never absolute promises."""

import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import ismrmrd

from untrained_recon.errors import ReplayError
from untrained_recon.gadget_process import GadgetProcess
from untrained_recon.host import exchange, server_connection
from untrained_recon.rawfile import RawFile
from untrained_recon.simulation import Simulation, simulate
from untrained_recon.wire import configuration_xml

START_TIMEOUT_S = 120.0
REPEATS = 3


@dataclass(frozen=True)
class _Scan:
    config: bytes
    header: bytes
    acquisitions: list[ismrmrd.Acquisition]


@dataclass(frozen=True)
class _Run:
    """Seconds of one scan: to its first image, in all, and in the fits."""

    first: float
    total: float
    fits: float


def bench_service(
    simulation: Simulation, properties: dict[str, str], connections: Sequence[int], workers: int
) -> dict[str, float | dict[str, float]]:
    """Time the whole path of a scan through a resident service on this machine, and through a gadget started for it.

    Args:
        simulation: The scan.
        properties: Settings of its reconstruction.
        connections: Numbers of scans at a time.
        workers: Fits at a time.

    Returns:
        ``first_image_s``: seconds to the first image ``cold`` (gadget started for the scan) and ``resident``, and their ``ratio``.
        ``overhead``: share of a resident scan's time that is not spent in its fits. ``scans_per_minute``: by number of connections.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        simulate(path, simulation)
        with RawFile(path) as raw:
            scan = _Scan(configuration_xml(properties), raw.header, list(raw.acquisitions()))
    cold = statistics.median(_cold(scan).first for _ in range(REPEATS))
    with _service(workers) as port:
        _resident(scan, port)  # the first scan of a worker is not what is measured
        resident = [_resident(scan, port) for _ in range(REPEATS)]
        rates = {str(n): _rate(scan, port, n) for n in connections}
    first = statistics.median(run.first for run in resident)
    return {
        "first_image_s": {"cold": cold, "resident": first, "ratio": cold / first},
        "overhead": statistics.median(1 - run.fits / run.total for run in resident),
        "scans_per_minute": rates,
    }


def _cold(scan: _Scan) -> _Run:
    start = time.perf_counter()
    with GadgetProcess("gadgets.acquisitions", "reconstruct", lambda line: None) as gadget:
        return _follow(gadget.exchange(scan.config, scan.header, scan.acquisitions), start)


def _resident(scan: _Scan, port: int) -> _Run:
    start = time.perf_counter()
    with server_connection("127.0.0.1", port) as sock:
        return _follow(exchange(sock, scan.config, scan.header, scan.acquisitions), start)


def _follow(items: Iterator[ismrmrd.Image | ismrmrd.Waveform], start: float) -> _Run:
    first, fits = 0.0, 0.0
    for item in items:
        first = first or time.perf_counter() - start
        fits += float(item.meta["untrained_recon_seconds"])
    return _Run(first, time.perf_counter() - start, fits)


def _rate(scan: _Scan, port: int, connections: int) -> float:
    scans = connections * REPEATS
    start = time.perf_counter()
    with ThreadPoolExecutor(connections) as clients:
        list(clients.map(lambda _: _resident(scan, port), range(scans)))
    return 60 * scans / (time.perf_counter() - start)


@contextlib.contextmanager
def _service(workers: int) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = ["--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "untrained_recon.cli", "serve", *address, "--workers", str(workers)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield port
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise ReplayError(f"the service did not listen within {START_TIMEOUT_S:.0f} s")
