"""Volumes at lower resolution, for studies that must be quick."""

from dataclasses import replace

import torch

from untrained_recon.files.volume import Volume
from untrained_recon.physics.operators import resize
from untrained_recon.types import BoolArray, ComplexArray


class LowResolution(Volume):
    """The central lines and samples of another volume: the same field of view with larger pixels.

    Args:
        volume: The other, which stays open and is not closed with this one.
        size: Lines and samples to keep at most.
    """

    def __init__(self, volume: Volume, size: int) -> None:
        self._volume = volume
        n_coils, n_y, n_x = volume.shape
        matrix = min(n_y, size), min(n_x, size)
        recon_y, recon_x = (round(n * new / old) for n, new, old in zip(volume.recon_shape, matrix, (n_y, n_x), strict=True))
        self.path, self.transposed = volume.path, volume.transposed
        self.shape = (n_coils, *matrix)
        self.encoding = replace(volume.encoding, encoded_shape=matrix, recon_shape=(recon_y, recon_x), center_y=matrix[0] // 2)

    def __len__(self) -> int:
        return len(self._volume)

    def lines(self, item: int) -> BoolArray:
        """The central ones of the other volume's."""
        n_y, kept = self._volume.shape[1], self.shape[1]
        start = n_y // 2 - kept // 2
        return self._volume.lines(item)[start : start + kept]

    def close(self) -> None:
        """Nothing: the other volume is whoever's that opened it."""

    def _read(self, item: int) -> ComplexArray:
        ksp: ComplexArray = resize(torch.from_numpy(self._volume[item]), self.shape[1:]).numpy()
        return ksp
