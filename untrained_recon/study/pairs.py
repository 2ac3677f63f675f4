"""Pairs of images to train on: fully sampled slices, and what is left of them after undersampling."""

from collections.abc import Sequence
from pathlib import Path

from untrained_recon.files.open import open_volume
from untrained_recon.files.sampling import sample
from untrained_recon.masks import Sampling
from untrained_recon.physics.operators import rss_image
from untrained_recon.study.resolution import LowResolution
from untrained_recon.types import FloatArray


class SlicePairs:
    """The slices of some files, each as the root sum of squares of its undersampled and of its full k-space.

    Slices are read when they are asked for; files do not stay open. The mask of a slice depends on its file alone.

    Args:
        paths: Files of fully sampled k-space, see :func:`untrained_recon.files.open.open_volume`.
        sampling: How they are undersampled.
        resolution: Lines and samples to keep at most, about the centre; 0 keeps all.
    """

    def __init__(self, paths: Sequence[Path], sampling: Sampling, resolution: int = 0) -> None:
        self._sampling = sampling
        self._resolution = resolution
        self._items: list[tuple[Path, int]] = []
        for path in paths:
            with open_volume(path) as volume:
                self._items += [(path, item) for item in range(len(volume))]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[FloatArray, FloatArray]:
        """Zero-filled and full image, float32 ``recon_shape`` of the file."""
        path, item = self._items[index]
        with open_volume(path) as full:
            volume = LowResolution(full, self._resolution) if self._resolution else full
            ksp = volume[item]
            data = sample(ksp, self._sampling.lines(ksp.shape[1], volume.name), volume, item)
            return rss_image(data.ksp, data.encoding), rss_image(ksp, volume.encoding)
