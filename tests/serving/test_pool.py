"""Workers that die, hang, cannot start, or are not wanted any more; and a queue that is fair."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.doubles.helpers import TIMEOUT_S, read_raw
from untrained_recon.config import Config, ScanConfig, load_config
from untrained_recon.errors import HostGoneError, WorkerError
from untrained_recon.recon.lanes import IN_LANE
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.serving.pool import FitPool
from untrained_recon.serving.supervision import Watch, Worker
from untrained_recon.serving.turns import Batch, Job, Turns
from untrained_recon.serving.worker import Task, reconstruct_on
from untrained_recon.types import KSpace, Reconstruction

CONFIG = load_config("fast", {"fit.iterations": "3", "network.channels": "8", "refine.iterations": "2", "network.layers": "3"})
ENDLESS = load_config("fast", {"fit.iterations": "1000000", "fit.discrepancy": "0", "network.channels": "8", "network.layers": "3"})


@pytest.fixture(scope="module")
def image(small_scan: Path) -> KSpace:
    header, acquisitions = read_raw(small_scan)
    return next(assemble([acquisitions], parse_header(header), ScanConfig()))


@contextmanager
def pool_of(workers: int, task: Task | None = None, watch: Watch | None = None) -> Iterator[FitPool]:
    pool = FitPool(["cpu"] * workers, threads=1, task=task, watch=watch)
    try:
        wait_until(lambda: pool.health.ready == workers)
        yield pool
    finally:
        pool.close(0.0)


def wait_until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def worker_of_this_process() -> psutil.Process:
    (worker,) = [p for p in psutil.Process().children() if any("spawn_main" in part for part in p.cmdline())]
    return worker


def test_a_stopped_worker_is_replaced_and_its_image_made(image: KSpace) -> None:
    with pool_of(1, watch=Watch(silence=3.0)) as pool:
        worker = worker_of_this_process()
        worker.suspend()
        recon = pool.submit("scan", image, CONFIG, 60.0).result(TIMEOUT_S)
        assert (recon.account.method, pool.health.restarts) == ("cg-sense", 1)
        assert not worker.is_running()


def test_a_pool_is_alive_from_its_start_and_while_a_worker_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_start = threading.Event(), threading.Event()

    def start(*args: Any) -> Worker:
        begun.set()
        assert may_start.wait(TIMEOUT_S)
        return Worker(*args)

    monkeypatch.setattr("untrained_recon.serving.pool.Worker", start)
    pool = FitPool(["cpu"], threads=1)
    try:
        for _ in range(2):
            assert begun.wait(TIMEOUT_S)
            assert (pool.health.alive, pool.health.live) == (True, 0)
            may_start.set()
            wait_until(lambda: pool.health.ready == 1)
            begun.clear()
            may_start.clear()
            worker_of_this_process().kill()
        may_start.set()
    finally:
        pool.close(0.0)


def test_an_idle_worker_that_dies_is_replaced(image: KSpace) -> None:
    with pool_of(1) as pool:
        worker_of_this_process().kill()
        assert pool.submit("scan", image, CONFIG, 60.0).result(TIMEOUT_S).account.method == "maps"  # be its death known yet or not
        assert pool.health.restarts == 1


def asleep(data: KSpace, config: Config, device: str, seconds: float) -> Reconstruction:
    """A task that hangs without using the processor, unless nothing is to be fitted."""
    if seconds > 0:
        time.sleep(1000)
    return reconstruct_on(data, config, device, seconds)


def test_a_fit_that_makes_no_progress_falls_back(image: KSpace) -> None:
    with pool_of(1, asleep, Watch(stall=2.0)) as pool:
        recon = pool.submit("scan", image, CONFIG, 60.0).result(TIMEOUT_S)
    assert recon.account.fallback_reason.endswith("the time budget of the scan is spent")


def test_fits_stop_when_nobody_wants_them(image: KSpace) -> None:
    with pool_of(1) as pool:
        running, waiting = (pool.submit("left", image, ENDLESS, 600.0) for _ in range(2))
        wait_until(lambda: pool.health.busy == 1)
        time.sleep(0.5)
        pool.cancel("left")
        with pytest.raises(HostGoneError):
            running.result(TIMEOUT_S)
        with pytest.raises(CancelledError):
            waiting.result(TIMEOUT_S)
        assert pool.submit("next", image, CONFIG, 60.0).result(TIMEOUT_S).account.method == "maps"
        assert pool.health.restarts == 0


def test_what_cannot_be_stopped_is_killed(image: KSpace) -> None:
    with pool_of(1, asleep, Watch(cancel=1.0)) as pool:
        running = pool.submit("left", image, CONFIG, 600.0)
        wait_until(lambda: pool.health.busy == 1)
        pool.cancel("left")
        with pytest.raises(HostGoneError):
            running.result(TIMEOUT_S)


def test_images_fail_where_no_worker_can_be_started(image: KSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.serving.slot.SHORTEST_PAUSE_S", 0.1)
    monkeypatch.setattr("untrained_recon.serving.slot.LONGEST_PAUSE_S", 1.0)

    def fail(*_: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr("untrained_recon.serving.pool.Worker", fail)
    pool = FitPool(["cpu"], threads=1)
    try:
        with pytest.raises(WorkerError, match="no worker can be started"):
            pool.submit("scan", image, CONFIG, 60.0).result(TIMEOUT_S)
        assert (pool.health.alive, pool.health.live) == (False, 0)
        monkeypatch.undo()
        wait_until(lambda: pool.health.ready == 1)
        assert pool.submit("scan", image, CONFIG, 60.0).result(TIMEOUT_S).account.method == "maps"
    finally:
        pool.close(0.0)


class _TooMuchError(Exception):
    """An error that cannot be made anew from its pickle."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("too much")


