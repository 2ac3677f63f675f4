"""A fault drill of the resident service: ``python -m tests.drill [NAME…]``. Prints a row for each; takes some minutes.

Every row starts ``untrained-recon serve`` in a process of its own, does something to it, and looks what becomes of others' scans.
"""

import contextlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.conftest import SMALL
from tests.doubles.helpers import Answer, _receive_all, acquisition, read_raw, stream
from untrained_recon.phantom.simulation import simulate

QUICK = {"config": "fast", "fit.iterations": "3", "network.channels": "8", "refine.iterations": "2", "network.layers": "3"}
SLOW = {**QUICK, "fit.iterations": "1000000", "fit.discrepancy": "0"}
PATIENCE_S = 60.0
MIB = 1 << 20
BOMB = "".join(
    ["[&a [x,x,x,x,x,x,x,x,x,x]", *(f",&{n} [{','.join([f'*{m}'] * 10)}]" for m, n in zip("abcdefg", "bcdefgh", strict=True)), "]"]
)


class Served:
    """A service in a process of its own."""

    def __init__(self, *options: str, limits: dict[int, int] | None = None, read_log: bool = True) -> None:
        def limit() -> None:
            for kind, value in (limits or {}).items():
                resource.setrlimit(kind, (value, value))

        command = [
            sys.executable,
            "-m",
            "untrained_recon.cli",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--device",
            "cpu",
        ]
        self.process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, preexec_fn=limit)
        self.log: list[str] = []
        assert self.process.stderr is not None
        while "127.0.0.1', " not in (line := self.process.stderr.readline()):
            if not line:
                raise RuntimeError("".join(self.log))
            self.log.append(line)
        self.port = int(line.split("127.0.0.1', ")[1].split(")")[0])
        self._reader = threading.Thread(target=self._read, daemon=True) if read_log else None
        if self._reader is not None:
            self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(ValueError):
            self.log.extend(self.process.stderr)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def send(self, data: bytes) -> str:
        """How a scan ended, and after how many seconds."""
        start, answer = time.monotonic(), Answer()
        try:
            with self.connect() as sock:
                threading.Thread(target=_send, args=(sock, data), daemon=True).start()
                _receive_all(sock, answer)
            end = f"{len(answer.images)} images" if not answer.errors else f"{answer.errors[0][:60]!r}"
            end = end if answer.closed else "broken off"
        except (OSError, struct.error) as error:
            end = type(error).__name__
        return f"{end} after {time.monotonic() - start:.1f} s"

    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if any("spawn_main" in part for part in child.cmdline())]

    def kill_workers(self) -> None:
        for worker in self.workers():
            worker.kill()

    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss // MIB)

    def alive(self) -> str:
        if self.process.poll() is not None:
            return "DEAD"
        with contextlib.suppress(OSError, struct.error), self.connect() as sock:
            sock.settimeout(5.0)
            sock.sendall(struct.pack("<HQQQ", 6, 0, 77, 6) + b"health")
            _, _, length = struct.unpack("<HQQ", sock.recv(18, socket.MSG_WAITALL))
            return f"health {sock.recv(length, socket.MSG_WAITALL).decode()}"
        return "SILENT"

    def end(self) -> None:
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        if self._reader is not None:
            self._reader.join(5.0)
        self.process.stderr.close()


