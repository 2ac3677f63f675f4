"""Arrays that a caller hands in, checked: numbers in memory, k-space, sampling masks."""

from typing import Any

import numpy as np
import numpy.typing as npt

from untrained_recon.errors import KSpaceError, MaskError, NonFiniteError
from untrained_recon.types import BoolArray, ComplexArray

COIL, Y, X = -3, -2, -1
TINY = float(np.finfo(np.float32).tiny)

UNSAMPLED = 0.05  # share of positions without signal in any coil from which on a mask must be given
NARROW = 16  # an axis of fewer samples than coils, and than this, is taken for that of the coils
WIDE = 4  # and one of so many times fewer samples than coils
GATHERED, SCATTERED = 0.9, 0.75  # shares of the energy in the middle half of an axis of k-space, and of coils
AWAY = 0.1  # the same of k-space whose centre is not in the middle
SHORTEST = 8  # axis of which that can be told


def to_array(value: Any, name: str) -> npt.NDArray[Any]:
    """An array of numbers in memory, from NumPy, or from PyTorch on any device.

    Raises:
        KSpaceError: It is none.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise KSpaceError(f"{name} is a masked array; pass a plain one, for k-space ksp.filled(0) and what was acquired as mask")
    try:
        if hasattr(value, "resolve_conj"):  # PyTorch
            value = value.detach().resolve_conj().resolve_neg().cpu()
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise KSpaceError(f"{name} cannot be read as an array: {error}") from error
    if array.dtype.kind not in "biufc":
        raise KSpaceError(f"{name} is {type(value).__name__} of {array.dtype}; it must be an array of numbers")
    return array


def complex64(array: npt.NDArray[Any], name: str) -> ComplexArray:
    """The numbers in the type of k-space. Raises NonFiniteError where that cannot hold them."""
    if not np.isfinite(array).all():
        raise NonFiniteError(f"{name} holds NaN or Inf")
    with np.errstate(over="ignore"):
        found = array.astype(np.complex64)
    if not np.isfinite(found).all():
        raise NonFiniteError(f"{name} holds numbers too large for complex64; scale it down")
    return found


def to_samples(ksp: Any) -> ComplexArray:
    """k-space as complex64 ``(…, n_coils, n_y, n_x)``.

    Raises:
        KSpaceError: It is real, empty, has too few axes, its coils are on another axis, or its centre is not at ``n // 2``.
        NonFiniteError: It holds NaN or Inf, or numbers that complex64 cannot.
    """
    array = to_array(ksp, "ksp")
    if array.dtype.kind != "c":
        hint = "; for pairs of real and imaginary parts pass ksp[..., 0] + 1j * ksp[..., 1]" if array.shape[-1:] == (2,) else ""
        raise KSpaceError(f"ksp is {array.dtype}; k-space is complex{hint}")
    if array.ndim < 3:
        hint = "; pass ksp[None] for a single coil" if array.ndim == 2 else ""
        raise KSpaceError(f"ksp has shape {array.shape}; it must be (…, n_coils, n_y, n_x){hint}")
    if array.size == 0:
        raise KSpaceError(f"ksp of shape {array.shape} is empty")
    samples = complex64(array, "ksp")
    shares = {axis: _in_the_middle(samples, axis) for axis in (COIL, Y, X)}
    _check_order(samples.shape, shares)
    for axis in (Y, X):
        if samples.shape[axis] >= SHORTEST and shares[axis] < AWAY:
            raise KSpaceError(
                f"ksp has its energy at the ends of axis {axis}, its centre belongs at index n // 2; "
                f"apply np.fft.fftshift(ksp, axes={axis})"
            )
    return samples


def to_mask(mask: Any, samples: ComplexArray) -> BoolArray:
    """The sampling as bool ``(…, n_y, n_x)``, with the leading axes of ``(…, n_coils, n_y, n_x)`` samples.

    Args:
        mask: True or 1 where acquired: ``(n_y, n_x)``, with or without leading axes, or lines ``(n_y,)``. Axes of length 1 are
            repeated or left out. None: everything was.
        samples: The k-space.

    Raises:
        MaskError: It holds something else, is of another shape, or nothing was acquired; or None with k-space that is zero in whole
            lines or in many places, where a mask must tell what was acquired.
    """
    shape = (*samples.shape[:-3], *samples.shape[-2:])
    if mask is None:
        _check_full(samples)
        return np.ones(shape, bool)
    array = to_array(mask, "mask")
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise MaskError(f"mask ({array.dtype}) holds other values than True or 1 (acquired) and False or 0")
    lines = array[:, None] if array.ndim == 1 else array
    while lines.ndim > len(shape) and len(lines) == 1:
        lines = lines[0]
    try:
        sampled = np.array(np.broadcast_to(lines.astype(bool), shape))
    except ValueError as error:
        hint = "; it has no axis of coils" if array.shape == samples.shape else f", or {shape}" if len(shape) > 2 else ""
        raise MaskError(
            f"mask has shape {array.shape}, for ksp {samples.shape} it must be {shape[-2:]}, or lines {shape[-2:-1]}{hint}"
        ) from error
    if not sampled.any(axis=(Y, X)).all():
        raise MaskError("the mask says that nothing was acquired")
    signal: BoolArray = np.any(samples != 0, axis=COIL)
    if np.any(signal.any(axis=(Y, X)) & ~(signal & sampled).any(axis=(Y, X))):
        raise MaskError("ksp is zero wherever the mask says that it was acquired, but not elsewhere; is the mask inverted?")
    return sampled


def _check_order(shape: tuple[int, ...], shares: dict[int, float]) -> None:
    n_coils, n_y, n_x = shape[COIL:]
    fewest = min(n_y, n_x)
    narrow = n_coils > fewest and (fewest < NARROW or n_coils >= WIDE * fewest)
    swapped = min(n_coils, fewest) >= SHORTEST and shares[COIL] > GATHERED and min(shares[Y], shares[X]) < SCATTERED
    if narrow or swapped:
        axis = min((Y, X), key=lambda axis: shape[axis] if narrow else shares[axis])
        raise KSpaceError(
            f"ksp has shape {shape}, which would be {n_coils} coils of {n_y} × {n_x} samples; the axes must be "
            f"(…, n_coils, n_y, n_x): for coils on axis {axis} pass np.moveaxis(ksp, {axis}, -3)"
        )


def _in_the_middle(samples: ComplexArray, axis: int) -> float:
    """Share of the energy in the middle half of an axis; 1 where there is no energy."""
    n = samples.shape[axis]
    magnitude = np.abs(np.moveaxis(samples, axis, -1))
    energy = np.square(magnitude / max(float(magnitude.max()), TINY)).sum(axis=tuple(range(samples.ndim - 1)), dtype=np.float64)
    return float(energy[n // 4 : n - n // 4].sum() / energy.sum()) if energy.any() else 1.0


def _check_full(samples: ComplexArray) -> None:
    empty: BoolArray = np.all(samples == 0, axis=COIL)
    n_y, n_x = empty.shape[-2:]
    rows, columns = (int(np.all(empty, axis=axis).sum(axis=-1).max()) for axis in (X, Y))
    share = float(empty.mean(axis=(Y, X)).max())
    if rows or columns or share > UNSAMPLED:
        what = f"{rows} of {n_y} lines" if rows else f"{columns} of {n_x} columns" if columns else f"{share:.0%} of the samples"
        raise MaskError(
            f"ksp is zero in {what}, and no mask tells whether they were acquired: pass mask=, True where they were "
            f"(or mask=np.ones(({n_y}, {n_x})) if all were)"
        )