def raising(data: KSpace, config: Config, device: str, seconds: float) -> Reconstruction:
    raise _TooMuchError(1, 2)


def test_errors_that_cannot_travel_arrive_in_words(image: KSpace) -> None:
    with pool_of(1, raising) as pool, pytest.raises(WorkerError, match="_TooMuchError: too much"):
        pool.submit("scan", image, CONFIG, 60.0).result(TIMEOUT_S)


PARENT = """
import threading
import time
from untrained_recon.serving.pool import FitPool
if __name__ == "__main__":
    pool = FitPool(["cpu"], threads=1)
    while pool.health.ready == 0:
        time.sleep(0.05)
    print("ready", flush=True)
    time.sleep(1000)
"""


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert children
        parent.kill()
    _, alive = psutil.wait_procs(children, timeout=TIMEOUT_S)
    assert alive == []


def test_workers_leave_ending_to_the_service(image: KSpace) -> None:
    with pool_of(1) as pool:
        worker = worker_of_this_process()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(worker.pid, number)
        assert pool.submit("scan", image, CONFIG, 60.0).result(TIMEOUT_S).account.method == "maps"
        assert pool.health.restarts == 0


SIDE_BY_SIDE = CONFIG.model_copy(update={"compute": CONFIG.compute.model_copy(update={"at_once": 3})})


def test_scans_take_turns(image: KSpace) -> None:
    turns = Turns()
    for scan in "aaabbc":
        turns.put(Job(scan, image, CONFIG, 1.0))
    take = functools.partial(turns.take, lambda: True, lambda: False)
    taken = [job.scan for _ in range(6) if (job := take())]
    assert "".join(taken) == "abcaba"
    turns.close(WorkerError("closed"))
    assert take() is None


def test_images_that_wait_in_one_scan_share_a_turn_where_the_settings_allow_it(image: KSpace) -> None:
    turns = Turns()
    for scan, config in zip("aaaaabac", [SIDE_BY_SIDE] * 6 + [CONFIG, SIDE_BY_SIDE], strict=True):
        turns.put(Job(scan, image, config, 1.0))
    take = functools.partial(turns.take, lambda: True, lambda: False)
    taken = [job for _ in range(5) if (job := take())]
    assert [(job.scan, len(job.jobs) if isinstance(job, Batch) else 1, job.seconds) for job in taken] == [
        ("a", 3, 3.0),
        ("b", 1, 1.0),
        ("c", 1, 1.0),
        ("a", 2, 2.0),
        ("a", 1, 1.0),
    ]
    assert len(turns) == 0


