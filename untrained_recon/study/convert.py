"""k-space from one file format to another: one reader (:func:`~untrained_recon.study.files.open_volume`), one writer each."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from untrained_recon.errors import ConfigError, RawFileError
from untrained_recon.masks import Sampling
from untrained_recon.study.arrays import write_cfl, write_npy
from untrained_recon.study.fastmri import write_fastmri
from untrained_recon.study.files import open_volume
from untrained_recon.study.rawscan import write_raw

Format = Literal["raw", "fastmri", "npy", "cfl"]
FORMATS: dict[str, Format] = {".h5": "raw", ".npy": "npy", ".cfl": "cfl"}
WRITERS = {"raw": write_raw, "fastmri": write_fastmri, "npy": write_npy, "cfl": write_cfl}


def convert(source: Path, target: Path, form: Format | None = None, sampling: Sampling | None = None, group: str = "") -> int:
    """Write the k-space of ``source`` to ``target``, with the same values.

    What comes out of an ISMRMRD file is what :class:`untrained_recon.study.rawscan.RawVolume` reads: without readout
    oversampling, prewhitened where there is a noise scan.

    Args:
        source: Fully sampled k-space in any format.
        target: File to write; it appears only when it is complete. An existing one is replaced.
        form: Its format; by default what the ending says, ``.h5`` being ISMRMRD raw data.
        sampling: Leave lines out; for ISMRMRD raw data only.
        group: Group of an ISMRMRD ``source``.

    Returns:
        How many images were written.

    Raises:
        RawFileError: ``source`` cannot be read, or ``target`` cannot be written there.
        ConfigError: The ending or the sampling does not go with the format.
    """
    form = form or FORMATS.get(target.suffix)
    if form is None or FORMATS.get(target.suffix, form) != ("raw" if form == "fastmri" else form):
        raise ConfigError(f"{target}: the name must end with .h5 (raw, fastmri), .npy or .cfl, as the format does")
    write = WRITERS[form]
    if sampling is not None:
        if form != "raw":
            raise ConfigError(f"{target}: only ISMRMRD raw data (.h5) say which lines were sampled; leave out the acceleration")
        write = partial(write_raw, sampling=sampling)
    with open_volume(source, group=group) as volume, _workplace(source, target) as part:
        write(volume, part)
        return len(volume)


@contextmanager
def _workplace(source: Path, target: Path) -> Iterator[Path]:
    """The target's name in a folder beside it; whatever is there in the end moves to its place, ``.cfl`` before ``.hdr``."""
    if not target.parent.is_dir():
        raise RawFileError(f"{target}: the folder {target.parent} does not exist")
    if target.exists() and target.samefile(source):
        raise RawFileError(f"{target}: the output would replace the input")
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".part", dir=target.parent) as folder:
        yield Path(folder) / target.name
        for part in sorted(Path(folder).iterdir()):
            os.replace(part, target.parent / part.name)
