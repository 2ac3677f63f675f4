import math
from dataclasses import replace

import pytest
import torch

from untrained_recon.errors import HostGoneError
from untrained_recon.recon.fit.warm_start import Neighbour
from untrained_recon.recon.fit.watch import UNWATCHED, Progress, Watch


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("untrained_recon.recon.fit.watch.time.monotonic", lambda: made.now)
    return made


def step(iteration: int, iterations: int = 10) -> Progress:
    return Progress("fit", iteration, iterations, 0.5, torch.zeros(1))


def test_time_runs_down_and_is_over(clock: Clock) -> None:
    watch = Watch.of(10.0)
    assert (watch.limited, watch.left(), watch.passed()) == (True, 10.0, False)
    clock.now += 10
    assert (watch.left(), watch.passed()) == (0.0, True)
    assert Watch.of(0.0).passed()


@pytest.mark.parametrize("watch", [UNWATCHED, Watch.of(None), Watch.of(math.inf)])
def test_without_a_limit_there_is_always_time(watch: Watch) -> None:
    assert (watch.limited, watch.left(), watch.passed()) == (False, math.inf, False)
    assert watch.part(0.4) == watch
    assert [part.left() for part in watch.parts(3)] == [math.inf] * 3


def test_a_part_ends_no_later_than_the_whole(clock: Clock) -> None:
    watch = Watch.of(10.0)
    assert [part.left() for part in (watch.part(0.4), watch.within(20.0), watch.within(3.0), watch.within(None))] == [4, 10, 3, 10]
    assert UNWATCHED.within(3.0).left() == 3


def test_what_a_part_leaves_goes_to_the_others(clock: Clock) -> None:
    shares = []
    for part, takes in zip(Watch.of(12.0).parts(3), (1.0, 5.5, 20.0), strict=True):
        shares.append(part.left())
        clock.now += takes
    assert shares == [4.0, 5.5, 5.5]
    assert next(Watch(clock.now - 1).parts(2)).passed()


def test_progress_is_that_of_all_parts_and_each_may_be_stopped() -> None:
    seen: list[tuple[int, int]] = []

    def follow(progress: Progress) -> bool:
        seen.append((progress.iteration, progress.iterations))
        return progress.iteration != 17

    first, second, _ = Watch(follow=follow, warm_start=(neighbour := Neighbour())).parts(3)
    assert first.warm_start is second.warm_start is neighbour
    assert not first.stops(step(4))
    assert second.stops(step(7))
    assert seen == [(4, 30), (17, 30)]


def test_nobody_asks_to_stop_who_does_not_follow() -> None:
    assert (UNWATCHED.followed, UNWATCHED.stops(step(1))) == (False, False)
    assert not Watch(follow=lambda _: None).stops(step(1))


def test_what_nobody_waits_for_is_given_up_where_the_time_is_looked_at() -> None:
    wanted = [True]
    watch = Watch.of(10.0, lambda _: None)
    watch = replace(watch, given_up=lambda: not wanted[0])
    parts = [watch, watch.part(0.5), watch.within(3.0), *watch.parts(2), watch.unhurried()]
    assert not any(part.passed() or part.stops(step(1)) for part in parts)
    assert (parts[-1].limited, parts[-1].followed) == (False, False)
    wanted[0] = False
    for part in parts:
        for look in (part.left, part.passed, part.heed):
            with pytest.raises(HostGoneError):
                look()
        with pytest.raises(HostGoneError):
            part.stops(step(1))
