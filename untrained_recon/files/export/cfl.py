"""BART's arrays: x, y, z in dimensions 0 to 2, and every counter in the dimension that BART has for it; complex64."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from untrained_recon.errors import RawFileError
from untrained_recon.files.cfl import DIMS, write_cfl
from untrained_recon.files.export import Product
from untrained_recon.files.export.series import Scan, Series

logger = logging.getLogger(__name__)

COUNTERS = {"contrast": 5, "repetition": 10, "phase": 11, "slice": 13}


def products(scan: Scan) -> Iterator[Product]:
    """An array for each series."""
    for series in scan.series:
        save = partial(_save, scan, series)
        yield Product(f"{scan.path.stem}_{series.name}", save, ".cfl", (".hdr",), main=series.kind == "magnitude")


def _save(scan: Scan, series: Series, path: Path) -> None:
    n_z, n_y, n_x = series.pictures[0].pixels.shape
    sizes = [n_x, n_y, n_z] + [1] * (DIMS - 3)
    for name, dim in COUNTERS.items():
        sizes[dim] = 1 + max(getattr(picture.index, name) for picture in series.pictures)
    array = np.zeros(sizes[::-1], np.complex64)
    distinct = {picture.index for picture in series.pictures}
    if len(distinct) < len(series.pictures):
        raise RawFileError(
            f"{scan.path}: {len(series.pictures) - len(distinct)} images of {series.name} have the counters of others"
        )
    missing = array.size // (n_z * n_y * n_x) - len(distinct)
    if missing:
        logger.warning("%s: %d images of %s are missing; they are zeros", scan.path, missing, series.name)
    for picture in series.pictures:
        place = [0] * (DIMS - 3)
        for name, dim in COUNTERS.items():
            place[DIMS - 1 - dim] = getattr(picture.index, name)
        array[tuple(place)] = picture.pixels
    write_cfl(path, array)
