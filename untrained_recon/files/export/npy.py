"""NumPy arrays ``(images, n_y, n_x)``, of volumes ``(images, n_z, n_y, n_x)``; complex ones stay complex.

A JSON file beside each tells which image is which, and where it is.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from untrained_recon.files.export import Product
from untrained_recon.files.export.series import Scan, Series
from untrained_recon.files.export.sidecar import describe, list_images, write_json
from untrained_recon.output import save_array


def products(scan: Scan) -> Iterator[Product]:
    """An array for each series."""
    for series in scan.series:
        save = partial(_save, scan, series)
        yield Product(f"{scan.path.stem}_{series.name}", save, ".npy", (".json",), main=series.kind == "magnitude")


def _save(scan: Scan, series: Series, path: Path) -> None:
    array = np.stack([picture.pixels for picture in series.pictures])
    save_array(path, array[:, 0] if array.shape[1] == 1 else array)
    write_json(path.with_suffix(".json"), {**describe(scan, series, series.pictures), "Images": list_images(series.pictures)})
