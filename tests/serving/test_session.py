"""A scan's images on their way: receiving beside fitting, order, budgets, and what is left when something fails."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.doubles.helpers import read_raw
from untrained_recon.config import Config
from untrained_recon.errors import ConfigError, HostGoneError, NonFiniteError
from untrained_recon.recon.fit.watch import Watch
from untrained_recon.recon.methods import CPU
from untrained_recon.recon.plane import reconstruct
from untrained_recon.serving.jobs import LocalJobs
from untrained_recon.serving.session import Session, resolve
from untrained_recon.types import KSpace, Reconstruction

QUICK = {
    "config": "fast",
    "fit.iterations": "2",
    "network.channels": "8",
    "refine.iterations": "2",
    "network.layers": "3",
    "device": "cpu",
}


class HeldJobs:
    """Jobs that run only when they are let go, and note with how much time they were submitted."""

    def __init__(self) -> None:
        self.submitted: list[tuple[KSpace, Config, Future[Reconstruction]]] = []
        self.seconds: list[float] = []
        self.cancelled = False
        self.arrived = threading.Semaphore(0)

    def submit(self, scan: str, data: KSpace, config: Config, seconds: float) -> "Future[Reconstruction]":
        future: Future[Reconstruction] = Future()
        self.submitted.append((data, config, future))
        self.seconds.append(seconds)
        self.arrived.release()
        return future

    def cancel(self, scan: str) -> None:
        self.cancelled = True

    def let_go_after(self, arrivals: int) -> threading.Thread:
        """Let each of so many arrivals go as it comes, in a thread that is started."""

        def run() -> None:
            for _ in range(arrivals):
                self.arrived.acquire(timeout=30)
                self.let_go()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def let_go(self) -> None:
        for data, config, future in reversed(self.submitted):
            if not future.done():
                future.set_result(reconstruct(data, config, CPU))


@pytest.fixture
def session(small_scan: Path) -> Session:
    return Session(read_raw(small_scan)[0], QUICK)


def test_maps_that_nobody_takes_are_not_made(small_scan: Path, caplog: pytest.LogCaptureFixture) -> None:
    header, acquisitions = read_raw(small_scan)
    session, jobs = Session(header, {**QUICK, "evidence.replicas": "4"}), HeldJobs()
    arrivals = jobs.let_go_after(2)
    images = list(session.images(session.assemble([acquisitions]), ["complex"], jobs))
    arrivals.join()
    assert len(images) == 2
    assert all(config.evidence.replicas == 0 for _, config, _ in jobs.submitted)
    assert "not in image arrays" in caplog.text


def test_receiving_goes_on_while_nothing_is_fitted_and_images_keep_their_order(session: Session, small_scan: Path) -> None:
    jobs, taken = HeldJobs(), threading.Event()

    def scan() -> Iterator[KSpace]:
        yield from session.assemble([[acq] for acq in read_raw(small_scan)[1]])
        taken.set()

    images = session.images(scan(), ["magnitude"], jobs)

    def wait() -> None:
        taken.wait(30)
        jobs.let_go()

    thread = threading.Thread(target=wait)
    thread.start()
    assert [image.slice for image in images] == [0, 1]  # the later one was finished first
    thread.join()
    assert taken.is_set()
    assert session.totals["images"] == 2
    assert session.totals["iterations"] == 4


def test_receiving_stops_at_the_memory_bound_and_goes_on_below_it(
    session: Session, small_scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("untrained_recon.serving.session.PENDING_BYTES", 1)
    jobs = HeldJobs()
    images = session.images(session.assemble([[acq] for acq in read_raw(small_scan)[1]]), ["magnitude"], jobs)
    thread = threading.Thread(target=lambda: list(images))
    thread.start()
    assert jobs.arrived.acquire(timeout=30)
    assert not jobs.arrived.acquire(timeout=0.3)  # the second image waits until the first has left
    jobs.let_go()
    assert jobs.arrived.acquire(timeout=30)
    jobs.let_go()
    thread.join(30)
    assert not thread.is_alive()


def test_what_is_wrong_with_the_data_is_raised_after_the_images_before_it(session: Session, small_scan: Path) -> None:
    def scan() -> Iterator[KSpace]:
        yield next(iter(session.assemble([read_raw(small_scan)[1]])))
        raise NonFiniteError("NaN")

    jobs = HeldJobs()
    images = session.images(scan(), ["magnitude"], jobs)
    thread = jobs.let_go_after(1)
    assert next(images).slice == 0
    with pytest.raises(NonFiniteError):
        next(images)
    thread.join()
    assert jobs.cancelled


def test_leaving_early_consumes_the_rest_and_cancels_what_waits(session: Session, small_scan: Path) -> None:
    jobs, consumed = HeldJobs(), threading.Event()

    def scan() -> Iterator[KSpace]:
        yield from session.assemble([[acq] for acq in read_raw(small_scan)[1]])
        consumed.set()

    images = session.images(scan(), ["magnitude"], jobs)
    thread = jobs.let_go_after(1)
    next(images)
    images.close()
    thread.join()
    assert consumed.is_set()
    assert jobs.cancelled


def test_images_share_the_time_of_the_scan(small_scan: Path) -> None:
    xml, acquisitions = read_raw(small_scan)
    session, jobs = Session(xml, {**QUICK, "scan.time_budget_s": "10"}), HeldJobs()
    images = session.images(session.assemble([[acq] for acq in acquisitions]), ["magnitude"], jobs)
    thread = jobs.let_go_after(2)
    assert len(list(images)) == 2
    thread.join()
    assert jobs.seconds == [5.0, 5.0]


def test_settings_come_from_the_hosts_properties() -> None:
    config, device = resolve({"device": "cpu", "fit.iterations": "7"})
    assert (config.name, config.fit.iterations, device) == ("fast", 7, CPU)
    with pytest.raises(ConfigError):
        resolve({"device": "tpu"})


def test_a_scan_that_was_abandoned_begins_no_more_fits(session: Session, small_scan: Path) -> None:
    jobs = HeldJobs()
    session.abandon(jobs)
    with pytest.raises(HostGoneError):
        list(session.images(session.assemble([read_raw(small_scan)[1]]), ["magnitude"], jobs))
    assert jobs.submitted == []
    assert jobs.cancelled


def test_fits_of_this_process_are_given_up_when_nobody_wants_them(small_scan: Path) -> None:
    xml, acquisitions = read_raw(small_scan)
    session = Session(xml, {**QUICK, "fit.iterations": "1000000", "fit.discrepancy": "0"})
    with LocalJobs(CPU) as jobs:
        (data, *_) = session.assemble([acquisitions])
        running = jobs.submit("scan", data, session.config, 600.0)
        threading.Timer(0.3, jobs.cancel, ["scan"]).start()
        with pytest.raises(HostGoneError):
            running.result(60)


def test_images_side_by_side_have_the_time_of_both(small_scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, lefts = threading.Barrier(3), []

    def timed(data: KSpace, config: Config, device: torch.device, watch: Watch) -> None:
        lefts.append(watch.left())

    def no_room(*_: object) -> int:
        both.wait(60)  # until both images are submitted
        return 0

    monkeypatch.setattr("untrained_recon.serving.jobs.reconstruct_image", timed)
    monkeypatch.setattr("untrained_recon.serving.jobs.demand_of", no_room)
    xml, acquisitions = read_raw(small_scan)
    session = Session(xml, {**QUICK, "compute.at_once": "2"})
    (data, *_) = session.assemble([acquisitions])
    with LocalJobs(CPU, session.config.compute) as jobs:
        images = [jobs.submit("scan", data, session.config, 500.0) for _ in "ab"]
        both.wait(60)
        for image in images:
            image.result(60)
    assert all(900 < left <= 1000 for left in lefts)


def test_fits_of_this_process_may_be_side_by_side(small_scan: Path) -> None:
    xml, acquisitions = read_raw(small_scan)
    session = Session(xml, {**QUICK, "fit.iterations": "1000000", "fit.discrepancy": "0", "compute.at_once": "2"})
    with LocalJobs(CPU, session.config.compute) as jobs:
        (data, *_) = session.assemble([acquisitions])
        quick = session.config.model_copy(update={"fit": session.config.fit.model_copy(update={"iterations": 3})})
        given_up, images = jobs.submit("scan", data, session.config, 600.0), [jobs.submit("scan", data, quick, 600.0) for _ in "ab"]
        one, other = (image.result(60) for image in images)  # past the one that has no end
        jobs.cancel("scan")
        with pytest.raises(HostGoneError):
            given_up.result(60)
    np.testing.assert_array_equal(one.magnitude, other.magnitude)
