"""How the tables of an ISMRMRD file are laid out, read by the names of their fields.

HDF5 converts between compounds by name, so that alignment, byte order, width and order of the fields are the file's own business.
Only the samples of a readout, arrays of their own length each, come as the file has them and are converted here.
"""

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from ismrmrd.hdf5 import acquisition_header_dtype, waveform_header_dtype

HEADERS = {"data": acquisition_header_dtype, "waveforms": waveform_header_dtype}
NEEDED = {
    "data": ("number_of_samples", "active_channels", "center_sample", "idx"),
    "waveforms": ("number_of_samples", "channels", "time_stamp"),
}

Values = npt.NDArray[Any]


def length(table: h5py.Dataset) -> int:
    """Rows of a table, which may be written as a matrix of one column or one row."""
    return int(np.prod(table.shape))


def complaint(table: Any, name: str) -> str:
    """Why a table cannot be read as ``data`` (acquisitions) or ``waveforms``; empty where it can."""
    if not isinstance(table, h5py.Dataset):
        return "is missing" if table is None else "is not a dataset"
    fields = table.dtype.names or ()
    if not table.shape or sum(n != 1 for n in table.shape) > 1 or not {"head", "data"} <= set(fields):
        return f"is not a list of records with head and data (shape {table.shape}, {table.dtype})"
    if missing := [field for field in NEEDED[name] if field not in (table.dtype["head"].names or ())]:
        return f"has headers without {', '.join(missing)}"
    kind = _base(table.dtype["data"])
    return "" if kind.kind in "fciu" else f"holds samples of type {kind}"


def read_rows(table: h5py.Dataset, name: str, which: slice | list[int], *fields: str) -> Values:
    """Rows of a table with the fields that are asked for, their ``head`` in the layout of :mod:`ismrmrd`.

    Fields of the header that the file lacks are 0.
    """
    kinds = [HEADERS[name] if field == "head" else table.dtype[field] for field in fields]
    along = int(np.argmax(table.shape))  # all others are 1
    place = tuple(which if axis == along else 0 for axis in range(table.ndim))
    rows: Values = table.astype(np.dtype(list(zip(fields, kinds, strict=True))))[place]
    return rows


def converted(values: Any, stored: np.dtype[Any], kind: type[np.number[Any]]) -> Values:
    """The samples of one row as numbers of a kind: complex ones as pairs, whatever the file stores.

    Args:
        values: What h5py gives.
        stored: The type of the field, ``table.dtype[...]``.
        kind: ``np.float32`` or ``np.uint32``.
    """
    base, numbers = _base(stored), np.asarray(values).ravel()
    if numbers.dtype != base and numbers.dtype == base.newbyteorder("="):
        numbers = numbers.view(base)  # h5py leaves the bytes of big endian arrays as they are, and calls them native
    if base.kind == "c":
        numbers = numbers.view(np.empty(0, base).real.dtype)
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused as such with its place
        return numbers.astype(kind, copy=False)


def _base(stored: np.dtype[Any]) -> np.dtype[Any]:
    """The type of a single value of a field of arrays, of varying length or all of the same."""
    varying: np.dtype[Any] | None = h5py.check_vlen_dtype(stored)
    if varying is not None:
        return np.dtype(varying)
    return stored.subdtype[0] if stored.subdtype is not None else stored
