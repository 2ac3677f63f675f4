"""Volumes with a smaller field of view."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from untrained_recon.bench.quality.floor import expected_floor
from untrained_recon.encoding import Encoding
from untrained_recon.files.open import open_volume
from untrained_recon.physics.operators import fft2, rss_image
from untrained_recon.study.folding import Folded
from untrained_recon.study.resolution import LowResolution


def volume_of(imgs: np.ndarray, folder: Path) -> Path:
    np.save(folder / "scan.npy", fft2(torch.from_numpy(imgs.astype(np.complex64))).numpy()[None])
    return folder / "scan.npy"


@pytest.fixture
def imgs() -> np.ndarray:
    """Two coils, 40×16."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 40, 16)) + 1j * rng.normal(size=(2, 40, 16))


def test_what_lies_outside_comes_in_on_the_other_side(imgs: np.ndarray, tmp_path: Path) -> None:
    expected = imgs[:, 5:35].copy()
    expected[:, -5:] += imgs[:, :5]
    expected[:, :5] += imgs[:, 35:]
    with open_volume(volume_of(imgs, tmp_path)) as full:
        folded = Folded(full, 0.75)
        assert (len(folded), folded.name, folded.shape) == (1, "scan-folded0.75", (2, 30, 16))
        truth = rss_image(folded[0], folded.encoding)
    np.testing.assert_allclose(truth, np.sqrt(0.75) * np.linalg.norm(expected, axis=0), rtol=1e-4)


def test_an_object_that_fits_keeps_its_pixels_and_the_centre_its_place(tmp_path: Path) -> None:
    imgs = np.zeros((1, 41, 16))
    imgs[:, 14:28, 3:9] = np.random.default_rng(0).uniform(1, 2, (14, 6))
    with open_volume(volume_of(imgs, tmp_path)) as full:
        folded = Folded(full, 0.6)
        truth, whole = rss_image(folded[0], folded.encoding), rss_image(full[0], full.encoding)
    assert truth.shape == (25, 16)
    np.testing.assert_allclose(truth, np.sqrt(25 / 41) * whole[20 - 12 : 20 + 13], atol=1e-5)


def test_it_is_the_spectrum_at_more_distant_lines(imgs: np.ndarray, tmp_path: Path) -> None:
    with open_volume(volume_of(imgs, tmp_path)) as full:
        half = Folded(full, 0.5)[0]
        np.testing.assert_allclose(half, full[0][:, ::2], atol=1e-4)


def test_lines_are_those_nearest_to_the_acquired_ones(imgs: np.ndarray, tmp_path: Path) -> None:
    with open_volume(volume_of(imgs, tmp_path)) as full:
        full.lines = lambda item: np.arange(40) >= 10  # type: ignore[method-assign]
        found = Folded(full, 0.75).lines(0)
    np.testing.assert_array_equal(found, np.arange(30) >= 8)  # 7 of 30 lies at 9.33 of 40


def test_images_that_were_cut_to_less_than_the_folded_field_of_view_stay_as_they_are(imgs: np.ndarray, tmp_path: Path) -> None:
    with open_volume(volume_of(imgs, tmp_path)) as full:
        full.encoding = Encoding.of((40, 16), (20, 16))
        assert Folded(full, 0.75).encoding.recon_shape == (20, 16)
        assert Folded(full, 0.4).encoding.recon_shape == (16, 16)
        full.encoding = replace(full.encoding, recon_shape=(40, 16))  # interpolated
        folded = Folded(full, 0.4)
        assert rss_image(folded[0], folded.encoding).shape == folded.recon_shape == (32, 16)


def test_it_goes_with_a_lower_resolution(imgs: np.ndarray, tmp_path: Path) -> None:
    with open_volume(volume_of(imgs, tmp_path)) as full:
        folded = Folded(LowResolution(full, 24), 0.75)
        assert (folded.name, folded[0].shape) == ("scan-folded0.75", (2, 18, 16))


def test_noise_keeps_its_standard_deviation_and_the_floor_its_energy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1, 4, 160, 96)) + 1j * rng.normal(size=(1, 4, 160, 96))
    np.save(tmp_path / "noise.npy", noise.astype(np.complex64))
    with open_volume(tmp_path / "noise.npy") as full:
        folded = Folded(full, 0.7)
        ksp = folded[0]
        energy = float(np.mean(rss_image(ksp, folded.encoding) ** 2))
        expected = expected_floor(folded, 0, np.zeros(ksp.shape[1], bool))
    assert ksp.real.std() == pytest.approx(1, rel=0.02)
    assert expected == 2 * 4
    assert energy == pytest.approx(expected, rel=0.03)
