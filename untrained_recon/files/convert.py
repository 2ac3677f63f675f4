"""k-space from one file format to another: one reader (:func:`~untrained_recon.files.open.open_volume`), one writer each."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from untrained_recon.errors import ConfigError, RawFileError
from untrained_recon.files.arrays import write_cfl, write_npy
from untrained_recon.files.fastmri import write_fastmri
from untrained_recon.files.maskfile import mask_beside
from untrained_recon.files.open import holds_arrays, open_volume
from untrained_recon.files.rawscan import write_raw
from untrained_recon.files.volume import Volume
from untrained_recon.masks import Sampling
from untrained_recon.output import save_array, written

logger = logging.getLogger(__name__)

Format = Literal["raw", "fastmri", "npy", "cfl"]


@dataclass(frozen=True)
class Writer:
    """A format that is written.

    Attributes:
        ending: Of the names of its files; of several formats with the same the first is the usual one.
        write: Writes a volume to a path.
        states_lines: Whether its files say which lines were acquired; beside others lies a mask.
    """

    ending: str
    write: Callable[[Volume, Path], None]
    states_lines: bool = True


WRITERS: dict[Format, Writer] = {
    "raw": Writer(".h5", write_raw),
    "fastmri": Writer(".h5", write_fastmri),
    "npy": Writer(".npy", write_npy, states_lines=False),
    "cfl": Writer(".cfl", write_cfl, states_lines=False),
}
"""Every format by its name."""


def convert(
    source: Path,
    target: Path,
    form: Format | None = None,
    sampling: Sampling | None = None,
    mask: Path | None = None,
    group: str = "",
) -> int:
    """Write the k-space of ``source`` to ``target``, with the same values.

    What comes out of an ISMRMRD file is what :class:`untrained_recon.files.rawscan.RawVolume` reads: without readout
    oversampling, prewhitened where there is a noise scan. Lines that were not acquired are left out of raw data; beside arrays a
    mask, ``NAME.mask.npy``, tells them.

    Args:
        source: k-space in any format. Only for raw data, and only from arrays and fastMRI files, it may be undersampled.
        target: File to write; it appears only when it is complete. An existing one is replaced.
        form: Its format; by default what the ending says, ``.h5`` being ISMRMRD raw data.
        sampling: Leave lines out; for ISMRMRD raw data only.
        group: Group of an ISMRMRD ``source``.
        mask: Which lines were acquired, see :func:`untrained_recon.files.open.open_volume`.

    Returns:
        How many images were written.

    Raises:
        RawFileError: ``source`` cannot be read, or ``target`` cannot be written there.
        ConfigError: The ending or the sampling does not go with the format.
    """
    endings = {name: writer.ending for name, writer in WRITERS.items()}
    form = form or next((name for name, ending in endings.items() if ending == target.suffix), None)
    if form is None or (target.suffix in endings.values() and target.suffix != endings[form]):
        known = ", ".join(f"{ending} ({name})" for name, ending in endings.items())
        raise ConfigError(f"{target}: the name must end with {known}, as the format does")
    write = WRITERS[form].write
    if sampling is not None:
        if form != "raw":
            raise ConfigError(f"{target}: only ISMRMRD raw data (.h5) say which lines were sampled; leave out the acceleration")
        write = partial(write_raw, sampling=sampling)
    undersampled = form == "raw" and sampling is None and holds_arrays(source)
    inputs = {"the input": source, "the input's header": source.with_suffix(".hdr"), "the mask": mask or mask_beside(source)}
    with open_volume(source, undersampled, mask, group) as volume, written(target, inputs) as part:
        write(volume, part)
        if not WRITERS[form].states_lines:
            _write_mask(volume, part, target)
        return len(volume)


@contextmanager
def as_raw(path: Path, mask: Path | None = None) -> Iterator[Path]:
    """Raw data of a file of any format that is read here: the file itself, or as long as the context lasts a converted copy.

    Raises:
        RawFileError: As :func:`convert`.
    """
    if mask is None and not holds_arrays(path):
        yield path
        return
    with TemporaryDirectory(prefix="untrained-recon-") as folder:
        raw = Path(folder) / f"{path.stem}.h5"
        images = convert(path, raw, "raw", mask=mask)
        logger.info("%s is no raw data but k-space of %d images, which become slices", path, images)
        yield raw


def _write_mask(volume: Volume, part: Path, target: Path) -> None:
    """What an array does not say: which of its lines were acquired, unless all were."""
    lines = np.stack([volume.lines(item) for item in range(len(volume))])
    if not lines.all():
        save_array(mask_beside(part), lines[0] if (lines == lines[0]).all() else lines)
    elif mask_beside(target).exists():
        raise RawFileError(f"{target}: {mask_beside(target)} would be taken for its mask, but all lines are there; remove it first")
