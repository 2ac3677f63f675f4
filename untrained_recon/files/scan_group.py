"""Open an HDF5 file and find the scan in it, or say what the file is instead."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from untrained_recon.errors import RawFileError
from untrained_recon.files.foreign import describe_file, describe_hdf5, has_images
from untrained_recon.files.layout import complaint

logger = logging.getLogger(__name__)

GROUP = "dataset"


def open_hdf5(path: Path) -> h5py.File:
    """The file, opened for reading. Raises RawFileError, which says what it is where it is not HDF5."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise RawFileError(f"{path}: {_reason(path, error)}") from error


def _reason(path: Path, error: OSError) -> str:
    try:
        what = describe_file(path)
    except FileNotFoundError:
        return "there is no such file"
    except OSError as denied:
        return f"it cannot be read ({denied})"
    if not what or what.startswith("an HDF5"):
        return f"it is {what or 'not an HDF5 file'} ({error})"
    return f"it is {what}"


def find_group(file: h5py.File, path: Path, wanted: str) -> h5py.Group:
    """The group of the scan: the one that is wanted, else ``dataset``, else the only one with acquisitions. Raises RawFileError."""
    if wanted:
        if isinstance(group := file.get(wanted), h5py.Group):
            return group
        raise RawFileError(f"{path}: no group {wanted!r}; there are {', '.join(sorted(file)) or 'none'}")
    found = raw_groups(file)
    usual = file.get(GROUP)
    if GROUP in found or (not found and isinstance(usual, h5py.Group) and not has_images(usual)):
        return usual
    if len(found) > 1:
        raise RawFileError(f"{path}: raw data in several groups; choose one with --group: {', '.join(found)}")
    if not found:
        raise RawFileError(f"{path}: no group {GROUP!r} with raw data; it is {describe_hdf5(file)}")
    logger.info("%s: the raw data are in group %r", path, found[0])
    return file[found[0]]


def raw_groups(file: h5py.File) -> list[str]:
    """Names of the groups that hold acquisitions, ``/`` for the file's own."""
    groups = ["/"]
    file.visititems(lambda name, item: groups.append(name) if isinstance(item, h5py.Group) else None)
    return [name for name in groups if not complaint(file[name].get("data"), "data")]


def name_of(group: h5py.Group) -> str:
    """The path of a group in its file, without slashes around it."""
    name = group.name
    return (name.decode(errors="replace") if isinstance(name, bytes) else str(name)).strip("/")


def header_text(group: h5py.Group, path: Path) -> bytes:
    """The XML header of a group, however its string is stored. Raises RawFileError."""
    xml = group.get("xml")
    if isinstance(xml, h5py.Dataset) and xml.size:
        stored = xml[()]
        if isinstance(stored, np.ndarray) and stored.dtype != np.uint8:
            stored = stored.flat[0]
        text: bytes = stored if isinstance(stored, bytes) else np.asarray(stored).tobytes()
        if text.strip(b"\0 "):
            return text
    raise RawFileError(f"{path}: group {name_of(group)!r} holds no XML header ('xml')")


@contextmanager
def named(path: Path, what: str) -> Iterator[None]:
    """What HDF5 and NumPy raise over damaged bytes is many, and not theirs to promise."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, MemoryError) as error:
        raise RawFileError(f"{path}: {what} cannot be read; the file is damaged ({error})") from error
