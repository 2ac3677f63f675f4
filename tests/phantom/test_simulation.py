import dataclasses
from pathlib import Path

import ismrmrd
import numpy as np
import pytest

from tests.conftest import SMALL
from tests.doubles.helpers import read_raw
from untrained_recon.config import ScanConfig
from untrained_recon.errors import ConfigError
from untrained_recon.masks import acs_lines, grid_lines
from untrained_recon.metrics import nrmse
from untrained_recon.phantom.head import coil_covariance, coil_maps, draw_noise, head
from untrained_recon.phantom.simulation import simulate
from untrained_recon.physics.operators import rss_image
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header


def test_a_fully_sampled_simulation_gives_back_its_truth(tmp_path: Path) -> None:
    path = tmp_path / "full.h5"
    simulate(path, dataclasses.replace(SMALL, accel=1, noise=1e-4, shape=(63, 47)))
    xml, acquisitions = read_raw(path)
    truth, truth_white = (np.load(path.with_suffix(f".{name}.npy")) for name in ("truth", "truth_white"))
    assert truth.shape == truth_white.shape == (2, 63, 47)
    assert truth.dtype == np.float32
    assert 0.5 < truth.max() < 2
    for data in assemble([acquisitions], parse_header(xml), ScanConfig()):
        assert data.mask.all()
        assert nrmse(rss_image(data.ksp, data.encoding), truth_white[data.index.slice]) < 2e-3
    for data in assemble([[a for a in acquisitions if not a.is_flag_set(19)]], parse_header(xml), ScanConfig()):
        assert np.abs(rss_image(data.ksp, data.encoding) - truth[data.index.slice]).max() < 3e-3


def test_flags_and_counters_are_a_scanners(small_scan: Path) -> None:
    _, acquisitions = read_raw(small_scan)
    codes = np.load(small_scan.with_suffix(".mask.npy"))
    assert acquisitions[0].is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    imaging = acquisitions[1:]
    lines = np.flatnonzero(codes)
    assert [(a.idx.slice, a.idx.kspace_encode_step_1) for a in imaging] == [(s, y) for s in (0, 1) for y in lines]
    for flag, code in ((ismrmrd.ACQ_IS_PARALLEL_CALIBRATION, 2), (ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING, 3)):
        assert {a.idx.kspace_encode_step_1 for a in imaging if a.is_flag_set(flag)} == set(np.flatnonzero(codes == code))
    assert [a.is_flag_set(ismrmrd.ACQ_LAST_IN_SLICE) for a in imaging].count(True) == 2
    assert imaging[-1].is_flag_set(ismrmrd.ACQ_LAST_IN_REPETITION)
    assert imaging[-1].is_flag_set(ismrmrd.ACQ_LAST_IN_MEASUREMENT)


def test_the_same_seed_writes_the_same_samples(tmp_path: Path) -> None:
    first, again, other = (tmp_path / f"{n}.h5" for n in range(3))
    simulate(first, SMALL)
    simulate(again, SMALL)
    simulate(other, dataclasses.replace(SMALL, seed=2))
    data = [np.concatenate([a.data.ravel() for a in read_raw(p)[1]]) for p in (first, again, other)]
    np.testing.assert_array_equal(data[0], data[1])
    assert data[0].shape != data[2].shape or np.abs(data[0] - data[2]).max() > 0


def test_without_noise_there_is_no_noise_scan(tmp_path: Path) -> None:
    simulate(tmp_path / "clean.h5", dataclasses.replace(SMALL, noise=0.0))
    assert not read_raw(tmp_path / "clean.h5")[1][0].is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    assert not (tmp_path / "clean.truth_white.npy").exists()


def test_masks_have_the_acceleration_that_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    share = np.mean([(grid_lines(256, "random", 4, 24, rng) | acs_lines(256, 24)).mean() for _ in range(200)])
    assert share == pytest.approx(1 / 4, abs=0.01)
    lines = np.flatnonzero(grid_lines(64, "equispaced", 5, 8, rng))
    assert set(np.diff(lines)) == {5}
    assert list(np.flatnonzero(acs_lines(64, 8))) == list(range(28, 36))
    assert grid_lines(64, "random", 1, 8, rng).all()
    with pytest.raises(ConfigError, match="24 ACS lines are 64/4 lines or more"):
        grid_lines(64, "random", 4, 24, rng)
    with pytest.raises(ConfigError, match="do not fit"):
        grid_lines(16, "random", 4, 24, rng)


def test_the_phantom_is_the_same_head_on_every_grid() -> None:
    coarse, fine = head((64, 64), 0.0, 3), head((128, 128), 0.0, 3)
    assert np.corrcoef(np.abs(coarse).ravel(), np.abs(fine[::2, ::2]).ravel())[0, 1] > 0.97
    assert np.abs(fine).max() < 1.5
    assert not np.array_equal(head((64, 64), 0.5, 3), coarse)


def test_coil_maps_are_smooth_and_noise_has_the_covariance_asked_for() -> None:
    mps = coil_maps((64, 64), 8)
    assert np.sqrt((np.abs(mps) ** 2).sum(axis=0).mean()) == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(mps, axis=1)).max() < 0.1
    cov = coil_covariance(8, 0.5)
    assert np.mean(np.diag(cov).real) == pytest.approx(2 * 0.5**2)
    noise = draw_noise(cov, (100_000,), np.random.default_rng(0))
    np.testing.assert_allclose(noise @ noise.conj().T / 100_000, cov, atol=0.02)
