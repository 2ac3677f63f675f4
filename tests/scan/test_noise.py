import numpy as np
import pytest

from untrained_recon.errors import NoiseError
from untrained_recon.phantom.head import coil_covariance, draw_noise
from untrained_recon.scan.noise import NoiseScan, covariance, prewhiten


def test_prewhitening_turns_correlated_noise_into_unit_covariance() -> None:
    rng = np.random.default_rng(0)
    cov = coil_covariance(6, 0.3)
    white = prewhiten(draw_noise(cov, (200_000,), rng), covariance(draw_noise(cov, (200_000,), rng)))
    np.testing.assert_allclose(covariance(white), np.eye(6), atol=0.02)


def test_scale_follows_bandwidth_and_dwell_to_unit_noise_in_both_parts() -> None:
    rng = np.random.default_rng(1)
    cov = coil_covariance(4, 2.0)
    scan = NoiseScan(bandwidth=0.79)
    # the noise scan is read out four times faster, which quadruples its power, through a filter that keeps 0.79 of it
    scan.add(draw_noise(cov * 4 * 0.79, (100_000,), rng), dwell_us=2.0)
    white = scan.prewhiten(draw_noise(cov, (100, 1000), rng), dwell_us=8.0)
    assert white.dtype == np.complex64
    assert white.real.std() == pytest.approx(1, abs=0.01)
    assert white.imag.std() == pytest.approx(1, abs=0.01)


def test_several_noise_readouts_count_together() -> None:
    rng = np.random.default_rng(2)
    scan = NoiseScan(bandwidth=1.0)
    assert not scan
    for _ in range(3):
        scan.add(draw_noise(coil_covariance(3, 1.0), (4,), rng), dwell_us=0.0)
    assert scan
    assert np.isfinite(scan.prewhiten(np.ones((3, 2, 2), np.complex64), dwell_us=5.0)).all()


def test_a_dead_coil_comes_out_as_zeros_and_leaves_the_others_alone() -> None:
    rng = np.random.default_rng(3)
    noise = draw_noise(coil_covariance(3, 1.0), (1000,), rng)
    dead = np.insert(noise, 1, 0, axis=0)
    ksp = np.ones((4, 5), np.complex64)
    white = prewhiten(ksp, covariance(dead))
    assert not white[1].any()
    np.testing.assert_array_equal(white[[0, 2, 3]], prewhiten(ksp[[0, 2, 3]], covariance(noise)))


def test_errors_say_what_is_wrong_with_the_noise_scan() -> None:
    with pytest.raises(NoiseError, match="4 samples for 4 channels"):
        covariance(np.ones((4, 4), np.complex64))
    with pytest.raises(NoiseError, match="not positive definite"):
        prewhiten(np.ones((2, 3), np.complex64), np.ones((2, 2), np.complex128))
    with pytest.raises(NoiseError, match="nothing but zeros"):
        prewhiten(np.ones((2, 3), np.complex64), np.zeros((2, 2), np.complex128))
    scan = NoiseScan(bandwidth=1.0)
    scan.add(np.ones((2, 100), np.complex64), 1.0)
    with pytest.raises(NoiseError, match="NaN or Inf"):
        scan.add(np.full((2, 100), np.nan, np.complex64), 1.0)
    with pytest.raises(NoiseError, match="changes from 2 to 3 channels"):
        scan.add(np.ones((3, 100), np.complex64), 1.0)
    with pytest.raises(NoiseError, match="noise scan has 2 channels, the imaging readouts have 3"):
        scan.prewhiten(np.ones((3, 4), np.complex64), 1.0)
