"""Open k-space of any format that is known."""

import logging
from pathlib import Path

import h5py

from untrained_recon.errors import RawFileError, ReconError
from untrained_recon.scan_group import GROUP, raw_groups
from untrained_recon.study.arrays import open_cfl, open_npy
from untrained_recon.study.fastmri import FastMriVolume
from untrained_recon.study.rawscan import RawVolume
from untrained_recon.study.volume import Volume

logger = logging.getLogger(__name__)

ENDINGS = (".h5", ".npy", ".cfl")


def open_volume(path: Path, allow_undersampled: bool = False, group: str = "") -> Volume:
    """Open k-space: fastMRI ``.h5``, ISMRMRD raw ``.h5``, ``.npy``, BART ``.cfl``.

    Args:
        path: The file.
        allow_undersampled: Take fastMRI and ISMRMRD files in which lines are missing; ``volume.lines`` tells which are there.
            Arrays are taken to be fully sampled: nothing in them tells.
        group: Group of an ISMRMRD file, see :class:`~untrained_recon.rawfile.RawFile`.

    Raises:
        RawFileError: The file is absent, damaged, of another kind, or undersampled.
        ReconError: An ISMRMRD file is not as it should be; the subclasses say how.
    """
    try:
        return _open(path, allow_undersampled, group)
    except ReconError:
        raise
    except Exception as error:  # what NumPy and HDF5 raise over damaged bytes is many and not theirs to promise
        raise RawFileError(f"{path}: damaged, {type(error).__name__}: {error}") from error


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
        open_volume(path).close()
    except ReconError as error:
        logger.warning("left out: %s", error)
        return False
    return True


def _open(path: Path, allow_undersampled: bool, group: str) -> Volume:
    if path.suffix == ".npy":
        return open_npy(path)
    if path.suffix == ".cfl":
        return open_cfl(path)
    if path.suffix != ".h5":
        raise RawFileError(f"{path}: k-space files end with {', '.join(ENDINGS)}")
    try:
        with h5py.File(path, "r") as f:
            found, scans = set(f), raw_groups(f)
    except OSError as error:
        raise RawFileError(f"{path}: cannot be read as HDF5: {error}") from error
    if "kspace" in found:
        return FastMriVolume(path, allow_undersampled)
    if GROUP in found or scans:
        return RawVolume(path, allow_undersampled, group)
    raise RawFileError(f"{path}: neither a dataset 'kspace' (fastMRI) nor a group {GROUP!r} (ISMRMRD)")
