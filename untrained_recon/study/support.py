"""Which lines of an image were acquired: what a mask says, and what the samples do. Lines of zeros were not acquired."""

import logging
from abc import abstractmethod
from pathlib import Path

import numpy as np

from untrained_recon.errors import RawFileError
from untrained_recon.study.volume import Volume, require
from untrained_recon.types import BoolArray, ComplexArray

logger = logging.getLogger(__name__)

BORDER = 0.5  # share of the lines that may be missing at both ends together and yet be beyond the resolution acquired
UNEVEN = 2  # lines by which the two ends may differ then
REMEDY = "`convert` and `replay` take it with a mask of the lines that were acquired, by --mask or as NAME.mask.npy beside it"
POINTS = 0.05  # share of single samples, within lines that were acquired, that may be zero in all coils


class SupportedVolume(Volume):
    """A volume whose format does not say for sure which lines were acquired: a mask may, and the samples must agree.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: BoolArray | None = None  # those that the file says can have been acquired, where it says so
        self._mask: BoolArray | None = None
        self._known: dict[int, BoolArray] = {}

    def apply(self, mask: BoolArray, name: str, allow_undersampled: bool) -> None:
        """Leave out what a mask leaves out, whatever the file holds there.

        Args:
            mask: bool ``(images, n_y)``.
            name: What it is, for messages.
            allow_undersampled: Take one that leaves out lines between others, or more than :data:`BORDER`.

        Raises:
            RawFileError: It does, and that is not allowed.
        """
        self._mask = mask if self._mask is None else self._mask & mask
        for item in range(len(self)):
            rows = np.flatnonzero(self._mask[item] if self._lines is None else self._lines & self._mask[item])
            require(len(rows) > 0, self.path, f"{name}, which leaves no line")
            full = allow_undersampled or (len(rows) > BORDER * mask.shape[1] and len(rows) == rows[-1] - rows[0] + 1)
            require(full, self.path, f"the file is undersampled ({name}); fully sampled k-space is needed")

    def lines(self, item: int) -> BoolArray:
        """Those that the file and its mask state, without those of zeros; see :func:`acquired_lines`."""
        if item not in self._known:
            self[item]
        return self._known[item]

    def _read(self, item: int) -> ComplexArray:
        ksp = np.asarray(self._samples(item))
        if self._mask is not None:
            ksp = ksp * self._mask[item][:, None]
        if item not in self._known:
            self._known[item] = acquired_lines(ksp, self._stated(item), self.path)
        return ksp

    def _stated(self, item: int) -> BoolArray | None:
        if self._mask is None or self._lines is None:
            return self._lines if self._mask is None else self._mask[item]
        return self._lines & self._mask[item]

    @abstractmethod
    def _samples(self, item: int) -> ComplexArray: ...


def acquired_lines(ksp: ComplexArray, stated: BoolArray | None, path: Path) -> BoolArray:
    """The lines that were acquired.

    Zeros in all coils at both ends alike, of few lines, are beyond the resolution acquired, as in fastMRI's files, which is logged.
    Zeros between lines that were acquired are undersampling, and without a mask nobody knows of which kind.

    Args:
        ksp: ``(n_coils, n_y, n_x)``.
        stated: bool ``(n_y,)``, the lines that the file, or a mask beside it, says were acquired; None where nothing does.
        path: Of the file, for messages.

    Returns:
        bool ``(n_y,)``. All that are stated where the image is zero throughout.

    Raises:
        RawFileError: Lines within the acquired ones hold zeros, or many single samples do.
    """
    n_y = ksp.shape[1]
    lines = np.ones(n_y, bool) if stated is None else stated
    hit = (ksp != 0).any(axis=0)
    rows = np.flatnonzero(hit.any(axis=1))
    if not len(rows):
        return lines
    within = np.zeros(n_y, bool)
    within[rows[0] : rows[-1] + 1] = True
    gaps = lines & within & ~hit.any(axis=1)
    missing = lines & ~within
    low, high = missing[: rows[0]].sum(), missing[rows[-1] :].sum()
    if low + high > BORDER * n_y or (stated is None and abs(low - high) > UNEVEN):
        gaps |= missing
    if gaps.any():
        raise RawFileError(
            f"{path}: {gaps.sum()} of {n_y} lines hold nothing but zeros ({_some(gaps)}): it is undersampled; {REMEDY}"
        )
    if missing.any():
        logger.warning("%s: lines %s hold nothing but zeros and count as not acquired", path, _some(missing))
    _require_dense(hit[lines & within], path)
    return lines & within


def _require_dense(hit: BoolArray, path: Path) -> None:
    """Refuse samples that are missing along the readout: between samples that are there, on a line or across the lines."""
    holes = np.zeros_like(hit)
    for axis in (0, 1):
        before = np.logical_or.accumulate(hit, axis)
        after = np.flip(np.logical_or.accumulate(np.flip(hit, axis), axis), axis)
        holes |= before & after & ~hit
    if holes.mean() > POINTS:
        raise RawFileError(
            f"{path}: {holes.mean():.0%} of the samples, between others, are zero in all coils: it is undersampled along the "
            "readout, which is not reconstructed; or its axes are not (…, coils, ky, kx)"
        )


def _some(lines: BoolArray) -> str:
    numbers = np.flatnonzero(lines)
    return ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
