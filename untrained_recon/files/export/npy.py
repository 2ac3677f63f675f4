"""NumPy arrays ``(images, n_y, n_x)``, of volumes ``(images, n_z, n_y, n_x)``; complex ones stay complex.

A JSON file beside each tells which image is which, and where it is.
"""

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from untrained_recon.files.export import Product
from untrained_recon.files.export.series import Picture, Scan, Series
from untrained_recon.files.export.sidecar import describe, list_images, write_json
from untrained_recon.output import save_array


def products(scan: Scan) -> Iterator[Product]:
    """An array for each series and matrix."""
    for series in scan.series:
        shapes = [(shape, list(members)) for shape, members in groupby(series.pictures, lambda picture: picture.pixels.shape)]
        for number, (_, pictures) in enumerate(shapes):
            name = f"{scan.path.stem}_{series.name}" + (f"_matrix{number + 1}" if len(shapes) > 1 else "")
            save = partial(_save, scan, series, pictures)
            yield Product(name, save, ".npy", (".json",), main=series.kind == "magnitude")


def _save(scan: Scan, series: Series, pictures: list[Picture], path: Path) -> None:
    array = np.stack([picture.pixels for picture in pictures])
    save_array(path, array[:, 0] if array.shape[1] == 1 else array)
    write_json(path.with_suffix(".json"), {**describe(scan, series, pictures), "Images": list_images(pictures)})