def _send(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(data)


@contextlib.contextmanager
def served(*options: str, warm: bool = True, **settings: Any) -> Iterator[Served]:
    service = Served(*options, **settings)
    try:
        if warm:
            service.send(stream(QUICK, *SCAN))
        yield service
    finally:
        service.end()


with tempfile.TemporaryDirectory() as folder:
    simulate(Path(folder) / "small.h5", SMALL)
    SCAN = read_raw(Path(folder) / "small.h5")
GOOD = stream(QUICK, *SCAN)
HEADER = SCAN[0]


def large_matrix() -> str:
    with served() as service:
        header = HEADER
        for small, huge in ((b"<x>96<", b"<x>20000<"), (b"<y>64<", b"<y>20000<"), (b"<x>48<", b"<x>20000<")):
            header = header.replace(small, huge)
        lines = [acquisition(np.ones((1, 96), np.complex64), n) for n in (10000, 10001)]
        before, most, done = service.memory(), 0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.wait(0.05):
                with contextlib.suppress(psutil.Error):
                    most = max(most, service.memory())

        threading.Thread(target=watch, daemon=True).start()
        end = service.send(stream(QUICK, header, lines))
        done.set()
        return f"{end}; parent {before} → {max(most, service.memory())} MiB; next: {service.send(GOOD)}"


def small_memory() -> str:
    with served(limits={resource.RLIMIT_AS: 2560 * MIB}) as service:
        huge = HEADER.replace(b"<y>64<", b"<y>20000<").replace(b"<x>96<", b"<x>20000<").replace(b"<x>48<", b"<x>20000<")
        lines = [acquisition(np.ones((1, 96), np.complex64), n) for n in (10000, 10001)]
        end = service.send(stream(QUICK, huge, lines))
        return f"RLIMIT_AS 2.5 GiB: {end}; next: {service.send(GOOD)}"


def alias_bomb() -> str:
    with served() as service:
        start = time.monotonic()
        threading.Thread(target=service.send, args=(stream({**QUICK, "name": BOMB}, *SCAN),), daemon=True).start()
        time.sleep(0.5)
        end = service.send(GOOD)
        return f"next: {end}, all {time.monotonic() - start:.0f} s; parent {service.memory()} MiB"


def hostile_text() -> str:
    with served() as service:
        injected = service.send(stream({**QUICK, "fit.lr": "1\n2026 INFO scan {forged}"}, *SCAN))
        escape = service.send(stream({**QUICK, "name": '"\\e[31m"'}, *SCAN))
        time.sleep(0.5)
        forged = sum(line.startswith("2026 INFO scan {forged}") for line in service.log)
        return f"{forged} forged lines; {injected}; ESC in the name: {escape}"


def few_files() -> str:
    with served(limits={resource.RLIMIT_NOFILE: 64}) as service, contextlib.ExitStack() as stack:
        end: list[str] = []
        running = threading.Thread(target=lambda: end.append(service.send(stream({**SLOW, "fit.time_budget_s": "4"}, *SCAN))))
        running.start()
        time.sleep(0.5)
        for _ in range(80):
            with contextlib.suppress(OSError):
                stack.enter_context(service.connect())
        running.join()
        return f"running scan: {end[0]}; next, beside 80 connections: {service.send(GOOD)}; {service.alive()[:40]}"


def idle_peers() -> str:
    with served() as service, contextlib.ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(service.connect())
        time.sleep(0.5)
        return f"beside 64 idle peers: {service.send(GOOD)}"


def pollers() -> str:
    with served("--max-scans", "1") as service:
        done = threading.Event()

        def poll() -> None:
            while not done.is_set():
                service.alive()
                service.connect().close()

        threads = [threading.Thread(target=poll) for _ in range(2)]
        for thread in threads:
            thread.start()
        ends = [service.send(GOOD) for _ in range(20)]
        done.set()
        for thread in threads:
            thread.join()
        refused = sum("ServiceBusy" in end for end in ends)
        return f"{refused} of 20 scans falsely refused; {sum('Traceback' in line for line in service.log)} tracebacks"


def dead_worker() -> str:
    with served() as service:
        service.kill_workers()
        return f"idle worker killed: {service.send(GOOD)}"


def grace() -> str:
    with served("--grace", "1") as service, contextlib.ExitStack() as stack:
        for _ in range(10):
            sock = stack.enter_context(service.connect())
            sock.sendall(stream(QUICK, HEADER, SCAN[1][:5], close=False))
        time.sleep(1.0)
        start = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            service.process.wait(70)
        return f"--grace 1 and 10 stuck scans: {time.monotonic() - start:.1f} s"


def stopped_worker() -> str:
    with served() as service:
        for worker in service.workers():
            worker.suspend()
        return f"SIGSTOP: {service.send(GOOD)}; {service.alive()[:150]}"


def killed_parent() -> str:
    with served() as service:
        workers = service.workers()
        service.process.kill()
        time.sleep(10.0)
        left = [worker for worker in workers if worker.is_running()]
        for worker in left:
            worker.kill()
        return f"workers 10 s after SIGKILL of their parent: {len(left)}"


def hangup() -> str:
    with served("--grace", "20") as service:
        end: list[str] = []
        running = threading.Thread(target=lambda: end.append(service.send(stream({**SLOW, "fit.time_budget_s": "2"}, *SCAN))))
        running.start()
        time.sleep(1.0)
        service.process.send_signal(signal.SIGHUP)
        running.join()
        return f"SIGHUP during a scan: {end[0]}, exit status {service.process.wait(30)}"


def client_leaves() -> str:
    with served() as service:
        with service.connect() as sock:
            sock.sendall(stream(SLOW, *SCAN))
            time.sleep(1.0)
        return f"after a fit of 10⁶ iterations whose client left: {service.send(GOOD)}"


def stalled_log() -> str:
    with served(read_log=False) as service:
        for _ in range(150):
            service.send(stream({"config": "none" + "x" * 500}, HEADER, []))
            if "after 60" in (last := service.alive()) or last == "SILENT":
                break
        return f"150 refused scans and nobody reads the log: {service.alive()[:30]}; {service.send(GOOD)}"


def files() -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as secret, served() as service:
        secret.write("password: hunter2\n")
        secret.flush()
        told = service.send(stream({"config": secret.name}, *SCAN))
        return f"{'the text is told' if 'password' in told else 'no text is told'}: {told}"


def long_comment() -> str:
    with served() as service:
        header = HEADER.replace(b"</ismrmrdHeader>", b"<!--" + b"x" * 3_000_000 + b"--></ismrmrdHeader>")
        return f"3 MB of comment: {service.send(stream(QUICK, header, SCAN[1]))}"


def warmth() -> str:
    with served(warm=False) as service:
        time.sleep(25.0)
        return "; ".join(service.send(GOOD) for _ in range(3))


def many_scans() -> str:
    one = stream({**QUICK, "fit.iterations": "1"}, HEADER, [acq for acq in SCAN[1] if acq.idx.slice == 0])
    with served() as service:
        process, sizes, bad = psutil.Process(service.process.pid), [], 0
        for n in range(300):
            bad += not service.send(one).startswith("1 images")
            if n % 100 == 99:
                (worker,) = service.workers()
                sizes.append((process.num_threads(), process.num_fds(), service.memory(), worker.memory_info().rss // MIB))
        return f"{bad} of 300 failed; threads, files, MiB of parent and worker after each hundred: {sizes}"


def resets() -> str:
    with served() as service:
        for n in range(50):
            with service.connect() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.sendall(GOOD[: (n + 1) * len(GOOD) // 50])
        return f"after 50 resets: {service.send(GOOD)}; {service.alive()[:150]}"


def worker_kills() -> str:
    with served() as service:
        ends = []
        for _ in range(20):
            killer = threading.Timer(0.3, service.kill_workers)
            killer.start()
            ends.append(service.send(stream({**SLOW, "fit.time_budget_s": "0.5"}, *SCAN)))
            killer.join()
        return f"{sum(end.startswith('2 images') for end in ends)} of 20 scans whose worker was killed have their images"


DRILLS: dict[str, Callable[[], str]] = {
    drill.__name__: drill
    for drill in (
        large_matrix,
        small_memory,
        alias_bomb,
        hostile_text,
        few_files,
        idle_peers,
        pollers,
        dead_worker,
        grace,
        stopped_worker,
        killed_parent,
        hangup,
        client_leaves,
        stalled_log,
        files,
        long_comment,
        warmth,
        resets,
        worker_kills,
        many_scans,
    )
}


def main(names: list[str]) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in names or DRILLS:
        try:
            row = DRILLS[name]()
        except Exception as error:
            row = f"{type(error).__name__}: {error}"[:300]
        sys.stdout.write(f"{name:15} {row}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
