"""Acquisitions → the k-space of one image after the other."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import ismrmrd
import numpy as np

from untrained_recon.config import ScanConfig
from untrained_recon.errors import (
    AcquisitionError,
    ChannelCountError,
    EncodingError,
    LateAcquisitionError,
    NoImagingDataError,
    NoiseError,
    NonFiniteError,
    UnsupportedScanError,
)
from untrained_recon.noise import NoiseScan
from untrained_recon.readout import Readout, describe, is_calibration_only, is_noise, is_object_line, place, to_grid
from untrained_recon.types import BoolArray, ComplexArray, Encoding, Header, ImageIndex, KSpace

logger = logging.getLogger(__name__)


def assemble(batches: Iterable[Iterable[ismrmrd.Acquisition]], header: Header, settings: ScanConfig) -> Iterator[KSpace]:
    """Sort acquisitions by image and yield each image's k-space as soon as it is complete.

    An image is complete after the batch that holds its ACQ_LAST_IN_SLICE or ACQ_LAST_IN_REPETITION; at the end of the stream
    whatever is left follows in the order in which it began.

    Args:
        batches: Acquisitions as they arrive: one by one, or in groups whose inner order means nothing.
        header: The scan's header.
        settings: When to send.

    Raises:
        AcquisitionError: A readout does not fit the scan (its subclasses say how).
        NoImagingDataError: The stream held no imaging readout.
        NoiseError: The noise scan is unusable.
    """
    assembler = Assembler(header, settings)
    for batch in batches:
        completed = dict.fromkeys(index for acq in batch for index in assembler.add(acq))
        for index in completed:
            yield assembler.close(index)
    for index in assembler.remaining():
        yield assembler.close(index)


def kspace(
    index: ImageIndex,
    encoding: Encoding,
    reference: Any,
    readouts: list[Readout],
    calibration: list[Readout] | None = None,
    noise: NoiseScan | None = None,
) -> KSpace:
    """The k-space of one image from its readouts.

    Args:
        index: Which image.
        encoding: Its encoding space.
        reference: Acquisition header of the readout nearest to the centre of k-space.
        readouts: Lines of the image.
        calibration: Lines of a separate calibration scan; without, the image's own centre calibrates.
        noise: Prewhitens, where it holds a noise scan.

    Raises:
        NoiseError: The noise scan is unusable.
        NonFiniteError: The samples overflow.
    """

    def on_grid(lines: list[Readout]) -> tuple[ComplexArray, BoolArray]:
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            ksp, mask = to_grid(lines, encoding)
            ksp = noise.prewhiten(ksp, reference.sample_time_us) if noise else ksp
        if not np.isfinite(ksp).all():
            raise NonFiniteError(f"the samples of {index} are so large that they overflow; check the receive chain")
        return ksp, mask

    ksp, mask = on_grid(readouts)
    calib, calib_mask = on_grid(calibration) if calibration else (ksp, mask)
    logger.debug("%s: %d lines, %d coils", index, len(readouts), len(ksp))
    return KSpace(
        ksp=ksp,
        mask=mask,
        calib=calib,
        calib_mask=calib_mask,
        index=index,
        encoding=encoding,
        reference=reference,
        prewhitened=bool(noise),
    )


def image_index(acq: ismrmrd.Acquisition) -> ImageIndex:
    """The image that a readout belongs to; segments share one."""
    idx = acq.idx
    return ImageIndex(acq.encoding_space_ref, idx.average, idx.slice, idx.contrast, idx.phase, idx.repetition, idx.set)


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


class _Lines:
    """Readouts of one image, with the header of the one nearest to the centre of k-space."""

    def __init__(self) -> None:
        self.readouts: list[Readout] = []
        self.reference = ismrmrd.AcquisitionHeader()
        self._distance = float("inf")

    def add(self, readout: Readout, acq: ismrmrd.Acquisition, encoding: Encoding) -> None:
        if self.readouts and readout.grid != self.readouts[0].grid:
            raise AcquisitionError(f"{describe(acq)} has another readout length than the lines before it")
        distance = abs(readout.line - encoding.encoded_shape[0] // 2)
        if distance < self._distance:
            self._distance, self.reference = distance, acq.getHead()
        self.readouts.append(readout)


class Assembler:
    """State of one scan: see :func:`assemble`."""

    def __init__(self, header: Header, settings: ScanConfig) -> None:
        self._header = header
        self._settings = settings
        self._noise = NoiseScan(header.noise_bandwidth)
        self._open: dict[ImageIndex, _Lines] = {}
        self._done: set[ImageIndex] = set()
        self._calibration: dict[tuple[int, int], _Lines] = {}  # by encoding and slice
        self._n_coils: int | None = None
        self._skipped = 0

    def add(self, acq: ismrmrd.Acquisition) -> list[ImageIndex]:
        """Take one acquisition; return the images that it completes, to be closed."""
        if is_noise(acq):
            if self._done:
                raise NoiseError(
                    f"{describe(acq)} is noise, but images were sent already; set scan.flush to close for this sequence"
                )
            self._noise.add(acq.data, acq.sample_time_us)
            return []
        if not is_object_line(acq):
            self._skipped += 1
            return []
        encoding = encoding_of(acq, self._header)
        self._check(acq)
        readout = place(acq, encoding)
        if not is_imaging(acq, self._header):
            self._calibration.setdefault((acq.encoding_space_ref, acq.idx.slice), _Lines()).add(readout, acq, encoding)
            return []
        index = image_index(acq)
        if index in self._done:
            raise LateAcquisitionError(
                f"{describe(acq)} belongs to an image that was sent at LAST_IN_SLICE ({index}); "
                "set scan.flush to close for this sequence"
            )
        self._open.setdefault(index, _Lines()).add(readout, acq, encoding)
        return self._completed_by(acq, index)

    def remaining(self) -> list[ImageIndex]:
        """The images that no flag completed. Raises NoImagingDataError when there never was any."""
        if not self._noise:
            logger.info("no noise scan came: the data are taken as they are, whitened upstream or not at all")
        if not self._open and not self._done:
            raise NoImagingDataError(
                f"the scan ended without imaging readouts ({self._skipped} of other kinds, noise scan: {bool(self._noise)})"
            )
        return list(self._open)

    def close(self, index: ImageIndex) -> KSpace:
        """Hand out the k-space of an image and forget its readouts."""
        lines = self._open.pop(index)
        self._done.add(index)
        separate = self._calibration.get((index.encoding, index.slice))
        encoding = self._header.encodings[index.encoding]
        return kspace(index, encoding, lines.reference, lines.readouts, separate.readouts if separate else None, self._noise)

    def _check(self, acq: ismrmrd.Acquisition) -> None:
        n_coils = acq.active_channels
        if self._n_coils is None:
            self._n_coils = n_coils
        if n_coils != self._n_coils or n_coils == 0:
            raise ChannelCountError(f"{describe(acq)} has {n_coils} channels, the scan began with {self._n_coils}")
        if acq.idx.kspace_encode_step_2:
            raise UnsupportedScanError(f"{describe(acq)}: step 2 is {acq.idx.kspace_encode_step_2} in a 2-D scan")

    def _completed_by(self, acq: ismrmrd.Acquisition, index: ImageIndex) -> list[ImageIndex]:
        if self._settings.flush == "close":
            return []
        if acq.is_flag_set(ismrmrd.ACQ_LAST_IN_REPETITION):  # this image in every slice
            return [i for i in self._open if i._replace(slice=index.slice) == index]
        return [index] if acq.is_flag_set(ismrmrd.ACQ_LAST_IN_SLICE) else []
