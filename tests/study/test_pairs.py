from pathlib import Path

import numpy as np
import pytest
import torch

from untrained_recon.masks import Sampling
from untrained_recon.physics.operators import ifft2
from untrained_recon.study.pairs import SlicePairs
from untrained_recon.types import ComplexArray, FloatArray

HALF = Sampling("random", 2, 8)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / "one.npy", tmp_path / "longer.npy"]
    for path in paths:
        ksp = rng.normal(size=(2, 3, 32, 20)) + 1j * rng.normal(size=(2, 3, 32, 20))
        np.save(path, ksp.astype(np.complex64))
    return paths


def magnitude(ksp: ComplexArray) -> FloatArray:
    return np.sqrt((ifft2(torch.from_numpy(ksp)).abs().numpy() ** 2).sum(axis=0))


def test_every_slice_of_every_file_comes_with_its_undersampled_image(files: list[Path]) -> None:
    pairs = SlicePairs(files, HALF)
    assert len(pairs) == 4
    for number in range(4):
        path, item = files[number // 2], number % 2
        ksp = np.load(path)[item]
        lines = HALF.lines(32, path.stem)
        undersampled, full = pairs[number]
        assert undersampled.dtype == full.dtype == np.float32
        np.testing.assert_allclose(full, magnitude(ksp), rtol=1e-4)
        np.testing.assert_allclose(undersampled, magnitude(ksp * lines[:, None]), rtol=1e-4)


def test_pairs_may_be_of_lower_resolution(files: list[Path]) -> None:
    undersampled, full = SlicePairs(files, Sampling("random", 2, 4), resolution=16)[0]
    assert undersampled.shape == full.shape == (16, 16)
    np.testing.assert_allclose(full, magnitude(np.load(files[0])[0][:, 8:24, 2:18]), rtol=1e-4)


def test_no_more_slices_than_there_are(files: list[Path]) -> None:
    with pytest.raises(IndexError):
        SlicePairs(files, HALF)[4]
