"""Quality against time: what the points are, and that looking costs no time of the reconstruction's."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch

from untrained_recon.config import Config, load_config
from untrained_recon.errors import ConfigError
from untrained_recon.files.open import open_volume
from untrained_recon.files.sampling import sample
from untrained_recon.masks import Sampling
from untrained_recon.metrics import Region, quality
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import fft2, rss_image
from untrained_recon.recon.plane import reconstruct
from untrained_recon.study import trace
from untrained_recon.study.trace import Point, load_trace, save_trace, seconds_to, traced
from untrained_recon.types import FloatArray, KSpace

CPU = torch.device("cpu")


@pytest.fixture
def scan(tmp_path: Path) -> tuple[KSpace, FloatArray]:
    np.save(
        tmp_path / "head.npy", fft2(torch.from_numpy(coil_maps((64, 48), 4) * head((64, 48), 0.0, 0))).numpy().astype(np.complex64)
    )
    with open_volume(tmp_path / "head.npy") as volume:
        data = sample(volume[0], Sampling("random", 3, 14).lines(64, "head"), volume, 0)
        return data, rss_image(volume[0], volume.encoding)


def config(**settings: str) -> Config:
    """Nothing is held out: all iterations run."""
    return load_config("fast", {"network.channels": "8", "fit.iterations": "12", "recon.held_out": "0"} | settings)


@pytest.mark.needs("torchmetrics")
def test_the_trace_ends_with_the_image_that_comes_without_it(
    scan: tuple[KSpace, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "INTERVAL_S", 0)
    monkeypatch.setattr(trace, "COST", math.inf)
    data, reference = scan
    settings = config(**{"refine.iterations": "2"})
    recon, points = traced(data, settings, CPU, reference)
    np.testing.assert_array_equal(recon.magnitude, reconstruct(data, settings, CPU).magnitude)
    whole, inner = (quality(recon.magnitude, reference, region=region).psnr for region in get_args(Region))
    assert points[-1] == pytest.approx((recon.account.seconds, whole, inner))
    assert len(points) >= 12 + 1
    assert [point.seconds for point in points] == sorted(point.seconds for point in points)


@pytest.mark.parametrize("mode", ["maps", "coils"])
def test_a_point_is_the_quality_of_what_would_be_delivered(scan: tuple[KSpace, FloatArray], mode: str) -> None:
    only_one = {"fit.iterations": "1", "fit.keep": "lowest-loss", "refine.iterations": "0", "recon.mode": mode}
    _, (first, last) = traced(scan[0], config(**only_one), CPU, scan[1])
    assert first.psnr == pytest.approx(last.psnr, abs=1e-3)


def test_maps_that_are_known_and_several_sets_are_those_of_the_delivery(scan: tuple[KSpace, FloatArray]) -> None:
    data, reference = scan
    known = coil_maps((64, 48), 4).astype(np.complex64)
    known /= np.linalg.norm(known, axis=0)
    only_one = {"fit.iterations": "1", "fit.keep": "lowest-loss", "refine.iterations": "0"}
    for given, more in ((known[None], {}), (None, {"maps.sets": "2"})):
        recon, (first, last) = traced(replace(data, maps=given), config(**only_one, **more), CPU, reference)
        assert recon.account.map_sets == int(more.get("maps.sets", "1"))
        assert first.psnr == pytest.approx(last.psnr, abs=1e-3)


@pytest.mark.parametrize("mode", ["maps", "coils"])
def test_the_refinement_is_followed_to_its_end(scan: tuple[KSpace, FloatArray], mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "INTERVAL_S", 0)
    monkeypatch.setattr(trace, "COST", math.inf)
    _, points = traced(scan[0], config(**{"refine.iterations": "3", "recon.mode": mode}), CPU, scan[1])
    assert points[-2].psnr == pytest.approx(points[-1].psnr, abs=1e-3)


def test_the_clock_stands_still_while_images_are_scored(scan: tuple[KSpace, FloatArray], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def slow(*_: FloatArray, region: Region = "whole") -> float:
        nonlocal now
        now += 10.0
        return 20.0

    monkeypatch.setattr(trace, "psnr", slow)
    monkeypatch.setattr(trace, "INTERVAL_S", 0)
    monkeypatch.setattr(trace, "COST", math.inf)
    monkeypatch.setattr(trace, "time", SimpleNamespace(perf_counter=lambda: now))
    recon, points = traced(scan[0], config(**{"refine.iterations": "0"}), CPU, scan[1])
    assert (recon.account.seconds, len(points), {point.seconds for point in points}) == (0, 13, {0})


def test_scores_take_a_twentieth_of_the_time_at_most(scan: tuple[KSpace, FloatArray], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def slow(*_: FloatArray, region: Region = "whole") -> float:
        nonlocal now
        now += 0.5  # twice for a point
        return 20.0

    def clock() -> float:
        nonlocal now
        now += 0.5
        return now

    monkeypatch.setattr(trace, "psnr", slow)
    monkeypatch.setattr(trace, "time", SimpleNamespace(perf_counter=clock))
    _, points = traced(scan[0], config(**{"refine.iterations": "0", "fit.iterations": "200"}), CPU, scan[1])
    assert np.diff([point.seconds for point in points[:-1]]).min() >= 20
    assert len(points) > 3


@pytest.mark.parametrize("settings", [{"recon.runs": "2"}, {"recon.mode": "separate"}, {"recon.method": "tv"}])
def test_several_fits_have_no_trace(scan: tuple[KSpace, FloatArray], settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="one run"):
        traced(scan[0], config(**settings), CPU, scan[1])


def test_without_calibration_lines_coils_are_followed_as_they_are_fitted(
    scan: tuple[KSpace, FloatArray], caplog: pytest.LogCaptureFixture
) -> None:
    data, reference = scan
    lines = np.zeros_like(data.mask)
    lines[::4] = True
    sparse = KSpace(**(vars(data) | {"ksp": data.ksp * lines, "mask": lines, "calib": data.ksp * lines, "calib_mask": lines}))
    only_one = {"fit.iterations": "1", "fit.keep": "lowest-loss"}
    recon, (first, last) = traced(sparse, config(**only_one), CPU, reference)
    assert recon.account.method == "coils"
    assert first.psnr == pytest.approx(last.psnr, abs=1e-3)


def test_the_first_time_that_a_quality_was_reached_counts() -> None:
    points = [Point(1.0, 40.0, 20.0), Point(2.0, 40.0, 31.0), Point(3.0, 40.0, 29.0), Point(4.0, 40.0, 32.0)]
    assert [seconds_to(points, quality) for quality in (19.0, 30.0, 32.0, 33.0)] == [1.0, 2.0, 4.0, math.inf]


@pytest.mark.parametrize("points", [[Point(0.5, 20.25, 21.0)], [Point(0.5, 20.25, 21.0), Point(1.5, 30.0, 32.0)]])
def test_traces_are_kept_in_files(points: list[Point], tmp_path: Path) -> None:
    save_trace(tmp_path / "a.csv", points)
    assert load_trace(tmp_path / "a.csv") == points
    assert (tmp_path / "a.csv").read_text().startswith("seconds,psnr,foreground\n0.5,20.25,21\n")


def test_traces_of_an_earlier_version_tell_no_foreground(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("seconds,psnr\n0.5,20.25\n1,21\n")
    points = load_trace(tmp_path / "a.csv")
    assert [point[:2] for point in points] == [(0.5, 20.25), (1.0, 21.0)]
    assert seconds_to(points, 10.0) == math.inf
