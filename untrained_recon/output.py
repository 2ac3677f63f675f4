"""Files that are written: whole under their name or not at all, over regular files only, and with a named error on a full disk."""

import contextlib
import errno
import glob
import io
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from untrained_recon.errors import RawFileError
from untrained_recon.text.printable import legible

Inputs = Mapping[str, Path | None]
NO_INPUTS: Inputs = {}

OLD_S = 24 * 3600.0
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}  # what the disk says, and nobody else


def require_place(path: Path, inputs: Inputs = NO_INPUTS) -> Path:
    """Where a file of this name would be written: what a link leads to.

    Args:
        path: The file.
        inputs: Files that it must not replace, by what they are, for the message.

    Raises:
        RawFileError: There is no such folder, or what is there is an input or no regular file (a device, a pipe, a folder).
    """
    try:
        place = path.resolve()
        if not place.parent.is_dir():
            raise RawFileError(f"{path}: the folder {path.parent} does not exist")
        if place.exists() and not place.is_file():
            raise RawFileError(f"{path}: is no regular file and cannot be replaced; name another output")
        for what, file in inputs.items():
            if file is not None and place.exists() and file.exists() and place.samefile(file):
                raise RawFileError(f"{path}: the output would replace {what}; name another output")
    except (OSError, RuntimeError) as error:  # a folder that may not be looked into, a circle of links
        raise _failure(path, error) from error
    return place


def require_replaceable(path: Path, ours: Callable[[Path], bool]) -> None:
    """Raise RawFileError where a file is in the way that somebody may miss.

    Args:
        path: Where a file is to be written.
        ours: Whether the file that is there is one that can be made again, of the kind that will be written.
    """
    if path.is_file() and not ours(path):
        raise RawFileError(f"{path}: another file is there; name another output, or say --force")


def require_own_folder(folder: Path, marks: Iterable[str]) -> None:
    """Raise RawFileError where a folder holds other things than ours.

    Args:
        folder: Where many files are to be written; it need not be there yet.
        marks: Names of which one is in every folder that was written to before.
    """
    if folder.is_dir() and not any((folder / mark).exists() for mark in marks):
        for stranger in sorted(found.name for found in folder.iterdir() if not found.name.endswith(".part")):
            raise RawFileError(f"{folder}: holds {stranger}, which is not of this command; name another folder, or say --force")


def require_folder(folder: Path) -> None:
    """Raise RawFileError where no files can be written to a folder, which need not be there yet."""
    try:
        place = folder.resolve()
        while not place.exists():
            place = place.parent
    except (OSError, RuntimeError) as error:
        raise _failure(folder, error) from error
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise RawFileError(f"{folder}: cannot be written: {place} is no folder that takes files")


def make_folder(folder: Path) -> None:
    """Make a folder, unless it is there. Raises RawFileError."""
    require_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _failure(folder, error) from error


@contextmanager
def written(path: Path, inputs: Inputs = NO_INPUTS) -> Iterator[Path]:
    """The name under which to write a file: its own, in a folder beside it that is gone in the end.

    Where the block ends well, what is in that folder moves to where the file belongs, the file itself last. Else nothing is left.

    Args:
        path: The file; an existing one is replaced.
        inputs: See :func:`require_place`.

    Raises:
        RawFileError: As :func:`require_place`, or it cannot be written, the disk being full for one.
    """
    place = require_place(path, inputs)
    try:
        clear_parts(place)
        owner = f"{socket.gethostname()}.{os.getpid()}"
        folder = TemporaryDirectory(prefix=f".{place.name[:100]}.{owner}.", suffix=".part", dir=place.parent)
    except OSError as error:
        raise _failure(path, error) from error
    with folder as name:
        try:
            yield Path(name, place.name)
        except OSError as error:
            if error.errno in FULL:
                raise _failure(path, error) from error
            raise
        parts = sorted(Path(name).iterdir(), key=lambda part: part.name == place.name)
        places = [require_place(place.parent / part.name, inputs) for part in parts]
        try:
            for part in parts:
                _settle(part)
            for part, final in zip(parts, places, strict=True):
                os.replace(part, final)
        except OSError as error:
            raise _failure(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file, see :func:`~untrained_recon.text.printable.legible`. Raises RawFileError as :func:`written`."""
    with written(path) as part:
        part.write_text(legible(text), encoding="utf-8")


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a ``.npy`` file. Raises RawFileError as :func:`written`."""
    with written(path) as part:
        save_array(part, array)


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a ``.npy`` file where it is; ``numpy.save`` itself would not say why it failed."""
    content = io.BytesIO()
    np.save(content, array)
    path.write_bytes(content.getbuffer())


class HDF5Output(io.FileIO):
    """A new file for ``h5py`` to write to, which does not survive a failed write: closing its file crashes the process.

    What cannot be written is kept in memory, so that HDF5 finds it there and ends in the belief that all is well. A context
    manager; leaving it raises the failure. Writers :meth:`check` now and then, as there is no use in going on.

    Args:
        path: The file; an existing one is overwritten.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._failure: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []  # place and content, in the order in which they came

    def check(self) -> None:
        """Raise the OSError with which writing failed, if it did."""
        if self._failure is not None:
            raise self._failure

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        self.check()

    def write(self, data: Any) -> int:
        """As :meth:`io.FileIO.write`, all of it, and without complaint."""
        view = memoryview(data).cast("B")
        length = len(view)
        try:
            while view and self._failure is None:
                view = view[super().write(view) :]
        except OSError as error:
            self._failure = error
        if view:
            self._kept.append((self.tell(), bytes(view)))
            self.seek(len(view), os.SEEK_CUR)
        return length

    def readinto(self, buffer: Any) -> int:
        """As :meth:`io.FileIO.readinto`; what was kept is there, and zeros where nothing was ever written."""
        view = memoryview(buffer).cast("B")
        start = self.tell()
        found = super().readinto(view) or 0
        if self._failure is None:
            return found
        view[found:] = bytes(len(view) - found)
        for place, content in self._kept:
            low, high = max(start, place), min(start + len(view), place + len(content))
            if low < high:
                view[low - start : high - start] = content[low - place : high - place]
        self.seek(start + len(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """As :meth:`io.FileIO.truncate`, without complaint."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._failure = self._failure or error
            return self.tell() if size is None else size


def clear_parts(path: Path) -> None:
    """Remove what runs that were killed have left of a file: of processes that are gone, or, on other machines, old."""
    name = path.name[:100]
    for part in path.parent.glob(f".{glob.escape(name)}.*.part"):
        with contextlib.suppress(ValueError, OSError):  # another's file, or gone meanwhile
            host, number = part.name.removeprefix(f".{name}.").rsplit(".", 3)[:2]
            if not _runs(int(number)) if host == socket.gethostname() else time.time() - part.stat().st_mtime > OLD_S:
                shutil.rmtree(part)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _settle(part: Path) -> None:
    """Wait until a file is on the disk: some find out only then that there is no room."""
    with part.open("rb") as file:
        os.fsync(file.fileno())


def _failure(path: Path, error: Exception) -> RawFileError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return RawFileError(f"{path}: cannot be written: {reason}")
