"""Notes of scans: small, within bounds, and of one moment."""

import tracemalloc
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
import torch

from untrained_recon.account import Account
from untrained_recon.config import Config
from untrained_recon.encoding import Encoding, ImageIndex
from untrained_recon.errors import FitError
from untrained_recon.recon.fit.watch import Progress
from untrained_recon.serving.entries import IMAGE_BYTES, MOST_IMAGES, MOST_POINTS
from untrained_recon.serving.glimpse import LONGEST_EDGE, Glimpse, Glimpses, picture_of
from untrained_recon.serving.history import History
from untrained_recon.types import KSpace, Reconstruction


def data_of(number: int) -> KSpace:
    ksp, mask = np.ones((2, 8, 6), np.complex64), np.ones((8, 6), bool)
    return KSpace(ksp, mask, ksp, mask, ImageIndex(0, 0, number, 0, 0, 0, 0), Encoding.of((8, 6)), None, False)


class Kept:
    """Jobs whose end the test decides."""

    def __init__(self) -> None:
        self.futures: list[Future[Reconstruction]] = []
        self.cancelled: list[str] = []

    def submit(self, scan: str, data: KSpace, config: Config, seconds: float) -> "Future[Reconstruction]":
        self.futures.append(Future())
        return self.futures[-1]

    def cancel(self, scan: str) -> None:
        self.cancelled.append(scan)


def ready(n: int = 8) -> Reconstruction:
    return Reconstruction(np.ones((n, n), np.float32), np.ones((n, n), np.complex64), Account(method="maps", seconds=1.0))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (320, 200), (1000, 2), (16, 512, 512), (2, 3, 40, 30)])
def test_pictures_are_small_and_show_the_middle(shape: tuple[int, ...]) -> None:
    img = np.zeros(shape)
    planes = img.reshape(-1, *shape[-2:])
    planes[len(planes) // 2] = 3.0
    picture = picture_of(img.astype(np.complex64))
    assert max(picture.pixels.shape) <= LONGEST_EDGE
    assert picture.white == pytest.approx(3.0)
    assert picture.pixels.min() >= 254


@pytest.mark.parametrize("img", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.array([[np.inf, 1.0], [np.nan, 0.5]])])
def test_pictures_are_made_of_whatever_comes(img: Any) -> None:
    assert np.isfinite(picture_of(img).white)


def test_glimpses_come_once_a_second_and_never_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("untrained_recon.serving.glimpse.time.monotonic", lambda: now[0])
    glimpses = Glimpses()
    img = torch.ones(3, 8, 6, dtype=torch.complex64)
    first = glimpses.of(Progress("fit", 1, 10, 0.5, img))
    assert first is not None
    assert first.picture is not None
    assert first.picture.white == pytest.approx(np.sqrt(3))
    now[0] += 0.5
    assert glimpses.of(Progress("fit", 2, 10, 0.5, img)) is None
    now[0] += 0.6
    broken = glimpses.of(Progress("fit", 3, 10, 0.5, torch.ones(3)))
    assert broken is not None
    assert broken.picture is None
    assert broken.seconds == pytest.approx(1.1)


def test_what_was_read_does_not_change() -> None:
    history, jobs = History(10), Kept()
    history.begin("a", "here")
    following = history.following(jobs)
    following.submit("a", data_of(0), Config(), 5.0)
    before = history.scan("a")
    assert before is not None
    jobs.futures[0].set_result(ready())
    after = history.scan("a")
    assert after is not None
    assert (before.done, after.done, after.waiting) == (0, 1, 0)
    following.cancel("a")
    assert jobs.cancelled == ["a"]


def test_images_that_fail_are_cancelled_or_come_late_are_told() -> None:
    history, jobs = History(10), Kept()
    history.begin("a", "here")
    for number in range(4):
        history.following(jobs).submit("a", data_of(number), Config(), 5.0)
    jobs.futures[0].set_exception(FitError("no"))
    jobs.futures[1].cancel()
    jobs.futures[1].set_running_or_notify_cancel()
    history.end("a", "HostGoneError: gone", 1.0)
    jobs.futures[2].set_result(ready())
    scan = history.scan("a")
    assert scan is not None
    states = [image.state for image in scan.images.values()]
    assert states == ["failed", "failed", "done", "failed"]
    assert next(iter(scan.images.values())).error == "FitError: no"
    history.glimpse("a", data_of(0).index, Glimpse("fit", 1, 2, 0.1, 0.0, None))
    history.glimpse("never", data_of(0).index, Glimpse("fit", 1, 2, 0.1, 0.0, None))
    assert history.scan("a") == scan


def test_a_scan_of_very_many_images_and_a_fit_without_end_stay_small() -> None:
    history, jobs = History(10), Kept()
    history.begin("a", "here")
    for number in range(MOST_IMAGES + 50):
        history.following(jobs).submit("a", data_of(number), Config(), 5.0)
        jobs.futures[-1].set_result(ready())
    history.begin("b", "here")
    history.submit("b", data_of(0), 5.0)
    for step in range(10 * MOST_POINTS):
        history.glimpse("b", data_of(0).index, Glimpse("fit", step, 9, 0.1, float(step), None))
    many, endless = history.scan("a"), history.scan("b")
    assert many is not None
    assert endless is not None
    assert (len(many.images), many.submitted, many.done) == (MOST_IMAGES, MOST_IMAGES + 50, MOST_IMAGES + 50)
    (image,) = endless.images.values()
    assert len(image.curve) <= MOST_POINTS
    assert (image.curve[0][0], image.curve[-1][0]) == (0.0, 10 * MOST_POINTS - 1)


def test_details_and_pixels_of_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    one = IMAGE_BYTES + 64
    monkeypatch.setattr("untrained_recon.serving.history.DETAIL_BYTES", 3 * one)
    monkeypatch.setattr("untrained_recon.serving.history.PIXEL_BYTES", 2 * 256)
    history, jobs = History(4, pixels=True), Kept()
    for name in "abcdef":
        history.begin(name, "here")
        history.following(jobs).submit(name, data_of(0), Config(), 5.0)
        jobs.futures[-1].set_result(ready())
        history.end(name, "ok", 1.0)
    scans = history.scans()
    assert [scan.name for scan in scans] == list("fedc")
    assert [scan.done for scan in scans] == [1, 1, 1, 1]
    assert [scan.detail_bytes for scan in scans] == [one, one, one, 0]
    assert [scan.pixel_bytes for scan in scans] == [256, 256, 0, 0]


def test_many_large_scans_take_no_more_memory_than_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.serving.history.DETAIL_BYTES", 2 << 20)
    history, jobs, recon = History(1000), Kept(), ready(128)
    tracemalloc.start()
    try:
        for scan in range(120):
            history.begin(str(scan), "here")
            following = history.following(jobs)
            for number in range(5):
                following.submit(str(scan), data_of(number), Config(), 5.0)
                for step in range(5):
                    glimpse = Glimpse("fit", step, 99, 0.1 * step, float(step), None)
                    history.glimpse(str(scan), data_of(number).index, glimpse)
                jobs.futures.pop().set_result(recon)
            history.end(str(scan), "ok", 1.0)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 4 << 20
    assert len(history.scans()) == 120


def test_a_fault_in_the_notes_costs_no_scan(caplog: pytest.LogCaptureFixture) -> None:
    def person(_: bytes) -> dict[str, str]:
        raise KeyError("a fault")

    history = History(10, person)
    history.begin("a", "here")
    history.describe("a", Config(), b"")
    assert "no notes" in caplog.text
