from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from untrained_recon.study.pairs import SlicePairs
from untrained_recon.types import BoolArray, ComplexArray, Encoding, FloatArray, ImageIndex


class Memory:
    """A volume of random coil images whose readout is twice oversampled; what it stands for is in ``full``."""

    def __init__(self, path: Path) -> None:
        rng = np.random.default_rng(len(path.name))
        self.path = path
        self.imgs = (rng.normal(size=(2, 3, 12, 20)) + 1j * rng.normal(size=(2, 3, 12, 20))).astype(np.complex64)
        self.encoding = Encoding((12, 20), (12, 10), (1, 12, 20), (1, 12, 10), 6, ImageIndex(1, 1, 1, 1, 1, 1, 1), False, 1.0)

    @property
    def name(self) -> str:
        return self.path.stem

    def __len__(self) -> int:
        return 2

    def __getitem__(self, item: int) -> ComplexArray:
        return transform(np.fft.fftn, self.imgs[item])

    def full(self, item: int) -> FloatArray:
        return np.sqrt((np.abs(self.imgs[item]) ** 2).sum(axis=0))[:, 5:15]


def transform(fft: Callable[..., npt.NDArray[np.complex128]], x: ComplexArray) -> ComplexArray:
    out = np.fft.fftshift(fft(np.fft.ifftshift(x, axes=(1, 2)), axes=(1, 2), norm="ortho"), axes=(1, 2))
    return out.astype(np.complex64)


opened: list[str] = []


@contextmanager
def open_memory(path: Path) -> Iterator[Memory]:
    opened.append(path.name)
    yield Memory(path)
    opened.remove(path.name)


def all_lines(n_y: int, name: str) -> BoolArray:
    return np.ones(n_y, bool)


def upper_half_of_one(n_y: int, name: str) -> BoolArray:
    return np.arange(n_y) < n_y // 2 if name == "one" else np.ones(n_y, bool)


def test_every_slice_of_every_file_has_its_cropped_magnitude() -> None:
    paths = [Path("one.h5"), Path("longer.h5")]
    pairs = SlicePairs(paths, open_memory, all_lines)
    assert len(pairs) == 4
    for i, (zero_filled, full) in enumerate(pairs[i] for i in range(4)):
        assert full.dtype == np.float32
        np.testing.assert_allclose(full, Memory(paths[i // 2]).full(i % 2), rtol=1e-4)
        np.testing.assert_array_equal(zero_filled, full)
    assert not opened


def test_the_mask_of_a_file_undersamples_all_its_slices() -> None:
    pairs = SlicePairs([Path("one.h5"), Path("longer.h5")], open_memory, upper_half_of_one)
    volume = Memory(Path("one.h5"))
    for item in range(2):
        ksp = volume[item].copy()
        ksp[:, 6:] = 0
        imgs = transform(np.fft.ifftn, ksp)
        np.testing.assert_allclose(pairs[item][0], np.sqrt((np.abs(imgs) ** 2).sum(axis=0))[:, 5:15], rtol=1e-4)
    np.testing.assert_array_equal(*pairs[2])


def test_no_more_slices_than_there_are() -> None:
    with pytest.raises(IndexError):
        SlicePairs([Path("one.h5")], open_memory, all_lines)[2]
