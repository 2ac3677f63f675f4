"""Pairs of images to train on: fully sampled slices, and what is left of them after undersampling."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import torch

from untrained_recon.operators import ifft2, rss, to_recon_matrix
from untrained_recon.types import BoolArray, ComplexArray, Encoding, FloatArray


class Slices(Protocol):
    """An open file of fully sampled k-space: complex64 ``(n_coils, n_y, n_x)`` for every index."""

    encoding: Encoding

    @property
    def name(self) -> str:
        """Name of the file, from which its mask follows."""

    def __len__(self) -> int: ...

    def __getitem__(self, item: int, /) -> ComplexArray: ...


class SlicePairs:
    """The slices of some files, each as the root sum of squares of its undersampled and of its full k-space.

    Slices are read when they are asked for; files do not stay open. The mask of a slice depends on its file alone.

    Args:
        paths: The files.
        open_volume: Opens one of them.
        lines: The sampled lines, bool ``(n_y,)``, for ``n_y`` lines and the name of a volume, see
            :meth:`untrained_recon.masks.Sampling.lines`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        open_volume: Callable[[Path], AbstractContextManager[Slices]],
        lines: Callable[[int, str], BoolArray],
    ) -> None:
        self._open_volume = open_volume
        self._lines = lines
        self._items: list[tuple[Path, int]] = []
        for path in paths:
            with open_volume(path) as volume:
                self._items += [(path, item) for item in range(len(volume))]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[FloatArray, FloatArray]:
        """Zero-filled and full image, float32 ``recon_shape`` of the file."""
        path, item = self._items[index]
        with self._open_volume(path) as volume:
            ksp = volume[item]
            lines = self._lines(ksp.shape[-2], volume.name)
            return _magnitude(ksp * lines[:, None], volume.encoding), _magnitude(ksp, volume.encoding)


def _magnitude(ksp: ComplexArray, encoding: Encoding) -> FloatArray:
    coil_imgs = ifft2(torch.tensor(ksp))  # a copy: arrays mapped from files are read-only
    return rss(to_recon_matrix(coil_imgs, encoding)).numpy()
