import numpy as np
import pytest

from untrained_recon.metrics import match_scale, nrmse, quality


def test_scale_does_not_matter_and_errors_have_their_closed_form() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 2, (32, 32)).astype(np.float32)
    assert nrmse(7 * truth, truth) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(match_scale(0.1 * truth, truth), truth, rtol=1e-5)
    error = rng.standard_normal((32, 32)).astype(np.float32)
    error -= (error * truth).sum() / (truth * truth).sum() * truth  # orthogonal to the truth: the best scale is truth's share
    t, e = float(np.linalg.norm(truth)), float(np.linalg.norm(error))
    assert nrmse(truth + error, truth) == pytest.approx(e / np.hypot(t, e), rel=1e-4)
    assert not match_scale(np.zeros_like(truth), truth).any()


def test_quality_of_the_truth_is_perfect_and_psnr_uses_its_maximum() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0, 2, (32, 32)).astype(np.float32)
    assert quality(truth, truth).ssim == pytest.approx(1)
    noisy = (truth + 0.1 * rng.standard_normal(truth.shape)).astype(np.float32)
    found = quality(noisy, truth)
    rmse = found.nrmse * np.linalg.norm(truth) / 32
    assert found.psnr == pytest.approx(20 * np.log10(truth.max() / rmse), abs=0.01)
