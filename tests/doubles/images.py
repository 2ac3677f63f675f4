"""Image files made by hand."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import numpy.typing as npt

from untrained_recon.files.images import image_file

XML = b"<ismrmrdHeader/>"


def image(
    pixels: npt.NDArray[Any], directions: npt.NDArray[np.float64] | None = None, meta: dict[str, Any] | None = None, **head: Any
) -> ismrmrd.Image:
    """An image ``(n_y, n_x)`` or ``(n_z, n_y, n_x)``, axial, of 2 × 1 × 1 mm, or what ``head`` says by name."""
    single = pixels.astype(np.float32) if pixels.dtype == np.float64 else pixels
    n_z, n_y, n_x = single.shape if single.ndim == 3 else (1, *single.shape)
    fields = {"image_type": ismrmrd.IMTYPE_MAGNITUDE, "image_series_index": 1, "field_of_view": (n_x, n_y, 2 * n_z), **head}
    made = ismrmrd.Image.from_array(single, transpose=False)
    for name, row in zip(("read_dir", "phase_dir", "slice_dir"), np.eye(3) if directions is None else directions, strict=True):
        fields.setdefault(name, row)
    for name, value in fields.items():
        if np.ndim(value):
            getattr(made, name)[:] = value
        else:
            setattr(made, name, value)
    made.meta = meta or {}
    return made


def write(path: Path, *series: Iterable[ismrmrd.Image], xml: bytes = XML) -> Path:
    """An image file of these series."""
    with image_file(path, xml) as out:
        for number, images in enumerate(series):
            for one in images:
                out.append_image(number, one)
    return path
