"""fastMRI's form of a submission: an HDF5 file with ``reconstruction`` ``(slices, x, y)``, named as the k-space was.

fastMRI shows its images with the readout down.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from untrained_recon.errors import RawFileError
from untrained_recon.files.export import Product
from untrained_recon.files.export.series import Scan, Series
from untrained_recon.output import HDF5Output


def products(scan: Scan) -> Iterator[Product]:
    """One file: the magnitudes of the first encoding space."""
    series = next((series for series in scan.parts if series.kind == "magnitude"), None)
    if series is None:
        raise RawFileError(f"{scan.path}: there are no magnitude images")
    others = {picture.index._replace(slice=0) for picture in series.pictures}
    if len(others) > 1:
        raise RawFileError(f"{scan.path}: {len(others)} contrasts, phases and repetitions; fastMRI's files hold slices of one")
    yield Product(scan.path.stem, partial(_save, scan, series), ".h5")


def _save(scan: Scan, series: Series, path: Path) -> None:
    planes = np.concatenate([picture.pixels for picture in series.pictures]).astype(np.float32)
    with HDF5Output(path) as output, h5py.File(output, "w") as file:
        file["reconstruction"] = planes.swapaxes(1, 2)
        file.attrs["max"] = planes.max()
        file.attrs["norm"] = np.linalg.norm(planes)
        if scan.xml:
            file["ismrmrd_header"] = scan.xml
