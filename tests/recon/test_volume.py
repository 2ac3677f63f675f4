import math

import numpy as np
import pytest
import torch

from tests.doubles.scans import Protocol, body, expected, header_of, measure, noisy, readouts, sampled_lines
from untrained_recon.config import ScanConfig, load_config
from untrained_recon.metrics import nrmse
from untrained_recon.recon.fit.watch import Progress, Watch
from untrained_recon.recon.volume import reconstruct_image, split
from untrained_recon.sampled import plane_axis
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.types import BoolArray, ComplexArray, KSpace

CPU = torch.device("cpu")
VOLUME = Protocol(matrix=(16, 32, 48), recon=(16, 32, 24), fov=(80.0, 240.0, 480.0), recon_fov=(80.0, 240.0, 240.0))
CONFIG = load_config(
    "fast", {"device": "cpu", "fit.iterations": "2", "network.channels": "4", "refine.iterations": "2", "maps.crop": "0.5"}
)


def block(half_z: int, half_y: int) -> BoolArray:
    z, y = np.ogrid[:16, :32]
    inside: BoolArray = (np.abs(z - 8) < half_z) & (np.abs(y - 16) < half_y)
    return inside


GRID = np.zeros((16, 32), bool)
GRID[::2, ::2] = True


@pytest.fixture(scope="module")
def ksp() -> ComplexArray:
    return measure(body(6, slices=16, fov=(80.0, 240.0, 240.0)), VOLUME)


def volume_of(ksp: ComplexArray, lines: BoolArray, discard: int = 0) -> KSpace:
    acquisitions = readouts(noisy(ksp, 1e-4, 0), VOLUME, lines)
    for acq in acquisitions:
        acq.discard_pre = discard
    (data,) = assemble([acquisitions], parse_header(header_of(VOLUME)), ScanConfig())
    return data


@pytest.mark.parametrize(
    ("lines", "discard", "axis"),
    [
        (sampled_lines(VOLUME, 2, 12), 0, 0),
        (GRID | block(6, 8), 0, 2),
        (np.repeat(GRID.any(axis=1, keepdims=True), 32, axis=1), 0, 2),  # kz alone
        (np.repeat(GRID.any(axis=1, keepdims=True), 32, axis=1), 12, 1),  # the same with an asymmetric echo
        (GRID | block(6, 8), 12, 2),  # no axis is complete
    ],
)
def test_volumes_are_taken_apart_along_a_complete_axis(lines: BoolArray, discard: int, axis: int, ksp: ComplexArray) -> None:
    data = volume_of(ksp, lines, discard)
    assert plane_axis(data.mask) == axis
    planes = split(data, axis)
    shape = [n for d, n in enumerate((16, 32, 24)) if d != axis]
    assert len(planes) == (16, 32, 24)[axis]
    assert all(p.mask.shape == p.encoding.image_shape == p.encoding.recon_shape == tuple(shape) for p in planes)
    np.testing.assert_array_equal(planes[0].mask, data.mask.any(axis=axis))


@pytest.mark.parametrize("lines", [sampled_lines(VOLUME, 2, 12), GRID | block(6, 8)], ids=["partitions", "readout planes"])
def test_undersampled_volumes_come_out_whole_and_upright(lines: BoolArray, ksp: ComplexArray) -> None:
    """By the conventional fallback, which needs no fit."""
    recon = reconstruct_image(volume_of(ksp, lines), CONFIG, CPU, Watch.of(0.0))
    truth = expected(ksp, VOLUME)
    planes = 16 if lines[1, 0] else 24
    assert recon.account.fallback_reason == f"{planes} of {planes} planes: FitError: the time budget of the scan is spent"
    assert recon.magnitude.shape == recon.complex_img.shape == (16, 32, 24)
    error = nrmse(recon.magnitude, truth)
    assert error < 0.25
    for flipped in (recon.magnitude[::-1], recon.magnitude[:, ::-1], recon.magnitude[..., ::-1]):
        assert nrmse(flipped, truth) > 1.5 * error


def test_planes_are_fitted_and_followed_as_one(ksp: ComplexArray) -> None:
    seen: list[Progress] = []
    recon = reconstruct_image(volume_of(ksp, sampled_lines(VOLUME, 2, 12)), CONFIG, CPU, Watch(follow=seen.append))
    assert (recon.account.method, recon.account.fallback_reason, recon.account.iterations) == ("maps", "", 32)
    for stage in ("fit", "refine"):
        assert [p.iteration for p in seen if p.stage == stage] == list(range(1, 33))
    assert {p.iterations for p in seen} == {32}
    assert math.isfinite(recon.account.loss)


def test_a_plane_may_start_from_the_network_of_the_one_before_and_no_other_image(ksp: ComplexArray) -> None:
    data = volume_of(ksp, sampled_lines(VOLUME, 2, 12))
    following = CONFIG.model_copy(update={"fit": CONFIG.fit.model_copy(update={"iterations": 9, "following_iterations": 1})})
    first, again = (reconstruct_image(data, following, CPU) for _ in range(2))
    assert first.account.iterations == 9 + 15
    np.testing.assert_array_equal(first.complex_img, again.complex_img)  # the second scan starts anew


def test_weights_of_a_plane_follow_the_mean_variance(ksp: ComplexArray) -> None:
    twice = readouts(ksp, VOLUME, np.ones((16, 32), bool), marks=False) + readouts(ksp, VOLUME, block(4, 4), average=1, marks=False)
    (data,) = assemble([twice], parse_header(header_of(VOLUME)), ScanConfig())
    assert data.weights is not None
    (first, *_) = split(data, 0)
    assert first.weights is not None
    centre, edge = first.weights[16, 0], first.weights[0, 0]
    assert centre / edge == pytest.approx(math.sqrt(16 / (9 * 1 + 7 / 2)))
