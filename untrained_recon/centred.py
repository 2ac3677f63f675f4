"""Centred arrays on NumPy: the Fourier transforms of :mod:`untrained_recon.types`, and cuts about the centre ``n // 2``.

The same numbers as sigpy's functions of these names, which take a second to import.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def fft(img: Array, axes: Sequence[int]) -> Array:
    """Orthonormal transform over some axes, image to k-space; in the type of ``img``."""
    return _transformed(np.fft.fftn, img, axes)


def ifft(ksp: Array, axes: Sequence[int]) -> Array:
    """Inverse of :func:`fft`, k-space to image."""
    return _transformed(np.fft.ifftn, ksp, axes)


def resize(x: Array, shape: Sequence[int]) -> Array:
    """Cut or zero-padded to ``shape``, which has as many axes, about the centre of every axis."""
    if x.shape == tuple(shape):
        return x
    out = np.zeros(shape, x.dtype)
    sizes = list(zip(x.shape, out.shape, strict=True))
    source = tuple(slice(first := max(n // 2 - m // 2, 0), first + min(n, m)) for n, m in sizes)
    target = tuple(slice(first := max(m // 2 - n // 2, 0), first + min(n, m)) for n, m in sizes)
    out[target] = x[source]
    return out


def _transformed(transform: Callable[..., Array], x: Array, axes: Sequence[int]) -> Array:
    shifted: Array = transform(np.fft.ifftshift(x, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(shifted, axes=axes).astype(x.dtype, copy=False)
