"""Acquisitions → the k-space of one image after the other."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import ismrmrd
import numpy as np

from untrained_recon.completion import Completion
from untrained_recon.config import ScanConfig
from untrained_recon.errors import (
    AcquisitionError,
    ChannelCountError,
    EncodingError,
    LateAcquisitionError,
    NoImagingDataError,
    NoiseError,
    NonFiniteError,
)
from untrained_recon.lines import Lines
from untrained_recon.noise import NoiseScan
from untrained_recon.readout import (
    Readout,
    describe,
    is_calibration,
    is_calibration_only,
    is_compressed,
    is_noise,
    is_object_line,
    place,
    to_grid,
)
from untrained_recon.scope import Scope
from untrained_recon.types import ComplexArray, CountArray, Encoding, FloatArray, Header, ImageIndex, KSpace, TimeRanges

logger = logging.getLogger(__name__)

Samples = tuple[ComplexArray, CountArray]


def assemble(batches: Iterable[Iterable[ismrmrd.Acquisition]], header: Header, settings: ScanConfig) -> Iterator[KSpace]:
    """Sort acquisitions by image and yield each image's k-space as soon as it is complete.

    An image is complete after the batch that holds its ACQ_LAST_IN_SLICE or ACQ_LAST_IN_REPETITION; at the end of the stream
    whatever is left follows in the order in which it began. Images wait for the end of the stream where the separate calibration
    scan of their slice has not come yet, and where undersampling is interleaved over repetitions (TPAT), as the mean over all of
    them calibrates.

    Args:
        batches: Acquisitions as they arrive: one by one, or in groups whose inner order means nothing.
        header: The scan's header.
        settings: When to send, and whether averages are averaged.

    Raises:
        AcquisitionError: A readout does not fit the scan (its subclasses say how).
        IncompleteScanError: The stream ended in the middle of an image, see :mod:`untrained_recon.completion`; after the images
            that are complete.
        NoImagingDataError: The stream held no imaging readout.
        NoiseError: The noise scan is unusable.
        UnsupportedScanError: The readouts are of a kind that is not reconstructed.
    """
    assembler = Assembler(header, settings)
    for batch in batches:
        completed = dict.fromkeys(index for acq in batch for index in assembler.add(acq))
        for index in completed:
            yield assembler.close(index)
    for index in assembler.remaining():
        yield assembler.close(index)
    assembler.end()


def gridded(readouts: list[Readout], encoding: Encoding, noise: NoiseScan | None = None, dwell_us: float = 0.0) -> Samples:
    """Readouts on the grid of the image (see :func:`untrained_recon.readout.to_grid`), prewhitened where there is a noise scan.

    Raises:
        NoiseError: The noise scan is unusable.
        NonFiniteError: The samples overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # checked below
        ksp, counts = to_grid(readouts, encoding)
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
) -> KSpace:
    """The k-space of one image.

    Args:
        index: Which image.
        encoding: Its encoding space.
        reference: Acquisition header of the readout nearest to the centre of k-space.
        samples: Its samples on the grid, and of how many acquisitions each is the mean.
        calibration: The same of the readouts that calibrate; without, the image's own centre does.
        prewhitened: Whether a noise scan was applied.
        times: When its imaging readouts were acquired.
    """
    ksp, counts = samples
    calib, calib_counts = samples if calibration is None else calibration
    mask = counts > 0
    logger.debug("%s: %d of %d samples, %d coils", index, mask.sum(), mask.size, len(ksp))
    return KSpace(
        ksp=ksp,
        mask=mask,
        calib=calib,
        calib_mask=mask if calibration is None else calib_counts > 0,
        index=index,
        encoding=encoding,
        reference=reference,
        prewhitened=prewhitened,
        weights=_weights(counts),
        averages=float(counts[mask].mean()),
        times=times,
    )


def _weights(counts: CountArray) -> FloatArray | None:
    acquired = counts[counts > 0]
    if acquired.min() == acquired.max():
        return None
    weights: FloatArray = np.sqrt(counts / acquired.mean()).astype(np.float32)
    return weights


def image_index(acq: Any, settings: ScanConfig) -> ImageIndex:
    """The image that a readout (or its header) belongs to; segments share one, and averages unless they are kept apart."""
    idx = acq.idx
    average = 0 if settings.average else idx.average
    return ImageIndex(acq.encoding_space_ref, average, idx.slice, idx.contrast, idx.phase, idx.repetition, idx.set)


def calibration_key(index: ImageIndex, encoding: Encoding) -> ImageIndex:
    """What images that are calibrated by the same readouts have in common."""
    if encoding.separate_calibration:
        return ImageIndex(index.encoding, 0, index.slice, 0, 0, 0, 0)
    return index._replace(**{encoding.interleaved: 0}) if encoding.interleaved else index


