"""Volumes with a smaller field of view along the phase encode direction, whose images fold over."""

import math
from dataclasses import replace

import numpy as np
import torch

from untrained_recon.files.volume import Volume
from untrained_recon.physics.operators import fft2, ifft2
from untrained_recon.text.printable import legible
from untrained_recon.types import BoolArray, ComplexArray


class Folded(Volume):
    """Another volume as if its field of view along y had been smaller: pixels of the same size, the outside folded over.

    Its k-space is what a scanner would sample: the spectrum of the other's coil images at the fewer, more distant lines of the
    smaller field of view, with noise of the same standard deviation. Lines between the other's share their noise, though, so that
    it is louder where the image is folded. Its truth is the folded image, times the square root of the share (orthonormal FFT).

    Args:
        volume: The other, which stays open and is not closed with this one.
        share: Of the field of view, above 0 and below 1.
    """

    def __init__(self, volume: Volume, share: float) -> None:
        self._volume, self._share = volume, share
        n_coils, n_y, n_x = volume.shape
        kept = max(1, round(share * n_y))
        old = volume.encoding
        fov_y = old.encoded_fov[1] * kept / n_y
        recon_y = min(fov_y, old.recon_fov[1])
        self.path, self.transposed = volume.path, volume.transposed
        self.shape = (n_coils, kept, n_x)
        self.encoding = replace(
            old,
            encoded_shape=(kept, old.encoded_shape[1]),
            recon_shape=(max(1, round(old.recon_shape[0] * recon_y / old.recon_fov[1])), old.recon_shape[1]),
            encoded_fov=(old.encoded_fov[0], fov_y, old.encoded_fov[2]),
            recon_fov=(old.recon_fov[0], recon_y, old.recon_fov[2]),
            center_y=kept // 2,
            limits_y=None,
        )

    @property
    def name(self) -> str:
        """That of the other, with the share."""
        return folded_name(self._volume.name, self._share)

    def __len__(self) -> int:
        return len(self._volume)

    def lines(self, item: int) -> BoolArray:
        """Those whose nearest line of the other volume was acquired."""
        n_y, kept = self._volume.shape[1], self.shape[1]
        nearest = np.rint((np.arange(kept) - kept // 2) * n_y / kept).astype(int) + n_y // 2
        return self._volume.lines(item)[np.clip(nearest, 0, n_y - 1)]

    def close(self) -> None:
        """Nothing: the other volume is whoever's that opened it."""

    def _read(self, item: int) -> ComplexArray:
        imgs = ifft2(torch.from_numpy(self._volume[item]))
        n_y, kept = imgs.shape[1], self.shape[1]
        folded = torch.zeros(self.shape, dtype=imgs.dtype)
        folded.index_add_(1, (torch.arange(n_y) - n_y // 2 + kept // 2) % kept, imgs)
        ksp: ComplexArray = (fft2(folded) * math.sqrt(kept / n_y)).numpy()
        return ksp


def folded_name(name: str, share: float) -> str:
    """Name of a volume with a share of its field of view, its own where that is all, by which results are kept: legible."""
    return legible(name if share == 1 else f"{name}-folded{share:g}")
