"""Open k-space of any format that is known."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py

from untrained_recon.errors import RawFileError, ReconError
from untrained_recon.files.arrays import open_cfl, open_npy
from untrained_recon.files.fastmri import FastMriVolume
from untrained_recon.files.maskfile import mask_beside, read_mask
from untrained_recon.files.rawscan import RawVolume
from untrained_recon.files.scan_group import GROUP, raw_groups
from untrained_recon.files.support import SupportedVolume
from untrained_recon.files.volume import Volume

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reader:
    """A format that is read.

    Attributes:
        ending: Of the names of its files.
        open: Opens a file: its path, whether lines may be missing, and the group of the scan in it, empty for the usual one.
        arrays: Whether its files hold arrays, and a mask may say which lines were acquired; readouts say so themselves.
        mark: What tells its files from others with the ending ``.h5``.
        marked: Whether an HDF5 file has the mark.
    """

    ending: str
    open: Callable[[Path, bool, str], Volume]
    arrays: bool = True
    mark: str = ""
    marked: Callable[[h5py.File], bool] = lambda _: False


READERS = (
    Reader(
        ".h5",
        lambda path, allow_undersampled, _: FastMriVolume(path, allow_undersampled),
        mark="a dataset 'kspace' (fastMRI)",
        marked=lambda file: "kspace" in file,
    ),
    Reader(
        ".h5",
        RawVolume,
        arrays=False,
        mark=f"a group {GROUP!r} (ISMRMRD)",
        marked=lambda file: GROUP in file or bool(raw_groups(file)),
    ),
    Reader(".npy", lambda path, *_: open_npy(path)),
    Reader(".cfl", lambda path, *_: open_cfl(path)),
)
"""Every format; of those that share an ending the first that knows a file reads it."""

ENDINGS = tuple(dict.fromkeys(reader.ending for reader in READERS))


def open_volume(path: Path, allow_undersampled: bool = False, mask: Path | None = None, group: str = "") -> Volume:
    """Open k-space: fastMRI ``.h5``, ISMRMRD raw ``.h5``, ``.npy``, BART ``.cfl``.

    Which lines of an array or a fastMRI file were acquired is said by a mask that lies beside it or is given.

    Args:
        path: The file.
        allow_undersampled: Take files in which lines are missing; ``volume.lines`` tells which are there.
        mask: File with a mask of lines, see :func:`untrained_recon.files.maskfile.read_mask`; by default ``NAME.mask.npy``, if
            there is one.
        group: Group of an ISMRMRD file, see :class:`~untrained_recon.files.raw.RawFile`.

    Raises:
        RawFileError: The file is absent, damaged, of another kind, or undersampled; or the mask does not go with it.
        ReconError: An ISMRMRD file is not as it should be; the subclasses say how.
    """
    try:
        reader = _reader(path)
        if mask is not None and not reader.arrays:
            raise RawFileError(f"{path}: an ISMRMRD file says itself which lines were acquired; it takes no mask")
        volume = reader.open(path, allow_undersampled, group)
        try:
            _state_lines(volume, allow_undersampled, mask)
        except Exception:
            volume.close()
            raise
    except ReconError:
        raise
    except Exception as error:  # what NumPy and HDF5 raise over damaged bytes is many and not theirs to promise
        raise RawFileError(f"{path}: damaged, {type(error).__name__}: {error}") from error
    return volume


def holds_arrays(path: Path) -> bool:
    """Whether a file holds k-space as an array, not as a scanner's readouts."""
    try:
        return _reader(path).arrays
    except Exception:  # of the many that damaged bytes raise; whoever opens it will say so
        return False


def find_volumes(folder: Path) -> list[Path]:
    """The files of a folder that hold fully sampled k-space, sorted by name; why others are left out is logged.

    Raises:
        RawFileError: There is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise RawFileError(f"{folder}: there is no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS and _can_be_read(path))
    if not found:
        raise RawFileError(f"{folder}: no file with fully sampled k-space ({', '.join(ENDINGS)})")
    return found


def _can_be_read(path: Path) -> bool:
    try:
        with open_volume(path) as volume:
            if volume.header is None:  # which would say what was acquired
                volume.lines(len(volume) // 2)
    except ReconError as error:
        logger.warning("left out: %s", error)
        return False
    return True


def _state_lines(volume: Volume, allow_undersampled: bool, given: Path | None) -> None:
    """Apply the mask, if there is one."""
    if not isinstance(volume, SupportedVolume):
        return
    path = given or mask_beside(volume.path)
    if given is not None or path.exists():
        volume.apply(read_mask(path, len(volume), volume.shape[1:]), f"its mask is {path}", allow_undersampled)


def _reader(path: Path) -> Reader:
    """The format of a file: by its ending, else by its being HDF5. Raises RawFileError, and what HDF5 raises."""
    ending = ".h5" if path.suffix not in ENDINGS and h5py.is_hdf5(path) else path.suffix
    readers = [reader for reader in READERS if reader.ending == ending]
    if not readers:
        raise RawFileError(f"{path}: k-space files end with {', '.join(ENDINGS)}")
    if ending != ".h5":
        return readers[0]
    try:
        with h5py.File(path, "r") as file:
            found = [reader for reader in readers if reader.marked(file)]
    except OSError as error:
        raise RawFileError(f"{path}: cannot be read as HDF5: {error}") from error
    if not found:
        raise RawFileError(f"{path}: neither {' nor '.join(reader.mark for reader in readers)}")
    return found[0]
