"""BART's array files: ``NAME.hdr`` holds the sizes, ``NAME.cfl`` complex64 samples with the first index fastest."""

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
    sizes = [*reversed(array.shape), *[1] * (DIMS - array.ndim)]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + "\n", encoding="ascii")
    np.ascontiguousarray(array, np.complex64).tofile(path.with_suffix(".cfl"))


def read_cfl(path: Path) -> ComplexArray:
    """The array of ``path.hdr`` and ``path.cfl``, axes in reverse of BART's (see :func:`write_cfl`), leading ones dropped.

    Raises:
        RawFileError: A file is missing, the header has no sizes, or the data are not as long as it says.
    """
    header, data = path.with_suffix(".hdr"), path.with_suffix(".cfl")
    try:
        lines = header.read_text(encoding="utf-8").splitlines()
        sizes = [int(size) for size in lines[lines.index("# Dimensions") + 1].split()]
        samples = np.fromfile(data, np.complex64)
    except OSError as error:
        raise RawFileError(f"{error.filename}: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise RawFileError(f"{header}: no line of whole numbers after '# Dimensions'") from error
    if len(samples) != np.prod(sizes) or data.stat().st_size != samples.nbytes:
        raise RawFileError(
            f"{data}: {data.stat().st_size} bytes, but {header.name} says {' × '.join(map(str, sizes))} complex64 samples"
        )
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    return samples.reshape(sizes[::-1])
