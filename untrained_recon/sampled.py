"""What a mask tells: the fully sampled centre, axes along which nothing is missing, the ellipse of a shutter."""

import math

import numpy as np

from untrained_recon.types import BoolArray

Z, Y, X = 0, 1, 2
AXES = {Z: "partitions (y, x)", X: "readout planes (z, y)", Y: "planes (z, x)"}
"""Axes that a volume may be taken apart along, in the order of preference, with the planes that are left."""


def calibration_block(mask: BoolArray, widest: int) -> tuple[int, int]:
    """Height and width of the fully sampled block around the centre of k-space, none above ``widest``.

    Of all blocks the one whose shorter edge is longest, and of those the largest. Placed as in :func:`calibration_width`.
    """
    n_x = mask.shape[1]
    best = (0, 0)
    for width in range(1, min(n_x, widest) + 1):
        start = n_x // 2 - width // 2
        rows: BoolArray = np.all(mask[:, start : start + width], axis=1)
        height = _centred_run(rows, widest)
        if (min(height, width), height * width) > (min(best), math.prod(best)):
            best = height, width
    return best


def calibration_region(mask: BoolArray) -> tuple[slice, slice]:
    """Rows and columns of the fully sampled block around the centre of k-space, of whatever size."""
    (y, x), (height, width) = (n // 2 for n in mask.shape), calibration_block(mask, max(mask.shape))
    return slice(y - height // 2, y - height // 2 + height), slice(x - width // 2, x - width // 2 + width)


def _centred_run(lines: BoolArray, widest: int) -> int:
    """The largest length L <= ``widest`` such that ``[n // 2 - L // 2, n // 2 - L // 2 + L)`` is True throughout."""
    centre = len(lines) // 2
    below, above = (int(np.argmin(np.append(side, False))) for side in (lines[:centre][::-1], lines[centre:]))
    return min(2 * below + 1, 2 * above, widest)


def calibration_width(mask: BoolArray) -> int:
    """Edge of the largest fully sampled square around the centre of k-space.

    Args:
        mask: bool ``(n_y, n_x)``, True where sampled.

    Returns:
        The largest w such that ``[n // 2 - w // 2, n // 2 - w // 2 + w)`` is sampled on both axes; 0 without the centre.
    """
    return min(calibration_block(mask, min(mask.shape)))


def plane_axis(mask: BoolArray) -> int:
    """The axis of ``(n_z, n_y, n_x)`` along which k-space is complete wherever it was sampled; the readout where there is none."""
    for axis in AXES:
        if np.array_equal(mask.any(axis=axis), mask.all(axis=axis)):
            return axis
    return X


def plane_shape(mask: BoolArray) -> tuple[int, int]:
    """Matrix ``(n_y, n_x)`` of an image, or of the planes that a volume is taken apart into."""
    shape = mask.shape
    if len(shape) == 3:
        axis = plane_axis(mask)
        shape = (*shape[:axis], *shape[axis + 1 :])
    return shape[0], shape[1]


def ellipse(n_y: int, n_x: int) -> BoolArray:
    """The ellipse that encloses the middle of every edge of a matrix: bool ``(n_y, n_x)``, True within."""
    y, x = ((np.arange(n) - n // 2) / ((n + 1) / 2) for n in (n_y, n_x))
    within: BoolArray = y[:, None] ** 2 + x[None, :] ** 2 <= 1
    return within
