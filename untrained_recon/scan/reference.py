"""Reference scans in an encoding space of their own: brought onto the grid of the images that they calibrate."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from untrained_recon.encoding import Encoding
from untrained_recon.types import BoolArray, ComplexArray, CountArray

FEWEST_LINES = 6
"""Contiguous lines around the centre with which an image calibrates itself."""
PARALLEL = 0.99  # cosine
SAME = 1e-3  # relative difference of fields of view


def calibrates_itself(lines: BoolArray) -> bool:
    """Whether the lines ``(n_y,)`` around the centre of k-space were all sampled."""
    start = len(lines) // 2 - FEWEST_LINES // 2
    return bool(lines[max(0, start) : start + FEWEST_LINES].all())


def nearest(image: Any, references: Iterable[Any], thickness: float) -> Any | None:
    """The reference header of the slice that an image's header belongs to.

    Slices belong together by their positions, or by their counters where no position was written.

    Args:
        image: Acquisition header of the image.
        references: Acquisition headers of the slices of the reference scan.
        thickness: In mm; how far the slices may be apart.

    Returns:
        One of ``references``; None where no slice is near, or their orientation differs.
    """
    parallel = [head for head in references if all(_parallel(image, head, name) for name in ("read_dir", "phase_dir", "slice_dir"))]
    if not any(any(head.position) for head in (image, *parallel)):
        return next((head for head in parallel if head.idx.slice == image.idx.slice), None)
    near = [(abs(shift(image, head)[0]), head.idx.slice != image.idx.slice, n) for n, head in enumerate(parallel)]
    if not near or min(near)[0] > thickness:
        return None
    return parallel[min(near)[2]]


def shift(image: Any, reference: Any) -> tuple[float, float, float]:
    """Position of a reference header relative to the image's, in mm along ``(z, y, x)`` of the image."""
    apart = np.array(reference.position, float) - np.array(image.position, float)
    z, y, x = (float(apart @ np.array(getattr(image, name))) for name in ("slice_dir", "phase_dir", "read_dir"))
    return z, y, x


def _parallel(one: Any, other: Any, name: str) -> bool:
    a, b = np.array(getattr(one, name), float), np.array(getattr(other, name), float)
    return not a.any() or not b.any() or float(a @ b) >= PARALLEL * float(np.linalg.norm(a) * np.linalg.norm(b))


def resampled(
    samples: tuple[ComplexArray, CountArray], source: Encoding, target: Encoding, apart: tuple[float, float, float]
) -> tuple[ComplexArray, CountArray]:
    """Reference samples on the grid of the images, by Fourier interpolation of the block around the centre that was sampled.

    Args:
        samples: k-space ``(n_coils, n_y, n_x)`` and counts, or with ``n_z`` before, on the grid of ``source``.
        source: Encoding of the reference scan.
        target: Encoding of the images, 2-D or 3-D like the reference.
        apart: Position of the reference relative to the images in mm along ``(z, y, x)``.

    Returns:
        The same on the grid of ``target``; zero beyond the reference's resolution.
    """
    ksp, counts = samples
    mask = counts > 0
    dims = mask.ndim
    grids = [
        list(zip((e.partitions, *e.image_shape), (e.encoded_fov[0], e.encoded_fov[1], e.recon_fov[2]), strict=True))[-dims:]
        for e in (source, target)
    ]
    inside = []
    for axis, ((n, fov), (m, target_fov), distance) in enumerate(zip(*grids, apart[-dims:], strict=True)):
        matrix, known = _interpolation((n, fov), (m, target_fov), distance, _block(mask, axis))
        ksp = np.moveaxis(np.tensordot(matrix.astype(np.complex64), ksp, axes=(1, 1 + axis)), 0, 1 + axis).astype(np.complex64)
        inside.append(known)
    block = np.ix_(*inside)
    found = np.zeros([m for m, _ in grids[1]], np.int32)
    found[block] = 1
    return (ksp * found).astype(np.complex64), found


def _block(mask: BoolArray, axis: int) -> tuple[int, int]:
    """The run of rows around the centre that were sampled at the centre of the other axes, relative to it."""
    centre = tuple(slice(None) if n == axis else size // 2 for n, size in enumerate(mask.shape))
    gaps = np.flatnonzero(~mask[centre]) - mask.shape[axis] // 2
    n = mask.shape[axis]
    return int(max(gaps[gaps <= 0], default=-(n // 2) - 1)) + 1, int(min(gaps[gaps > 0], default=n - n // 2)) - 1


def _interpolation(
    source: tuple[int, float], target: tuple[int, float], distance: float, block: tuple[int, int]
) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.int_]]:
    """Matrix from the samples of one axis to those of another spacing, and the rows of the target that it reaches."""
    (n, fov), (m, target_fov) = source, target
    rows, steps = np.arange(m) - m // 2, np.arange(n) - n // 2
    position = rows * fov / target_fov  # in steps of the source
    edge = 0 if abs(fov / target_fov - 1) < SAME else 1  # the outermost samples have no neighbour to interpolate with
    low, high = block[0] + edge, block[1] - edge
    waves = np.exp(2j * np.pi * np.outer(steps, steps) / n)
    kept = (steps >= block[0]) & (steps <= block[1])
    matrix = np.exp(-2j * np.pi * np.outer(position, steps) / n) @ waves.T * kept / n
    turns = np.exp(-2j * np.pi * rows / target_fov * distance)
    return turns[:, None] * matrix, np.flatnonzero((position >= low - SAME) & (position <= high + SAME))
