"""Raw files in layouts that ISMRMRD's library does not write, but HDF5 allows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

Layout = Callable[["np.dtype[Any]"], "np.dtype[Any]"]


def aligned(packed: "np.dtype[Any]") -> "np.dtype[Any]":
    """As a C compiler lays it out."""
    return np.dtype([(name, _inner(packed[name], aligned)) for name in packed.names or ()], align=True)


def big_endian(packed: "np.dtype[Any]") -> "np.dtype[Any]":
    return packed.newbyteorder(">")


def wide(packed: "np.dtype[Any]") -> "np.dtype[Any]":
    """Fields in reverse order, all numbers of 8 bytes, as languages without small types write them."""

    def widened(kind: "np.dtype[Any]") -> "np.dtype[Any]":
        return np.dtype({"u": "u8", "i": "i8", "f": "f8"}[kind.kind])

    return np.dtype([(name, _inner(packed[name], wide, widened)) for name in reversed(packed.names or ())])


def without(*names: str) -> Layout:
    return lambda packed: np.dtype([(name, packed[name]) for name in packed.names or () if name not in names])


def _inner(kind: "np.dtype[Any]", layout: Layout, of_number: Layout = lambda kind: kind) -> Any:
    if kind.names:
        return layout(kind)
    return of_number(kind) if kind.subdtype is None else (of_number(kind.subdtype[0]), kind.subdtype[1])


def copy_raw(source: Path, target: Path, change: Callable[[h5py.Group], object], group: str = "dataset") -> Path:
    """A copy of a raw file in which a group was changed."""
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as f:
        change(f[group])
    return target


def rewritten(
    source: Path,
    target: Path,
    head: Layout = lambda packed: packed,
    samples: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]] = lambda data: data,
    fixed: bool = False,
    table: str = "data",
) -> Path:
    """A copy of a raw file whose ``data`` (or ``waveforms``) have another layout.

    Args:
        source: The file.
        target: Its copy.
        head: What becomes of the header's type.
        samples: What becomes of the samples of a row.
        fixed: Whether the samples are arrays of one length.
        table: Which table.
    """
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as f:
        rows = f[f"dataset/{table}"][:]
        converted = [samples(row["data"]) for row in rows]
        kind = converted[0].dtype
        data = np.dtype((kind, converted[0].shape)) if fixed else h5py.vlen_dtype(kind)
        fields = {"head": head(rows.dtype["head"]), "traj": h5py.vlen_dtype(np.dtype(np.float32)), "data": data}
        made = np.zeros(len(rows), np.dtype([(name, fields[name]) for name in rows.dtype.names]))
        _copy(rows["head"], made["head"])
        for n, row in enumerate(converted):
            made["data"][n] = row
            if table == "data":
                made["traj"][n] = rows["traj"][n]
        del f[f"dataset/{table}"]
        f[f"dataset/{table}"] = made
    return target


def _copy(source: Any, target: Any) -> None:
    for name in target.dtype.names:
        if target.dtype[name].names:
            _copy(source[name], target[name])
        else:
            target[name] = source[name]
