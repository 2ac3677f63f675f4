"""The readouts of an image → its k-space on the grid."""

import logging
from typing import Any

import ismrmrd
import numpy as np

from untrained_recon.cautions import Caution
from untrained_recon.centred import fft, ifft, resize
from untrained_recon.config import ScanConfig
from untrained_recon.encoding import Encoding, ImageIndex, TimeRanges
from untrained_recon.errors import NonFiniteError
from untrained_recon.scan.columns import Columns
from untrained_recon.scan.extent import acquired
from untrained_recon.scan.noise import NoiseScan
from untrained_recon.scan.readout import Readout, is_calibration_only, stamps_of
from untrained_recon.scan.spikes import require_no_spike
from untrained_recon.types import ComplexArray, CountArray, FloatArray, KSpace

logger = logging.getLogger(__name__)

Samples = tuple[ComplexArray, CountArray]
"""k-space, and of how many acquisitions each sample is the mean."""


class Lines:
    """Readouts of one image.

    Attributes:
        readouts: In the order in which they came.
        averages: Values of their ``average`` counter.
        imaging: Whether one of them does more than calibrate.
        reference: Header of the one nearest to the centre of k-space, whatever it is for; of several, of the lowest partition and
            line, and of the first average, as Gadgetron chooses.
        stamps: Time stamps of those that are not for calibration alone.
    """

    def __init__(self) -> None:
        self.readouts: list[Readout] = []
        self.averages: set[int] = set()
        self.imaging = False
        self.reference = ismrmrd.AcquisitionHeader()
        self.stamps: list[tuple[int, ...]] = []
        self._nearest = (float("inf"), 0, 0)

    def add(self, readout: Readout, acq: ismrmrd.Acquisition, encoding: Encoding) -> None:
        """Take a readout and the acquisition that it comes from."""
        away_y, away_z = readout.line - encoding.encoded_shape[0] // 2, readout.partition - encoding.partitions // 2
        if (near := (float(np.hypot(away_y, away_z)), readout.partition, readout.line)) < self._nearest:
            self._nearest, self.reference = near, acq.getHead()
        self.readouts.append(readout)
        self.averages.add(acq.idx.average)
        if not is_calibration_only(acq):
            self.imaging = True
            self.stamps.append(stamps_of(acq))


def gridded(
    readouts: list[Readout], encoding: Encoding, columns: Columns, noise: NoiseScan | None = None, dwell_us: float = 0.0
) -> Samples:
    """Readouts on the grid of the image (see :func:`to_grid`), prewhitened after a noise scan.

    Raises:
        EncodingError: A readout is longer than the grid that the scan's were found to lie on.
        NoiseError: The noise scan is unusable.
        NonFiniteError: The samples overflow.
        SpikeError: One sample outshines all others.
    """
    require_no_spike(readouts, encoding, columns.grid)
    with np.errstate(over="ignore", invalid="ignore"):  # checked below
        ksp, counts = to_grid(columns.placed(readouts), encoding, columns.grid)
        ksp = noise.prewhiten(ksp, dwell_us) if noise else ksp
    if not np.isfinite(ksp).all():
        raise NonFiniteError("the samples of an image are so large that they overflow; check the receive chain")
    return ksp, counts


def kspace(
    index: ImageIndex,
    encoding: Encoding,
    reference: Any,
    samples: Samples,
    calibration: Samples | None,
    prewhitened: bool,
    times: TimeRanges,
    settings: ScanConfig,
    cautions: tuple[Caution, ...] = (),
    notes: tuple[str, ...] = (),
) -> KSpace:
    """The k-space of one image, as far as it was acquired (see :mod:`untrained_recon.scan.extent`).

    Args:
        index: Which image.
        encoding: Its encoding space.
        reference: Acquisition header of the readout nearest to the centre of k-space.
        samples: Its samples on the grid, and of how many acquisitions each is the mean.
        calibration: The same of the readouts that calibrate; without, the image's own centre does.
        prewhitened: Whether a noise scan was applied.
        times: When its imaging readouts were acquired.
        settings: How much of k-space is to be filled.
        cautions: What is doubtful about the samples.
        notes: What the header left open.
    """
    encoding, counts, cut, note = acquired(encoding, samples[1], settings.fill == "acquired")
    ksp = cut(samples[0])
    mask = counts > 0
    calib, calib_mask = (ksp, mask) if calibration is None else (cut(calibration[0]), cut(calibration[1]) > 0)
    logger.debug("%s: %d of %d samples, %d coils", index, mask.sum(), mask.size, len(ksp))
    return KSpace(
        ksp=ksp,
        mask=mask,
        calib=calib,
        calib_mask=calib_mask,
        index=index,
        encoding=encoding,
        reference=reference,
        prewhitened=prewhitened,
        weights=_weights(counts),
        averages=float(counts[mask].mean()),
        times=times,
        cautions=cautions,
        notes=(*notes, note) if note else notes,
    )


def _weights(counts: CountArray) -> FloatArray | None:
    acquired = counts[counts > 0]
    if acquired.min() == acquired.max():
        return None
    weights: FloatArray = np.sqrt(counts / acquired.mean()).astype(np.float32)
    return weights


def to_grid(readouts: list[Readout], encoding: Encoding, grid: int) -> tuple[ComplexArray, CountArray]:
    """Put readouts on the grid of the image: repeated samples averaged, readout oversampling removed.

    Each sample is the plain mean of its acquisitions, the estimate of least variance where their noise is the same.

    Args:
        readouts: At least one; all of the same coils.
        encoding: Gives the shapes.
        grid: Columns of the grid that the readouts' samples lie on, see :mod:`untrained_recon.scan.columns`.

    Returns:
        complex64 ``(n_coils, n_y, n_x)`` and int32 ``(n_y, n_x)``, the number of acquisitions of each sample; with ``n_z`` before
        ``n_y`` for 3-D scans.
    """
    n_y, n_x = encoding.image_shape
    ksp = np.zeros((len(readouts[0].data), encoding.partitions, n_y, grid), np.complex64)
    counts = np.zeros((encoding.partitions, n_y, grid), np.int32)
    for r in readouts:
        start = grid // 2 - r.center
        columns = slice(start, start + r.data.shape[1])
        ksp[:, r.partition, r.line, columns] += r.data
        counts[r.partition, r.line, columns] += 1
    ksp /= np.maximum(counts, 1)
    if encoding.partitions == 1:
        ksp, counts = ksp[:, 0], counts[0]
    if grid == n_x:
        return ksp, counts
    return _crop_readout(ksp, counts, n_x)


def _crop_readout(ksp: ComplexArray, counts: CountArray, n_x: int) -> tuple[ComplexArray, CountArray]:
    """Remove readout oversampling: cut the middle of the image along x; a column counts as sampled if its source is."""
    grid = ksp.shape[-1]
    img = resize(ifft(ksp, axes=[-1]), (*ksp.shape[:-1], n_x))
    columns = np.rint((np.arange(n_x) - n_x // 2) * (grid / n_x)).astype(int) + grid // 2
    cropped = counts[..., np.clip(columns, 0, grid - 1)]
    return (fft(img, axes=[-1]) * (cropped > 0)).astype(np.complex64), cropped
