"""The noise floor: pure noise, undersampled, plus the floor has the energy of the fully sampled noise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from untrained_recon.bench.quality.floor import expected_floor, with_floor
from untrained_recon.files.open import open_volume
from untrained_recon.files.sampling import sample
from untrained_recon.files.volume import Volume
from untrained_recon.masks import Sampling
from untrained_recon.physics.operators import rss_image
from untrained_recon.study.resolution import LowResolution
from untrained_recon.study.whiten import Prewhitened


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of 5 coils of another level."""
    path = tmp_path_factory.mktemp("noise") / "noise.npy"
    rng = np.random.default_rng(0)
    np.save(path, (7 * (rng.normal(size=(5, 192, 160)) + 1j * rng.normal(size=(5, 192, 160)))).astype(np.complex64))
    return path


def mean_squares(volume: Volume) -> tuple[float, float]:
    """Of the full RSS, and of the zero-filled one with its floor."""
    lines = Sampling("random", 4, 16).lines(volume.shape[1], volume.name)
    data = sample(volume[0], lines, volume, 0)
    zero = rss_image(data.ksp, data.encoding)
    full = rss_image(volume[0], volume.encoding)
    assert np.mean(zero**2) < 0.5 * np.mean(full**2)
    return float(np.mean(full**2)), float(np.mean(with_floor(zero, expected_floor(volume, 0, lines)) ** 2))


def test_noise_of_the_samples_and_the_floor_have_the_energy_of_all_noise(noise: Path) -> None:
    with open_volume(noise) as raw:
        full, filled = mean_squares(Prewhitened(raw))
    assert full == pytest.approx(2 * 5, rel=0.03)  # the covariance is estimated from the corners
    assert filled == pytest.approx(full, rel=0.03)


@pytest.mark.parametrize("recon_shape", [(192, 160), (256, 320), (160, 96)])
def test_the_floor_follows_the_pixels_of_the_delivered_matrix(noise: Path, recon_shape: tuple[int, int]) -> None:
    with open_volume(noise) as raw:
        volume = Prewhitened(raw)
        volume.encoding = replace(volume.encoding, recon_shape=recon_shape)
        full, filled = mean_squares(volume)
    assert filled == pytest.approx(full, rel=0.05)


def test_the_floor_follows_a_lower_resolution(noise: Path) -> None:
    with open_volume(noise) as raw:
        full, filled = mean_squares(LowResolution(Prewhitened(raw), 96))
    assert filled == pytest.approx(full, rel=0.05)


def test_lines_that_the_truth_lacks_are_no_floor(noise: Path) -> None:
    with open_volume(noise) as raw:
        everything = np.ones(192, bool)
        assert expected_floor(raw, 0, everything) == 0
        raw.lines = lambda item: np.arange(192) < 96  # type: ignore[method-assign]  # a partial Fourier scan
        assert expected_floor(raw, 0, ~everything) == 5


def test_the_floor_adds_energies() -> None:
    assert with_floor(np.array([[3.0]], np.float32), 16.0) == pytest.approx(5)
