"""Undersample fully sampled k-space."""

import ismrmrd
import numpy as np

from untrained_recon.encoding import ImageIndex
from untrained_recon.errors import RawFileError
from untrained_recon.files.volume import Volume
from untrained_recon.types import BoolArray, ComplexArray, KSpace


def sample(ksp: ComplexArray, lines: BoolArray, volume: Volume, item: int) -> KSpace:
    """What the scanner would have acquired with fewer lines; the centre that is left calibrates.

    Args:
        ksp: ``volume[item]``, complex64 ``(n_coils, n_y, n_x)``.
        lines: bool ``(n_y,)``, the lines to keep, see :class:`untrained_recon.masks.Sampling`. Those that were not acquired do not
            count as sampled.
        volume: Where it comes from.
        item: Number of the image; becomes its slice counter.

    Raises:
        RawFileError: ``lines`` is for another matrix.
    """
    if lines.shape != ksp.shape[1:2]:
        raise RawFileError(f"{volume.path}: the mask has shape {lines.shape}, the k-space {ksp.shape[1]} lines")
    kept = lines & volume.lines(item)
    sampled = ksp * kept[:, None]
    mask = np.repeat(kept[:, None], ksp.shape[2], axis=1)
    return KSpace(
        ksp=sampled,
        mask=mask,
        calib=sampled,
        calib_mask=mask,
        index=ImageIndex(0, 0, item, 0, 0, 0, 0),
        encoding=volume.encoding,
        reference=_reference(ksp, item),
        prewhitened=False,
    )


def _reference(ksp: ComplexArray, item: int) -> ismrmrd.AcquisitionHeader:
    """Header of a readout through the centre of k-space, along x, of an axial slice."""
    acq = ismrmrd.Acquisition.from_array(ksp[:, ksp.shape[1] // 2].copy())
    acq.center_sample = ksp.shape[2] // 2
    acq.idx.slice = item
    acq.read_dir[:] = (1.0, 0.0, 0.0)
    acq.phase_dir[:] = (0.0, 1.0, 0.0)
    acq.slice_dir[:] = (0.0, 0.0, 1.0)
    return acq.getHead()
