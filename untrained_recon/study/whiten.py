"""Prewhitening of fully sampled k-space that comes without a noise scan: its corners hold next to nothing but noise."""

import math

import numpy as np

from untrained_recon.files.volume import Volume
from untrained_recon.scan.noise import covariance, prewhiten
from untrained_recon.types import BoolArray, ComplexArray

CORNER = 0.42  # cycles per pixel


def corner_samples(ksp: ComplexArray) -> ComplexArray:
    """The samples of the four corners of k-space, ``|k_y|`` and ``|k_x|`` both above :data:`CORNER`, as readouts of noise.

    Samples that are zero in all coils were filled in and are left out.

    Args:
        ksp: complex64 ``(n_coils, n_y, n_x)``, centred.

    Returns:
        complex64 ``(n_coils, n_samples)``.
    """
    k_y, k_x = (np.abs(np.arange(n) - n // 2) / n for n in ksp.shape[1:])
    samples: ComplexArray = ksp[:, np.logical_and.outer(k_y > CORNER, k_x > CORNER)]
    return samples[:, samples.any(axis=0)]


class Prewhitened(Volume):
    """Another volume with decorrelated coils, and noise of standard deviation 1 in the real and in the imaginary part.

    Each image has its own covariance, that of its :func:`corner_samples`. Where these hold signal too, or a receiver filter damps
    them, the scale is off by as much, for all methods alike. Reading an image raises NoiseError where its corners are empty.

    Args:
        volume: The other, which stays open and is not closed with this one; at its full resolution, so that its corners are noise.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.path, self.shape, self.encoding = volume.path, volume.shape, volume.encoding
        self.transposed = volume.transposed

    def __len__(self) -> int:
        return len(self._volume)

    def lines(self, item: int) -> BoolArray:
        """Those of the other volume."""
        return self._volume.lines(item)

    def close(self) -> None:
        """Nothing: the other volume is whoever's that opened it."""

    def _read(self, item: int) -> ComplexArray:
        ksp = self._volume[item]
        return prewhiten(ksp, covariance(corner_samples(ksp)), math.sqrt(2))
