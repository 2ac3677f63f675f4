"""How a scan's time is shared by its images."""

import math

import pytest

from untrained_recon.shares import Shares


def test_announced_images_share_evenly() -> None:
    shares = Shares(10.0, 2)
    assert [shares.next(), shares.next()] == [5.0, 5.0]
    shares = Shares(1000.0, 200)
    assert [shares.next() for _ in range(200)] == pytest.approx([5.0] * 200)


def test_images_beyond_those_announced_keep_the_budget() -> None:
    shares = Shares(10.0, 1)
    assert [shares.next(), shares.next()] == [10.0, 0.0]


def test_overstated_limits_starve_nobody() -> None:
    shares = Shares(60.0, 1_000_000)
    given = []
    for _ in range(40):
        given.append(shares.next())
        shares.done(given[-1], used=1.0)
    assert given[0] == 60 / 16
    assert min(given) > 1.0


def test_all_shares_keep_the_budget_even_so() -> None:
    shares = Shares(60.0, 1_000_000)
    assert sum(shares.next() for _ in range(10_000)) == pytest.approx(60.0)


def test_no_budget_is_no_limit() -> None:
    assert Shares(math.inf, 3).next() == math.inf
