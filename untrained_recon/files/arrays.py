"""Bare k-space arrays as volumes: NumPy's ``.npy`` and BART's ``.cfl``. Their images are as large as their k-space."""

from pathlib import Path

import numpy as np

from untrained_recon.encoding import Encoding
from untrained_recon.errors import RawFileError
from untrained_recon.files.cfl import DIMS, map_cfl, write_cfl_parts
from untrained_recon.files.support import SupportedVolume
from untrained_recon.files.volume import Volume, require
from untrained_recon.types import ComplexArray

BART_SLICES = 13  # BART's dimension for slices


class ArrayVolume(SupportedVolume):
    """An array ``(slices, n_coils, n_y, n_x)`` that is read as it is used.

    Args:
        path: Where it comes from.
        array: complex, mapped from the file.
    """

    def __init__(self, path: Path, array: ComplexArray) -> None:
        super().__init__(path)
        require(min(array.shape) > 0, path, f"the array of shape {array.shape} is empty")
        self._array = array
        n_coils, n_y, n_x = array.shape[1:]
        self.shape = (n_coils, n_y, n_x)
        self.encoding = Encoding.of((n_y, n_x))

    def __len__(self) -> int:
        return len(self._array)

    def close(self) -> None:
        """Nothing to do: the mapping ends with the object."""

    def _samples(self, item: int) -> ComplexArray:
        return self._array[item]


def open_npy(path: Path) -> ArrayVolume:
    """A ``.npy`` of ``(n_coils, n_y, n_x)`` or ``(slices, n_coils, n_y, n_x)``; complex128 is read as complex64.

    Raises:
        RawFileError: Not such a file, or damaged.
    """
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise RawFileError(f"{path}: cannot be read as .npy: {error}") from error
    require(array.dtype.kind == "c", path, f"the array is {array.dtype}; k-space is complex")
    require(array.ndim in (3, 4), path, f"the array has shape {array.shape}; it must be (coils, ky, kx) or (slices, coils, ky, kx)")
    return ArrayVolume(path, array if array.ndim == 4 else array[None])


def open_cfl(path: Path) -> ArrayVolume:
    """A BART array ``[x, y, 1, coils]``, with slices along dimension 13.

    Raises:
        RawFileError: Not such a file, or damaged.
    """
    array = map_cfl(path)
    sizes = (*array.shape[::-1], *[1] * (DIMS - array.ndim))
    n_x, n_y, _, n_coils = sizes[:4]
    slices = sizes[BART_SLICES]
    require(
        n_x * n_y * n_coils * slices == array.size,
        path,
        f"dimensions {' × '.join(map(str, sizes))}; only 0, 1 (x, y), 3 (coils) and {BART_SLICES} (slices) may be larger than 1",
    )
    return ArrayVolume(path, array.reshape(slices, n_coils, n_y, n_x))


def write_npy(volume: Volume, path: Path) -> None:
    """Write complex64 ``(slices, n_coils, n_y, n_x)``, or without the first axis for a single image."""
    shape = volume.shape if len(volume) == 1 else (len(volume), *volume.shape)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<c8", "fortran_order": False, "shape": shape})
        for ksp in volume:
            file.write(np.ascontiguousarray(ksp, "<c8").data)


def write_cfl(volume: Volume, path: Path) -> None:
    """Write a BART array, see :func:`open_cfl`."""
    n_coils, n_y, n_x = volume.shape
    gap = [1] * (BART_SLICES - 4)
    write_cfl_parts(path, (len(volume), *gap, n_coils, 1, n_y, n_x), volume)
