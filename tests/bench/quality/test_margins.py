"""Seconds to the quality of others, and the count of what is reached."""

import math

import numpy as np
import pandas
import pytest

from untrained_recon.bench.quality.margins import VIEWS, mean_margin, targets
from untrained_recon.bench.quality.oracles import CHOSEN, SCORES
from untrained_recon.bench.quality.pace import catch_up, medians
from untrained_recon.study.trace import Point


def row(volume: str, sampling: str, method: str, psnr: float = 30.0, ssim: float = 0.9, seconds: float = 1.0) -> dict[str, object]:
    scores = {score: psnr if score.endswith("psnr") else ssim for score in SCORES}
    lamda = np.nan if method in ("ours", "paper") else 0.1
    return {"volume": volume, "item": 0, "sampling": sampling, "method": method, "lamda": lamda, "seconds": seconds} | scores


def test_every_traced_method_is_timed_against_every_other_on_the_same_mask() -> None:
    images = pandas.DataFrame(
        [
            row("a", "s-seed0", "tv", 30.0, seconds=4.0),
            row("a", "s-seed0", "paper", 31.0, seconds=100.0),
            row("a", "s-seed0", "ours", 33.0, seconds=20.0),
            row("b", "s-seed0", "tv", 35.0, seconds=6.0),
        ]
    )
    ours = [Point(1.0, 40.0, 29.0), Point(2.0, 40.0, 30.5), Point(3.0, 40.0, 32.0)]  # by the foreground
    paper = [Point(50.0, 20.0, 31.5), Point(100.0, 20.0, 31.0)]
    found = catch_up(images, {("a", 0, "s-seed0", "ours"): ours, ("a", 0, "s-seed0", "paper"): paper})
    assert {(r["method"], r["peer"]): (r["seconds"], r["peer_seconds"], r["psnr"]) for r in found.to_dict("records")} == {
        ("ours", "tv"): (2.0, 4.0, 30.0),
        ("ours", "paper"): (3.0, 100.0, 31.0),
        ("ours", "paper, best iterate"): (3.0, 50.0, 31.5),
        ("paper", "tv"): (50.0, 4.0, 30.0),
        ("paper", "ours"): (math.inf, 20.0, 33.0),
        ("paper", "ours, best iterate"): (math.inf, 3.0, 32.0),
    }


def test_medians_are_over_images_and_seeds_and_never_where_half_of_them_never_got_there() -> None:
    times = pandas.DataFrame(
        {"volume": str(n), "item": 0, "sampling": f"s-seed{n % 2}", "method": "ours", "peer": peer, "psnr": 30.0, "peer_seconds": n}
        | {"seconds": value}
        for peer, values in (("tv", (1.0, 5.0, 2.0)), ("best", (1.0, math.inf, math.inf)))
        for n, value in enumerate(values)
    )
    found = medians(times).set_index("peer")
    assert set(found["sampling"]) == {"s"}
    assert dict(found["seconds"]) == {"tv": 2.0, "best": math.inf}
    assert dict(found["reached"]) == {"tv": 3, "best": 1}
    assert set(found["images"]) == {3}
    assert set(found["peer_seconds"]) == {1.0}


def test_without_traces_there_is_nothing_to_time() -> None:
    assert medians(catch_up(pandas.DataFrame([row("a", "s-seed0", "tv")]), {})).empty


def test_the_margin_depends_on_the_acceleration_and_a_failed_image_is_missed() -> None:
    images = pandas.DataFrame(
        [
            row("a", "random-4x-acs0.08-seed0", "tv", 30.0, 0.90),
            row("a", "random-4x-acs0.08-seed0", "cg-sense", 29.0, 0.95),
            row("a", "random-4x-acs0.08-seed0", "ours", 31.0, 0.95),
            row("b", "random-4x-acs0.08-seed0", "tv", 30.0, 0.90),
            row("b", "random-4x-acs0.08-seed0", "ours", 30.9, 0.89),
            row("c", "random-4x-acs0.08-seed0", "tv", 30.0, 0.90),
            row("a", "equispaced-8x-acs0.08-seed0", "tv", 30.0, 0.90),
            row("a", "equispaced-8x-acs0.08-seed0", "ours", 30.1, 0.91),
        ]
    )
    found = targets(images, "ours").set_index(["acceleration", "view"])
    assert list(found.index) == [(acceleration, view) for acceleration in (4, 8) for view in VIEWS]
    four = found.loc[(4, "whole")]
    assert tuple(four[["margin", "images", "psnr_met", "ssim_met", "both_met"]]) == (1.0, 3, 1, 1, 1)
    assert (four["worst_psnr"], four["worst_psnr_at"]) == (pytest.approx(0.9), "b, 0, random-4x-acs0.08-seed0")
    assert (four["worst_ssim"], four["worst_ssim_at"]) == (pytest.approx(-0.01), "b, 0, random-4x-acs0.08-seed0")
    assert tuple(found.loc[(8, "foreground"), ["margin", "images", "both_met"]]) == (0.0, 1, 1)


def test_the_floor_has_its_own_count() -> None:
    lower = {score: 20.0 for score in SCORES if score.startswith("noise floor") and score.endswith("psnr")}
    images = pandas.DataFrame([row("a", "random-4x-seed0", "tv"), row("a", "random-4x-seed0", "ours", 35.0) | lower])
    assert dict(targets(images, "ours").set_index("view")["psnr_met"]) == {
        "whole": 1,
        "foreground": 1,
        "whole, with noise floor": 0,
    }
    assert images[CHOSEN].iloc[1] == 35.0


def test_the_mean_has_margins_of_its_own() -> None:
    assert [mean_margin(*kind) for kind in (("random", 4), ("equispaced", 4), ("random", 8), ("equispaced", 8))] == [3, 1.7, 2, 2]
