"""Pictures: each image as it is, pixel for pixel; of volumes all planes side by side; of maps and phases with a scale of value."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np

from untrained_recon.files.export import Product
from untrained_recon.files.export.series import Picture, Pixels, Scan, Series, numbered

DOTS = 110


def products(scan: Scan) -> Iterator[Product]:
    """A picture of every image; magnitude images are named after their counters alone."""
    for series in scan.parts:
        prefix = "" if series.name == "magnitude" else f"{series.name}_"
        for name, picture in numbered(series):
            yield Product(prefix + name, partial(_save, series, picture), ".png", main=series.kind == "magnitude")


def _save(series: Series, picture: Picture, path: Path) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    low, high = series.window
    if not series.is_map and not series.in_radians:
        pyplot.imsave(path, montage(picture.pixels, low), cmap="gray", vmin=low, vmax=high)
        return
    tiles = montage(picture.pixels, np.nan)
    n_y, n_x = tiles.shape
    height = max(3.0, n_y / DOTS)
    figure, axis = pyplot.subplots(figsize=(height * n_x / n_y + 1.6, height + 0.6), layout="constrained")
    drawn = axis.imshow(tiles, cmap="twilight" if series.in_radians else "viridis", vmin=low, vmax=high, interpolation="nearest")
    axis.set_axis_off()
    axis.set_title(f"{series.name}, {picture.index}", fontsize=9)
    label = "rad" if series.in_radians else "in units of the magnitude image"
    figure.colorbar(drawn, label=label, extend="neither" if series.in_radians else "max")
    figure.savefig(path, dpi=DOTS, format="png")
    pyplot.close(figure)


def montage(pixels: Pixels, rest: float) -> Pixels:
    """The planes ``(n_z, n_y, n_x)`` in rows and columns, about as high as wide; the places left over hold ``rest``."""
    n_z, n_y, n_x = pixels.shape
    columns = min(n_z, max(1, round(math.sqrt(n_z * n_y / n_x))))
    rows = -(-n_z // columns)
    tiles = np.full((rows * columns, n_y, n_x), rest, np.float32)
    tiles[:n_z] = pixels
    return tiles.reshape(rows, columns, n_y, n_x).swapaxes(1, 2).reshape(rows * n_y, columns * n_x)
