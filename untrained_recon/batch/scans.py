"""Which files are scans, what each is called, and what tells whether it is still the same."""

import glob
import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from untrained_recon.errors import ConfigError, RawFileError
from untrained_recon.files.open import ENDINGS, READERS

logger = logging.getLogger(__name__)

PIECE = 1 << 22


@dataclass(frozen=True)
class Scan:
    """A file to be reconstructed.

    Attributes:
        name: What its outputs are called.
        path: The file, by its whole path.
    """

    name: str
    path: Path


@dataclass(frozen=True)
class FileState:
    """What a file was when it was read.

    Attributes:
        path: Its whole path.
        size: In bytes.
        mtime_ns: When it was last changed.
        digest: BLAKE2b of its content.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Of a file as it is. Raises OSError."""
        stat = path.stat()
        return cls(str(path), stat.st_size, stat.st_mtime_ns, digest(path))

    def still(self, path: Path) -> bool:
        """Whether a file is the same: its content, unless it has stayed where it was, unchanged by size and time."""
        try:
            stat = path.stat()
            if (str(path), stat.st_size, stat.st_mtime_ns) == (self.path, self.size, self.mtime_ns):
                return True
            return path.name == Path(self.path).name and stat.st_size == self.size and digest(path) == self.digest
        except OSError:
            return False


def find_scans(data: Iterable[str | Path], leave_out: Path | None = None) -> list[Scan]:
    """The scans of files, patterns (``data/**/*.h5``) and folders with all that is below them, sorted by their paths.

    A file that is named is a scan, whatever is in it. Of folders and patterns those files are, that hold k-space
    (:data:`untrained_recon.files.open.READERS`) or are too damaged to tell; the log says which others were left out. Masks
    beside k-space are none.

    Args:
        data: What is given.
        leave_out: A folder in which there are none: that of the results.

    Returns:
        Named after their files. Where several files have the same name, those are named by their paths from the folder that they
        have in common on, with ``_`` for ``/``.

    Raises:
        RawFileError: Something that was named is not there, or there is no scan at all.
        ConfigError: Two scans would have the same name.
    """
    given = list(data)
    paths = sorted({path.resolve() for item in given for path in _files(item)})
    if leave_out is not None:
        paths = [path for path in paths if not path.is_relative_to(leave_out.resolve())]
    if not paths:
        raise RawFileError(f"{', '.join(map(str, given))}: no file with k-space ({', '.join(ENDINGS)})")
    return _named(paths)


def inputs_of(path: Path) -> list[Path]:
    """The files that a scan is made of: itself, the other half of a ``.cfl``, a mask beside it."""
    beside = sorted(path.parent.glob(f"{glob.escape(path.stem)}.mask.*"))
    header = [path.with_suffix(".hdr")] if path.suffix == ".cfl" else []
    return [path, *header, *beside]


def digest(path: Path) -> str:
    """BLAKE2b of a file's content, 32 hexadecimal digits. Raises OSError."""
    found = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def _files(item: str | Path) -> Iterator[Path]:
    path = Path(item)
    if path.is_dir():
        yield from _scans(found for found in path.rglob("*") if found.is_file())
    elif path.exists():
        if not _is_beside(path):
            yield path
    elif glob.has_magic(str(item)):
        found = [Path(name) for name in glob.glob(str(item), recursive=True)]
        if not found:
            raise RawFileError(f"{item}: no file has such a name")
        yield from _scans(each for each in found if each.is_file())
    else:
        raise RawFileError(f"{item}: there is no such file or folder")


def _scans(paths: Iterable[Path]) -> Iterator[Path]:
    others = []
    for path in paths:
        if _is_scan(path):
            yield path
        elif path.suffix in ENDINGS and not _is_beside(path):
            others.append(path.name)
    if others:
        logger.info("left out, as they hold no k-space: %d files (%s)", len(others), ", ".join(sorted(others)[:3]))


def _is_scan(path: Path) -> bool:
    """Whether a file holds k-space, or has the name of one that does and cannot be read."""
    if _is_beside(path) or path.name.startswith("."):
        return False
    try:
        if path.suffix == ".npy":
            return bool(np.load(path, mmap_mode="r").dtype.kind == "c")
        if path.suffix == ".h5" or (path.suffix not in ENDINGS and h5py.is_hdf5(path)):
            with h5py.File(path, "r") as file:
                return any(reader.marked(file) for reader in READERS)
    except Exception:  # of the many that damaged bytes raise; whoever reconstructs it will say so
        return True
    return path.suffix in ENDINGS


def _is_beside(path: Path) -> bool:
    return path.stem.endswith(".mask") or (path.suffix == ".hdr" and path.with_suffix(".cfl").exists())


def _named(paths: Sequence[Path]) -> list[Scan]:
    stems = Counter(path.stem for path in paths)
    common = _common(paths)
    names = [p.stem if stems[p.stem] == 1 else "_".join(p.relative_to(common).parts) for p in paths]
    if double := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError(f"results are kept by names, and several scans would be called {', '.join(double)}; rename them")
    return [Scan(name, path) for name, path in zip(names, paths, strict=True)]


def _common(paths: Sequence[Path]) -> Path:
    common = paths[0].parent
    while not all(path.is_relative_to(common) for path in paths):
        common = common.parent
    return common
