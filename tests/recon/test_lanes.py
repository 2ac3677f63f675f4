import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import untrained_recon as ur
from untrained_recon.bench.fits import Case, phantom
from untrained_recon.config import ComputeConfig, Config, load_config
from untrained_recon.errors import FitError, HostGoneError
from untrained_recon.recon import evidence, untrained
from untrained_recon.recon import lanes as side
from untrained_recon.recon.evidence import Again, noise_map
from untrained_recon.recon.fit.watch import UNWATCHED, Progress, Watch
from untrained_recon.recon.lanes import Lanes, Room, side_by_side
from untrained_recon.recon.run import Problem, Run, run
from untrained_recon.recon.volume import reconstruct_images
from untrained_recon.types import EvidenceMap, KSpace, Reconstruction

CPU, GIB = torch.device("cpu"), 1 << 30
TIMEOUT_S = 60.0
CASE = Case((48, 40), 3, 4, 8, slices=3)
QUICK = {"fit.iterations": "8", "refine.iterations": "4", "network.layers": "4", "network.channels": "8"}


def config(at_once: int, **changes: str) -> Config:
    return load_config("fast", QUICK | {"compute.at_once": str(at_once)} | {k.replace("__", "."): v for k, v in changes.items()})


def nothing(_: object) -> int:
    return 0


@pytest.fixture(scope="module")
def slices() -> list[KSpace]:
    return [phantom(CASE, number)[0] for number in range(CASE.slices)]


def images(scan: list[KSpace], settings: Config, watch: Watch = UNWATCHED) -> list[Reconstruction]:
    return reconstruct_images(scan, settings, CPU, watch)


def same(one: Reconstruction, other: Reconstruction) -> bool:
    alike = replace(one.account, seconds=0.0) == replace(other.account, seconds=0.0)
    return alike and one.cautions == other.cautions and np.array_equal(one.complex_img, other.complex_img)


@pytest.mark.parametrize("changes", [{}, {"network__kind": "dip"}, {"fit__keep": "lowest-loss"}], ids=str)
def test_an_image_is_the_same_whoever_is_beside_it(slices: list[KSpace], changes: dict[str, str]) -> None:
    alone = images(slices, config(1, **changes))
    assert [one.account.method for one in alone] == ["maps"] * 3
    for scan, at_once in ((slices, 3), (slices[:2], 2), (slices, 2)):
        assert all(map(same, alone, images(scan, config(at_once, **changes))))


def test_planes_and_runs_are_made_side_by_side_and_are_the_same(slices: list[KSpace]) -> None:
    volume = replace(
        slices[0],
        ksp=np.stack([one.ksp for one in slices], axis=1),
        mask=np.stack([one.mask for one in slices]),
        calib=np.stack([one.calib for one in slices], axis=1),
        calib_mask=np.stack([one.calib_mask for one in slices]),
        encoding=replace(slices[0].encoding, partitions=3, recon_partitions=3),
    )
    for scan, changes in ((volume, {}), (slices[0], {"recon__runs": "3"}), (slices[0], {"recon__mode": "separate"})):
        (one,), (other,) = (images([scan], config(at_once, **changes)) for at_once in (1, 3))
        assert same(one, other)


