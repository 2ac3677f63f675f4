"""Kinds of cases, what is kept aside, and what intervals are over."""

import numpy as np
import pandas
import pytest

from untrained_recon.bench.quality.groups import ALL, CHOSEN_ON, KEPT_ASIDE, cases, group_of, grouped, intervals
from untrained_recon.study.folding import folded_name
from untrained_recon.study.summary import bootstrapped

CHOSEN_FILE, KEPT_FILE = "brain8_pd", "brain4_t2"


def rows(*values: tuple[str, int, float]) -> pandas.DataFrame:
    """Volume, seed of the mask, score."""
    return pandas.DataFrame(
        {"volume": volume, "item": 0, "sampling": f"random-4x-seed{seed}", "method": "ours", "psnr": value}
        for volume, seed, value in values
    )


def test_the_group_is_that_of_the_name_folded_or_not() -> None:
    assert (group_of(CHOSEN_FILE), group_of(KEPT_FILE)) == (CHOSEN_ON, KEPT_ASIDE)
    for name in (CHOSEN_FILE, KEPT_FILE):
        assert group_of(folded_name(name, 0.75)) == group_of(name)


def test_about_half_of_all_names_is_kept_aside() -> None:
    assert np.mean([group_of(f"scan{n}") == KEPT_ASIDE for n in range(1000)]) == pytest.approx(0.5, abs=0.05)


def test_folded_images_are_another_kind() -> None:
    found = cases(rows(("a", 0, 1.0), ("a-folded0.75", 1, 1.0)))
    assert list(found) == ["random-4x", "random-4x, folded 0.75"]
    assert folded_name("a", 1) == "a"


def test_intervals_are_over_images_or_over_the_masks_of_the_only_one() -> None:
    two = intervals(rows(("a", 0, 1.0), ("a", 1, 3.0), ("b", 0, 4.0), ("b", 1, 4.0)), ["psnr"]).iloc[0]
    assert (two["mean"], two["images"]) == (3.0, 2)  # of 2 and 4
    assert np.isnan(two["low"])
    values = (1.0, 2.0, 4.0, 5.0, 3.0)
    masks = [(name, seed, value + seed - 1) for name, value in zip("abcde", values, strict=True) for seed in (0, 2)]
    several = intervals(rows(*masks), ["psnr"])
    single = intervals(rows(*(("a", seed, value) for seed, value in enumerate(values))), ["psnr"])
    low, high = bootstrapped(np.array(values))
    for found in (several, single):
        assert tuple(found.iloc[0][["mean", "low", "high", "images"]]) == (3.0, low, high, 5)


def test_each_group_has_its_own_mean() -> None:
    found = grouped(rows((CHOSEN_FILE, 0, 1.0), (KEPT_FILE, 0, 3.0)), ["psnr"]).set_index("group")["mean"]
    assert dict(found) == {ALL: 2.0, CHOSEN_ON: 1.0, KEPT_ASIDE: 3.0}
    assert list(grouped(rows((KEPT_FILE, 0, 3.0)), ["psnr"])["group"]) == [ALL, KEPT_ASIDE]
    assert grouped(rows().reindex(columns=["volume", "item", "sampling", "method", "psnr"]), ["psnr"]).empty
