"""What is shared out comes back once each, whoever else is at work."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from untrained_recon.errors import WorkerError
from untrained_recon.workers.claims import Claims
from untrained_recon.workers.share import Engine, Submit, one_by_one, share_out


@contextmanager
def threads() -> Iterator[Submit]:
    with ThreadPoolExecutor(2) as pool:
        yield lambda do, item: pool.submit(do, item, "cpu")


@contextmanager
def failing() -> Iterator[Submit]:
    """Workers that die of everything."""

    def submit(do: Any, item: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_exception(RuntimeError("killed thrice"))
        return future

    yield submit


def square(claims: Claims, number: int, device: str = "") -> int | None:
    if (claim := claims.attempt(str(number))) is None:
        return None
    with claim:
        if number > 4:
            raise ValueError(f"{number} is too much")
        return number * number


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims(tmp_path / "claims")


def test_each_comes_back_once_and_what_fails_as_its_error(claims: Claims) -> None:
    found = dict(share_out(threads, partial(square, claims), range(1, 6), lambda n: claims.is_free(str(n))))
    assert {n: value for n, value in found.items() if n < 5} == {1: 1, 2: 4, 3: 9, 4: 16}
    assert str(found[5]) == "5 is too much"


@pytest.mark.parametrize("engine", [threads, None])
def test_what_others_have_comes_last(claims: Claims, engine: Engine | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.workers.share.POLL_S", 0.02)
    claim = claims.attempt("1")
    assert claim is not None
    assert claims.attempt("1") is None
    do, is_free = partial(square, claims), lambda n: claims.is_free(str(n))
    found = []
    for n, _ in one_by_one(do, [1, 2, 3], is_free) if engine is None else share_out(engine, do, [1, 2, 3], is_free):
        found.append(n)
        if len(found) == 2:
            threading.Timer(0.2, claim.close).start()
    assert sorted(found[:2]) == [2, 3]
    assert found[2:] == [1]


def test_workers_that_are_gone_end_it(claims: Claims) -> None:
    @contextmanager
    def gone() -> Iterator[Submit]:
        def submit(do: Any, item: Any) -> "Future[Any]":
            future: Future[Any] = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

        yield submit

    with pytest.raises(WorkerError, match="run it again"):
        list(share_out(gone, partial(square, claims), [1], lambda _: True))