def test_what_goes_wrong_with_one_image_costs_no_other(slices: list[KSpace], monkeypatch: pytest.MonkeyPatch) -> None:
    alone, fit = images(slices, config(1)), run

    def diverges(problem: Problem, *args: object) -> Run:
        if problem.data.index == slices[1].index:
            raise FitError("diverged")
        return fit(problem, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(untrained, "run", diverges)
    found = images(slices, config(3))
    assert [one.account.fallback_reason for one in found] == ["", "FitError: diverged", ""]
    assert same(found[0], alone[0])
    assert same(found[2], alone[2])


def test_images_are_begun_together_and_their_planes_and_runs_are_not(slices: list[KSpace], monkeypatch: pytest.MonkeyPatch) -> None:
    meeting, names = threading.Barrier(3), []
    fit = run

    def meets(problem: Problem, settings: Config, number: int, watch: Watch) -> Run:
        names.append(threading.current_thread().name)
        if number == 0:
            meeting.wait(TIMEOUT_S)
        return fit(problem, settings, number, watch)

    monkeypatch.setattr(untrained, "run", meets)
    assert all(not one.account.fallback_reason for one in images(slices, config(3, recon__runs="2")))
    assert len(names) == 6
    assert len(set(names)) == 3


def test_a_callback_is_called_by_one_image_at_a_time_and_may_end_each(slices: list[KSpace]) -> None:
    inside, seen = threading.Lock(), []

    def follow(progress: Progress) -> bool:
        assert inside.acquire(blocking=False)
        time.sleep(0.001)
        seen.append(progress.stage)
        inside.release()
        return progress.iteration % progress.iterations < 2

    found = images(slices, config(3), Watch(follow=follow))
    assert {one.account.stop_reason for one in found} == {"callback"}
    assert len(seen) < 3 * 8


@pytest.mark.parametrize("changes", [{}, {"recon__mode": "coils"}, {"recon__method": "zero-filled"}], ids=str)
def test_replicas_of_the_noise_are_made_side_by_side_and_are_the_same(slices: list[KSpace], changes: dict[str, str]) -> None:
    (one,), (other,) = (images(slices[:1], config(at_once, evidence__replicas="6", **changes)) for at_once in (1, 4))
    assert one.noise is not None
    assert other.noise is not None
    assert one.noise.pixels is not None, one.noise.note
    assert one.noise.note == other.noise.note
    np.testing.assert_array_equal(one.noise.pixels, other.noise.pixels)
    assert (one.noise.pixels > 0).any()


def replicated(data: KSpace, again: Again, watch: Watch = UNWATCHED, at_once: int = 4, replicas: int = 8) -> EvidenceMap:
    return noise_map(again, data, torch.from_numpy(data.ksp), config(at_once, evidence__replicas=str(replicas)), watch)


def test_replicas_are_begun_together_and_one_that_fails_is_the_reason(slices: list[KSpace]) -> None:
    meeting, names = threading.Barrier(4), set()

    def again(ksp: Tensor, _: Watch) -> Tensor:
        names.add(threading.current_thread().name)
        meeting.wait(TIMEOUT_S)
        return ksp

    assert replicated(slices[0], again).pixels is not None
    assert len(names) == 4

    def fails(_ksp: Tensor, _: Watch) -> Tensor:
        raise RuntimeError("device lost")

    with pytest.raises(RuntimeError, match="device lost"):
        replicated(slices[0], fails)


def test_replicas_side_by_side_are_as_many_as_time_allows(slices: list[KSpace]) -> None:
    def again(ksp: Tensor, watch: Watch) -> Tensor:
        assert not watch.limited  # what is repeated does not depend on the time
        time.sleep(0.2)
        return ksp

    assert replicated(slices[0], again, Watch.of(0.0)).pixels is None
    assert "fewer than 4 replicas" in replicated(slices[0], again, Watch.of(0.3), at_once=2, replicas=60).note
    found = replicated(slices[0], again, Watch.of(1.5), replicas=60)
    assert found.pixels is not None
    assert "of 60, for want of time" in found.note


def test_replicas_no_more_than_there_is_memory_for(slices: list[KSpace], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "available", lambda _: 3 * GIB)
    monkeypatch.setattr(evidence, "replica_demand", lambda *_: 2 * GIB)
    inside = threading.Lock()

    def again(ksp: Tensor, _: Watch) -> Tensor:
        assert inside.acquire(blocking=False)
        time.sleep(0.01)
        inside.release()
        return ksp

    assert replicated(slices[0], again).pixels is not None


def test_replicas_that_nobody_waits_for_are_given_up(slices: list[KSpace]) -> None:
    given_up = threading.Event()
    seen = []

    def again(ksp: Tensor, watch: Watch) -> Tensor:
        seen.append(1)
        given_up.set()
        watch.heed()
        return ksp

    for at_once in (1, 4):
        given_up.clear()
        with pytest.raises(HostGoneError):
            replicated(slices[0], again, Watch(given_up=given_up.is_set), at_once)
    assert len(seen) < 8


def test_time_is_shared_by_those_that_wait() -> None:
    lefts = []

    def work(number: int, watch: Watch) -> int:
        lefts.append(watch.left())
        return number

    made = side_by_side(work, range(4), Watch.of(100.0), CPU, ComputeConfig(at_once=2), nothing)
    assert made == [0, 1, 2, 3]
    assert sorted(round(left) for left in lefts) == [50, 67, 100, 100]


def test_time_is_shared_by_as_many_as_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "available", lambda _: 3 * GIB)
    lefts = []

    def work(_: int, watch: Watch) -> None:
        lefts.append(watch.left())

    side_by_side(work, range(4), Watch.of(100.0), CPU, ComputeConfig(at_once=4), lambda _: 2 * GIB)
    assert [round(left) for left in lefts] == [25, 33, 50, 100]