@pytest.mark.parametrize(
    ("scans", "takers", "expected"),
    [("aaaa", 2, [2, 2]), ("aaaaa", 3, [1, 2, 2]), ("a", 2, [1]), ("aaaaaab", 2, [1, 3]), ("aaabbb", 3, [1, 2, 3])],
)
def test_what_waits_is_shared_by_the_workers_that_are_idle(image: KSpace, scans: str, takers: int, expected: list[int]) -> None:
    turns, taken, warm, idle = Turns(), [], [False], threading.Semaphore(0)

    def take() -> None:
        def ready() -> bool:
            idle.release()
            return warm[0]

        if (job := turns.take(ready, lambda: False)) is not None:
            taken.append(len(job.jobs) if isinstance(job, Batch) else 1)

    threads = [threading.Thread(target=take) for _ in range(takers)]
    threads.append(threading.Thread(target=turns.take, args=(lambda: False, lambda: False)))  # a worker that is not ready
    for thread in threads:
        thread.start()
    for _ in range(takers):
        assert idle.acquire(timeout=TIMEOUT_S)
    for scan in scans:
        turns.put(Job(scan, image, SIDE_BY_SIDE, 1.0))
    warm[0] = True
    turns.changed()
    wait_until(lambda: len(taken) == len(expected))
    turns.close(WorkerError("closed"))
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert sorted(taken) == expected


def failing_once(data: KSpace, config: Config, device: str, seconds: float) -> Reconstruction:
    """A task that fails for the images of one repetition."""
    if data.index.repetition == 1:
        raise ValueError("no such image")
    return reconstruct_on(data, config, device, seconds)


def several(image: KSpace) -> list[KSpace]:
    return [replace(image, index=image.index._replace(repetition=n)) for n in range(3)]


def held_up(pool: FitPool, image: KSpace) -> "Future[Reconstruction]":
    """An image without end, so that what comes later waits."""
    running = pool.submit("other", image, ENDLESS, 600.0)
    wait_until(lambda: pool.health.busy == 1)
    return running


def test_images_of_a_turn_are_those_of_each_alone_and_one_that_fails_costs_no_other(image: KSpace) -> None:
    with pool_of(1, failing_once) as pool:
        alone = pool.submit("scan", image, CONFIG, 60.0).result(TIMEOUT_S)
        held_up(pool, image)
        made = [pool.submit("scan", data, SIDE_BY_SIDE, 60.0) for data in several(image)]
        pool.cancel("other")
        for future in (made[0], made[2]):
            found = future.result(TIMEOUT_S)
            np.testing.assert_array_equal(found.magnitude, alone.magnitude)
            assert found.account.seconds > 0
        with pytest.raises(ValueError, match="no such image"):
            made[1].result(TIMEOUT_S)
        assert pool.health.restarts == 0


def deadly_in_company(data: KSpace, config: Config, device: str, seconds: float) -> Reconstruction:
    """A task that kills its worker unless the image is alone."""
    if IN_LANE.get():
        os.kill(os.getpid(), signal.SIGKILL)
    return reconstruct_on(data, config, device, seconds)


def test_images_whose_worker_died_of_their_company_are_made_one_by_one(image: KSpace) -> None:
    with pool_of(1, deadly_in_company) as pool:
        held_up(pool, image)
        made = [pool.submit("scan", data, SIDE_BY_SIDE, 60.0) for data in several(image)]
        pool.cancel("other")
        assert [future.result(TIMEOUT_S).account.method for future in made] == ["maps"] * 3
        assert pool.health.restarts == 1


def test_a_turn_that_nobody_wants_is_given_up(image: KSpace) -> None:
    endless = ENDLESS.model_copy(update={"compute": SIDE_BY_SIDE.compute})
    with pool_of(1) as pool:
        held_up(pool, image)
        made = [pool.submit("scan", data, endless, 600.0) for data in several(image)]
        pool.cancel("other")
        wait_until(lambda: pool.places[0].scan == "scan")
        time.sleep(0.5)
        pool.cancel("scan")
        for future in made:
            with pytest.raises(HostGoneError):
                future.result(TIMEOUT_S)
        assert pool.submit("next", image, CONFIG, 60.0).result(TIMEOUT_S).account.method == "maps"
        assert pool.health.restarts == 0