def is_imaging(acq: ismrmrd.Acquisition, header: Header) -> bool:
    """Whether a readout contributes to an image: a Cartesian line that is not part of a separate calibration scan."""
    if not is_object_line(acq):
        return False
    return not (is_calibration_only(acq) and encoding_of(acq, header).separate_calibration)


def encoding_of(acq: ismrmrd.Acquisition, header: Header) -> Encoding:
    """The encoding space of a readout. Raises EncodingError when the header has no such space."""
    if acq.encoding_space_ref >= len(header.encodings):
        raise EncodingError(
            f"{describe(acq)} refers to encoding space {acq.encoding_space_ref}; the header has {len(header.encodings)}"
        )
    return header.encodings[acq.encoding_space_ref]


class Assembler:
    """State of one scan: see :func:`assemble`."""

    def __init__(self, header: Header, settings: ScanConfig) -> None:
        self._header = header
        self._settings = settings
        self._scope = Scope(header)
        self._completion = Completion(header, settings)
        self._noise = NoiseScan(header.noise_bandwidth)
        self._open: dict[ImageIndex, Lines] = {}
        self._done: set[ImageIndex] = set()
        self._calibration: dict[ImageIndex, Lines] = {}  # by calibration_key
        self._calibrated: dict[ImageIndex, Samples] = {}
        self._n_coils: int | None = None
        self._skipped = 0

    def add(self, acq: ismrmrd.Acquisition) -> list[ImageIndex]:
        """Take one acquisition; return the images that can be closed now."""
        if is_compressed(acq):
            raise AcquisitionError(
                f"{describe(acq)} is still compressed; its chain needs the reader GadgetIsmrmrdAcquisitionMessageReader of "
                "gadgetron_mricore, or a client without -P and -T"
            )
        if is_noise(acq):
            if self._done:
                raise NoiseError(
                    f"{describe(acq)} is noise, but images were sent already; set scan.flush to close for this sequence"
                )
            self._noise.add(acq.data, acq.sample_time_us)
            return []
        self._scope.check(acq)
        if not is_object_line(acq):
            self._skipped += 1
            return []
        encoding = encoding_of(acq, self._header)
        self._check_coils(acq)
        readout, index = place(acq, encoding), image_index(acq, self._settings)
        if encoding.interleaved or (encoding.separate_calibration and is_calibration(acq)):
            self._calibration.setdefault(calibration_key(index, encoding), Lines()).add(readout, acq, encoding)
        if not is_imaging(acq, self._header):
            return []
        if index in self._done:
            raise LateAcquisitionError(
                f"{describe(acq)} belongs to an image that was sent at LAST_IN_SLICE ({index}); "
                "set scan.flush to close for this sequence"
            )
        self._open.setdefault(index, Lines()).add(readout, acq, encoding)
        return [i for i in self._completion.add(acq, index) if i in self._open and self._may_leave(i)]

    def remaining(self) -> list[ImageIndex]:
        """The images that have not left and are complete. Raises NoImagingDataError when there never was any."""
        if not self._noise:
            logger.info("no noise scan came: the data are taken as they are, whitened upstream or not at all")
        if not self._open and not self._done:
            raise NoImagingDataError(
                f"the scan ended without imaging readouts ({self._skipped} of other kinds, noise scan: {bool(self._noise)})"
            )
        incomplete = self._completion.incomplete()
        return [index for index in self._open if index not in incomplete]

    def end(self) -> None:
        """Raise IncompleteScanError when the scan ended in the middle of an image."""
        self._completion.check()

    def close(self, index: ImageIndex) -> KSpace:
        """Hand out the k-space of an image and forget its readouts."""
        lines = self._open.pop(index)
        self._done.add(index)
        encoding = self._header.encodings[index.encoding]
        samples = gridded(lines.readouts, encoding, self._noise, lines.reference.sample_time_us)
        times = TimeRanges.of(lines.stamps)
        return kspace(index, encoding, lines.reference, samples, self._calibration_of(index), bool(self._noise), times)

    def _calibration_of(self, index: ImageIndex) -> Samples | None:
        encoding = self._header.encodings[index.encoding]
        key = calibration_key(index, encoding)
        if key in self._calibration and key not in self._calibrated:
            lines = self._calibration[key]
            self._calibrated[key] = gridded(lines.readouts, encoding, self._noise, lines.reference.sample_time_us)
        return self._calibrated.get(key)

    def _may_leave(self, index: ImageIndex) -> bool:
        """Whether an image need not wait for the end of the stream."""
        encoding = self._header.encodings[index.encoding]
        if self._settings.flush == "close" or encoding.interleaved:
            return False
        return not encoding.separate_calibration or calibration_key(index, encoding) in self._calibration

    def _check_coils(self, acq: ismrmrd.Acquisition) -> None:
        n_coils = acq.active_channels
        if self._n_coils is None:
            self._n_coils = n_coils
        if n_coils != self._n_coils or n_coils == 0:
            raise ChannelCountError(f"{describe(acq)} has {n_coils} channels, the scan began with {self._n_coils}")