def test_what_is_in_work_is_given_up_with_the_first_that_fails() -> None:
    begun, ended = threading.Event(), []

    def work(number: int, watch: Watch) -> None:
        if number == 0:
            assert begun.wait(TIMEOUT_S)
            raise KeyboardInterrupt
        begun.set()
        for step in range(6000):
            time.sleep(0.01)
            try:
                watch.stops(Progress("fit", step, 6000, 1.0, torch.zeros(1)))
            except HostGoneError:
                ended.append(step)
                raise

    with pytest.raises(KeyboardInterrupt):
        side_by_side(work, range(2), UNWATCHED, CPU, ComputeConfig(at_once=2), nothing)
    assert len(ended) == 1


def test_an_exception_comes_out_and_what_was_not_begun_is_not() -> None:
    begun = []

    def work(number: int, _: Watch) -> None:
        begun.append(number)
        time.sleep(0.05)
        raise ValueError(str(number))

    with pytest.raises(ValueError, match="0"):
        side_by_side(work, range(20), UNWATCHED, CPU, ComputeConfig(at_once=2), nothing)
    assert len(begun) < 20


def test_no_more_begin_than_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "available", lambda _: 5 * GIB)
    most, running, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    for needed, at_once in ((2 * GIB, 2), (9 * GIB, 1)):
        most = 0
        with Lanes(CPU, ComputeConfig(at_once=4)) as lanes:
            done = [lanes.submit(work, partial(int, needed)) for _ in range(8)]
            for one in done:
                one.result(TIMEOUT_S)
        assert most == at_once


def test_room_is_measured_when_it_is_empty_and_given_back_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    frees = iter((4, 7))
    monkeypatch.setattr(side, "available", lambda _: next(frees))
    room = Room(CPU)
    with pytest.raises(ValueError, match="lost"), room.taken(3), room.taken(1):
        raise ValueError("lost")
    with room.taken(5), room.taken(2):
        pass


def test_a_device_that_fails_costs_nothing_that_was_made_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> Any:
        raise RuntimeError("device lost")

    monkeypatch.setattr(side, "available", lost)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(Stream, "synchronize", lost)
    side._stream.cache_clear()
    try:
        with Lanes(torch.device("cuda"), ComputeConfig(at_once=2, precision="float32")) as lanes:
            done = [lanes.submit(partial(int, n), partial(int, GIB)) for n in "123"]
            assert [one.result(TIMEOUT_S) for one in done] == [1, 2, 3]
    finally:
        side._stream.cache_clear()


class Stream:
    """A stream of a GPU that is not there, and what is asked of it."""

    def __init__(self, *_: object) -> None:
        self.calls: list[str] = []

    def wait_stream(self, _: object) -> None:
        """Begin after another."""
        self.calls.append("after")

    def synchronize(self) -> None:
        """Wait for the end."""
        self.calls.append("end")


def test_on_a_gpu_every_lane_has_a_stream_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Stream] = []

    @contextmanager
    def within(stream: Stream) -> Iterator[None]:
        used.append(stream)
        stream.calls.append("begin")
        yield

    monkeypatch.setattr(side, "available", lambda _: GIB)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", within)
    side._stream.cache_clear()
    settings, gpu = ComputeConfig(at_once=2, precision="float32"), torch.device("cuda")
    try:
        for _ in range(2):
            with Lanes(gpu, settings) as lanes:
                done = [lanes.submit(partial(int, n), partial(int, 0)) for n in ("1", "2", "no number", "4", "5")]
                assert [one.result(TIMEOUT_S) for one in (*done[:2], *done[3:])] == [1, 2, 4, 5]
                assert isinstance(done[2].exception(), ValueError)
    finally:
        side._stream.cache_clear()
    assert len(used) == 10
    assert len({id(stream) for stream in used}) <= 2
    calls = [call for stream in {id(stream): stream for stream in used}.values() for call in stream.calls]
    assert (calls.count("after"), calls.count("begin"), calls.count("end")) == (10, 10, 8)  # two of them failed


def test_the_arrays_and_files_of_a_scan_take_the_setting(tmp_path: Path) -> None:
    scan = ur.simulate((48, 40), coils=3, accel=2, slices=2)
    reconstruct = partial(ur.reconstruct, scan.ksp, scan.mask, fit={"iterations": 4}, refine={"iterations": 2})
    one, other = reconstruct(), reconstruct(compute={"at_once": 2})
    np.testing.assert_array_equal(one.magnitude, other.magnitude)
    assert len(other.parts) == 2
