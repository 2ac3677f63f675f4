"""Masks of lines that lie beside k-space."""

from pathlib import Path
from typing import Any

import numpy as np

from untrained_recon.errors import RawFileError
from untrained_recon.files.cfl import read_cfl
from untrained_recon.types import BoolArray


def mask_beside(path: Path) -> Path:
    """Where the mask of a file is looked for: ``NAME.mask.npy``."""
    return path.with_suffix(".mask.npy")


def read_mask(path: Path, images: int, shape: tuple[int, int]) -> BoolArray:
    """A mask of lines: a ``.npy`` of truth values or numbers, of which 0 means not acquired; or a pattern of BART, a ``.cfl``.

    Args:
        path: The file. Its array is ``(n_y,)``, or ``(images, n_y)``, or has a last axis of ``n_x`` more (BART's first); axes of
            length 1 do not count.
        images: How many images it is for.
        shape: ``(n_y, n_x)`` of their k-space.

    Returns:
        bool ``(images, n_y)``.

    Raises:
        RawFileError: It cannot be read, is for another matrix, or takes single samples of a line.
    """
    found = read_cfl(path).real if path.suffix in (".cfl", ".hdr") else _load(path)
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        raise RawFileError(f"{path}: a mask of {getattr(found, 'dtype', 'several arrays')}; it must be of truth values or numbers")
    n_y, n_x = shape
    mask = np.squeeze(found) != 0
    if mask.shape in (shape, (images, *shape)):
        if (mask != mask[..., :1]).any():
            raise RawFileError(f"{path}: the mask takes single samples of a line; only whole lines can be left out")
        mask = mask[..., 0]
    if mask.shape not in ((n_y,), (images, n_y)):
        raise RawFileError(
            f"{path}: the mask has shape {found.shape}, the k-space {images} image(s) of {n_y} lines of {n_x} samples"
        )
    return np.broadcast_to(mask, (images, n_y))


def _load(path: Path) -> Any:
    try:
        return np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise RawFileError(f"{path}: cannot be read as .npy: {error}") from error
