"""The extent of k-space that was acquired: beyond it nothing is made up, the image keeps the resolution that was measured.

Scanners acquire fewer lines than the matrix has (phase or slice resolution below 100 %, short readouts) and leave the rest of
k-space zero. The part that is fitted reaches as far on either side of the centre as the acquisition does on the farther one: what
partial Fourier leaves out is filled, what lies beyond is not.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from untrained_recon.encoding import Encoding, StepLimits
from untrained_recon.operators import ellipse
from untrained_recon.types import BoolArray, CountArray

Array = npt.NDArray[Any]

DISBELIEF = 2
"""Limits are not believed that leave more than so many of the widest gaps between lines empty on both sides."""
FEWEST_CORNER = 8
"""Lines that a pattern of the same density would have in the corners, were they not left out on purpose."""
FEWEST = 8
"""Lines, or samples of a line, without which there is no extent to speak of."""


def acquired_shape(mask: BoolArray, encoding: Encoding) -> tuple[int, ...]:
    """The matrix that k-space was acquired on: the mask's shape, or less.

    Along the phase encode directions the extent is that of the encoding limits and of the lines that came. Without limits, or where
    the lines end long before them on both sides, it is that of the lines, and of the gap that undersampling may leave beyond. Along
    the readout it is that of the samples.

    Args:
        mask: bool ``(n_y, n_x)`` or ``(n_z, n_y, n_x)`` on the full matrix, True where sampled.
        encoding: Gives limits and acceleration.
    """
    axes = range(mask.ndim)
    sampled = [np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    centers = (encoding.center_z, encoding.center_y)[-(mask.ndim - 1) :]
    limits = (encoding.limits_z, encoding.limits_y)[-(mask.ndim - 1) :]
    shape = []
    for axis, n in enumerate(mask.shape):
        first, last = int(sampled[axis][0]), int(sampled[axis][-1])
        if axis < mask.ndim - 1:
            first, last = _meant(sampled[axis], n, centers[axis], limits[axis])
        shape.append(_symmetric(first, last, n) if len(sampled[axis]) >= FEWEST else n)
    if encoding.encoded_fov[2] < encoding.recon_fov[2]:
        shape[-1] = mask.shape[-1]
    return tuple(shape)


def _meant(sampled: npt.NDArray[np.int_], n: int, center: int, limits: StepLimits | None) -> tuple[int, int]:
    """First and last row that were to be acquired."""
    first, last = int(sampled[0]), int(sampled[-1])
    gap = int(np.diff(sampled).max(initial=1))
    reach = max(0, first - gap + 1), min(n - 1, last + gap - 1)
    if limits is None:
        return reach
    low, high = (min(max(limit + n // 2 - center, 0), n - 1) for limit in limits)
    if first - low > DISBELIEF * gap and high - last > DISBELIEF * gap:
        return reach
    return min(low, first), max(high, last)


def _symmetric(first: int, last: int, n: int) -> int:
    """Length of the shortest axis, centred as one of length n, that holds both; n where they reach an end of it, or all but."""
    below, above = n // 2 - first, last - n // 2
    if first <= 1 or last >= n - 2:
        return n
    return min(2 * max(below, above + 1), 2 * max(below, above) + 1)


def acquired(encoding: Encoding, counts: CountArray, crop: bool) -> tuple[Encoding, CountArray, Callable[[Array], Array], str]:
    """What was acquired of the header's matrix: one partition of a 2-D scan, the lines up to the acquired resolution.

    Args:
        encoding: The header's.
        counts: int32 ``(n_y, n_x)`` or ``(n_z, n_y, n_x)``, 0 where nothing was sampled.
        crop: Whether to cut k-space to the acquired resolution.

    Returns:
        The encoding of that part, whose images keep their values, the counts, a function that cuts other arrays like them (over
        their last axes), and what is to be noted of it.
    """
    full, only = counts.shape, _only_partition(encoding, counts)
    if only is not None:
        encoding, counts = replace(encoding, partitions=1, recon_partitions=1), counts[only]
    shape = acquired_shape(counts > 0, encoding) if crop else counts.shape
    inner: tuple[Any, ...] = (..., *(slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(counts.shape, shape, strict=True)))

    def cut(x: Array) -> Array:
        if only is not None:
            x = x[..., only, :, :]
        return x if shape == counts.shape else np.ascontiguousarray(x[inner])

    note = "" if only is None else f"the header's {full[0]} partitions are one: a 2-D scan"
    inside = np.ascontiguousarray(counts[inner])
    if crop and has_shutter(inside > 0):
        encoding = replace(encoding, shutter=True)
        note = "; ".join(filter(None, [note, "z and y were sampled within an ellipse; the corners stay empty (scan.fill)"]))
    if shape == counts.shape:
        return encoding, counts, cut, note
    sizes = (" x ".join(map(str, sizes)) for sizes in (shape, counts.shape))
    note = "; ".join(filter(None, [note, "k-space was acquired on {} of {}; beyond it stays empty (scan.fill)".format(*sizes)]))
    return _smaller(encoding, shape), inside, cut, note


def has_shutter(mask: BoolArray) -> bool:
    """Whether a volume ``(n_z, n_y, n_x)`` was sampled within the ellipse of its ``z`` and ``y`` alone, and on purpose."""
    if mask.ndim == 2:
        return False
    lines: BoolArray = np.any(mask, axis=-1)
    within = ellipse(lines.shape[0], lines.shape[1])
    expected = lines[within].mean() * np.count_nonzero(~within)
    return bool(expected >= FEWEST_CORNER and not lines[~within].any())


def _only_partition(encoding: Encoding, counts: CountArray) -> int | None:
    """The partition of a 2-D scan whose header speaks of several: limits and images are of one, and no other was sampled."""
    if counts.ndim == 2:
        return None
    sampled = np.flatnonzero(counts.any(axis=(1, 2)))
    announced = encoding.limits_z is not None and encoding.recon_partitions > 1
    return int(sampled[0]) if len(sampled) == 1 and not announced else None


def _smaller(encoding: Encoding, shape: tuple[int, ...]) -> Encoding:
    """The encoding of k-space that was cut to ``shape``; its images keep their values."""
    n_z, n_y, n_x = (1, *shape)[-3:]
    full = encoding.partitions * math.prod(encoding.image_shape)
    full_x = encoding.image_shape[1]
    encoded_x = encoding.encoded_shape[1] if n_x == full_x else round(n_x * encoding.encoded_fov[2] / encoding.recon_fov[2])
    gain = encoding.gain * math.sqrt(n_z * n_y * n_x / full)
    return replace(encoding, encoded_shape=(n_y, encoded_x), partitions=n_z, gain=gain)
