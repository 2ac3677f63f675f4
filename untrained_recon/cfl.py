"""BART's array files: ``NAME.hdr`` holds the sizes, ``NAME.cfl`` complex64 samples with the first index fastest."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from untrained_recon.errors import RawFileError
from untrained_recon.types import ComplexArray

DIMS = 16


def write_cfl(path: Path, array: ComplexArray) -> None:
    """Write ``path.hdr`` and ``path.cfl``.

    Args:
        path: Path without, or with, one of the two endings.
        array: complex64 of at most 16 axes. BART's dimension 0 is the last axis: k-space ``(n_coils, 1, n_y, n_x)`` becomes
            ``[n_x, n_y, 1, n_coils]``, as BART's tools expect it.
    """
    write_cfl_parts(path, array.shape, [array])


def write_cfl_parts(path: Path, shape: tuple[int, ...], parts: Iterable[ComplexArray]) -> None:
    """As :func:`write_cfl`, of an array of this shape that comes in parts, one after the other along its first axis."""
    sizes = [*reversed(shape), *[1] * (DIMS - len(shape))]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + "\n", encoding="ascii")
    with path.with_suffix(".cfl").open("wb") as file:
        for part in parts:
            file.write(np.ascontiguousarray(part, "<c8").data)


def read_cfl(path: Path) -> ComplexArray:
    """The array of ``path.hdr`` and ``path.cfl``, see :func:`map_cfl`, in memory."""
    return np.array(map_cfl(path))


def map_cfl(path: Path) -> ComplexArray:
    """The array of ``path.hdr`` and ``path.cfl``, read-only, read as it is used.

    Returns:
        complex64, axes in reverse of BART's (see :func:`write_cfl`), leading ones dropped.

    Raises:
        RawFileError: A file is missing, the header has no sizes, or the data are not as long as it says.
    """
    header, data = path.with_suffix(".hdr"), path.with_suffix(".cfl")
    try:
        lines = header.read_text(encoding="utf-8").splitlines()
        sizes = [int(size) for size in lines[lines.index("# Dimensions") + 1].split()]
        n_bytes = data.stat().st_size
    except OSError as error:
        raise RawFileError(f"{error.filename}: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise RawFileError(f"{header}: no line of whole numbers after '# Dimensions'") from error
    if min(sizes, default=0) < 1 or n_bytes != 8 * math.prod(sizes):
        raise RawFileError(f"{data}: {n_bytes} bytes, but {header.name} says {' × '.join(map(str, sizes))} complex64 samples")
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    return np.memmap(data, np.complex64, "r", shape=tuple(sizes[::-1]))
