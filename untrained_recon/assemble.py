"""Acquisitions → the k-space of one image after the other."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator

import ismrmrd

from untrained_recon.calibration import Calibration
from untrained_recon.columns import Columns, settle
from untrained_recon.completion import Completion
from untrained_recon.config import ScanConfig
from untrained_recon.encoding import Header, ImageIndex, TimeRanges
from untrained_recon.errors import (
    AcquisitionError,
    ChannelCountError,
    LateAcquisitionError,
    NoImagingDataError,
    NoiseError,
    ReconError,
)
from untrained_recon.failures import Failures
from untrained_recon.gridding import Lines, Samples, gridded, kspace
from untrained_recon.lines import repeated, without_zero_lines
from untrained_recon.membership import begins_image, encoding_of, image_index, is_imaging
from untrained_recon.noise import NoiseScan
from untrained_recon.readout import (
    describe,
    is_beyond_matrix,
    is_compressed,
    is_noise,
    is_object_line,
    other_kind,
    place,
)
from untrained_recon.scope import Scope
from untrained_recon.types import KSpace

logger = logging.getLogger(__name__)


def assemble(
    batches: Iterable[Iterable[ismrmrd.Acquisition]], header: Header, settings: ScanConfig, cut_before: bool = False
) -> Iterator[KSpace]:
    """Sort acquisitions by image and yield each image's k-space as soon as it is complete.

    An image is complete after the batch that holds its ACQ_LAST_IN_SLICE or ACQ_LAST_IN_REPETITION; at the end of the stream
    whatever is left follows in the order in which it began. Images wait for the end of the stream where the separate calibration
    scan of their slice has not come yet (nor a reference scan in an encoding space of its own, where the header has one), and where
    undersampling is interleaved over repetitions (TPAT), as the mean over all of them calibrates.

    Args:
        batches: Acquisitions as they arrive: one by one, or in groups whose inner order means nothing.
        header: The scan's header.
        settings: When to send, whether averages are averaged, and how readouts are read.
        cut_before: Whether gadgets before this one are expected to have removed readout oversampling, see
            :mod:`untrained_recon.columns`.

    Raises:
        AcquisitionError: A readout does not fit the scan (its subclasses say how). This and other errors of single images come
            after all images that can be made, see :mod:`untrained_recon.failures`.
        IncompleteScanError: The stream ended in the middle of an image, see :mod:`untrained_recon.completion`; likewise.
        NoImagingDataError: The stream held no imaging readout.
        NoiseError: The noise scan is unusable.
        UnsupportedScanError: The readouts are of a kind that is not reconstructed.
    """
    assembler = Assembler(header, settings, cut_before)
    with assembler.failures.collecting():
        for batch in batches:
            completed = dict.fromkeys(index for acq in batch for index in assembler.add(acq))
            yield from assembler.closed(completed)
        yield from assembler.closed(assembler.remaining())
        assembler.end()


class Assembler:
    """State of one scan: see :func:`assemble`."""

    def __init__(self, header: Header, settings: ScanConfig, cut_before: bool) -> None:
        self._header = header
        self._settings = settings
        self._cut_before = cut_before
        self._scope = Scope(header)
        self._completion = Completion(header, settings)
        self._noise = NoiseScan(header.noise_bandwidth)
        self._calibration = Calibration(header, self._gridded)
        self._open: dict[ImageIndex, Lines] = {}
        self._done: set[ImageIndex] = set()
        self._columns: dict[int, Columns] = {}  # by encoding space
        self._n_coils: int | None = None
        self._skipped: Counter[str] = Counter()
        self._beyond = 0
        self.failures = Failures()

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
            self._skipped[other_kind(acq)] += 1
            return []
        index = image_index(acq, self._settings)
        try:
            self._take(acq, index)
        except ReconError as error:
            self._spoil(acq, index, error)
        if not self._is_usable(index.encoding) or not is_imaging(acq, self._header):
            return []
        return [i for i in self._completion.add(acq, index) if i in self._open and self._may_leave(i)]

    def _take(self, acq: ismrmrd.Acquisition, index: ImageIndex) -> None:
        """Put a readout where it belongs. Raises ReconError where it cannot be."""
        encoding = encoding_of(acq, self._header)
        self._check_coils(acq)
        if is_beyond_matrix(acq, encoding):
            self._beyond += 1
            return
        readout = place(acq, encoding)
        self._calibration.add(acq, readout, index)
        if not is_imaging(acq, self._header):
            return
        if index in self._done:
            raise LateAcquisitionError(
                f"{describe(acq)} belongs to an image that was sent at LAST_IN_SLICE ({index}); "
                "set scan.flush to close for this sequence"
            )
        if index not in self.failures:
            self._open.setdefault(index, Lines()).add(readout, acq, encoding)

    def _spoil(self, acq: ismrmrd.Acquisition, index: ImageIndex, error: ReconError) -> None:
        """Give up what a readout would have belonged to: its image, or what it calibrates."""
        if self._is_usable(index.encoding) and not begins_image(acq, self._header):
            self._calibration.spoil(index, error)
            return
        self.failures.add(index, error)
        self._open.pop(index, None)

    def _is_usable(self, space: int) -> bool:
        return space < len(self._header.encodings) and self._header.encodings[space].refusal is None

    def remaining(self) -> list[ImageIndex]:
        """The images that have not left and are complete. Raises NoImagingDataError when there never was any."""
        if not self._noise:
            logger.info("no noise scan came: the data are taken as they are, whitened upstream or not at all")
        for index in [index for index, lines in self._open.items() if not self._is_image(lines)]:
            del self._open[index]
            self._completion.forget(index)
        if not self._open and not self._done and not self.failures:
            kinds = ", ".join(f"{n} {name}" for name, n in self._skipped.most_common())
            raise NoImagingDataError(
                f"the scan ended without imaging readouts (noise scan: {bool(self._noise)}; other kinds: {kinds or 'none'})"
            )
        incomplete = self._completion.incomplete()
        return [index for index in self._open if index not in incomplete]

    def end(self) -> None:
        """Raise IncompleteScanError when the scan ended in the middle of an image."""
        if self._beyond:
            logger.warning("%d readouts within the header's limits lie beyond its matrix; they are left out", self._beyond)
        self._completion.check()

    def closed(self, indices: Iterable[ImageIndex]) -> Iterator[KSpace]:
        """Hand out the k-space of images and forget their readouts; what fails is noted."""
        for index in indices:
            data = self._close_or_note(index)
            if data is not None:
                yield data

    def _close_or_note(self, index: ImageIndex) -> KSpace | None:
        try:
            return self._close(index)
        except (ReconError, MemoryError) as error:
            self.failures.add(index, error)
            return None

    def _close(self, index: ImageIndex) -> KSpace:
        columns = self._settled(index.encoding)
        lines = self._open.pop(index)
        self._done.add(index)
        encoding = self._header.encodings[index.encoding]
        readouts, cautions = without_zero_lines(lines.readouts)
        announced = max(encoding.counts.average, len(lines.averages)) if self._settings.average else 1
        cautions += repeated(readouts, announced)
        calibration, notes = self._calibration.samples(index, lines)
        return kspace(
            index,
            encoding,
            lines.reference,
            gridded(readouts, encoding, columns, self._noise, lines.reference.sample_time_us),
            calibration,
            bool(self._noise),
            TimeRanges.of(lines.stamps),
            self._settings,
            cautions,
            (*columns.notes, *notes),
        )

    def _gridded(self, lines: Lines, space: int) -> Samples:
        """Calibration lines on the grid of their encoding space."""
        readouts, _ = without_zero_lines(lines.readouts)
        columns = self._settled(space)
        return gridded(readouts, self._header.encodings[space], columns, self._noise, lines.reference.sample_time_us)

    def _settled(self, space: int) -> Columns:
        """How the readouts of an encoding space are read, by those that are there when its first image is complete."""
        if space not in self._columns:
            readouts = [readout for i, lines in self._open.items() if i.encoding == space for readout in lines.readouts]
            readouts += self._calibration.readouts(space)
            self._columns[space] = settle(readouts, self._header.encodings[space], self._settings.readout, self._cut_before)
        return self._columns[space]

    def _may_leave(self, index: ImageIndex) -> bool:
        """Whether an image need not wait for the end of the stream."""
        encoding = self._header.encodings[index.encoding]
        if self._settings.flush == "close" or encoding.interleaved or not self._is_image(self._open[index]):
            return False
        return self._calibration.is_there(index, self._open[index])

    def _is_image(self, lines: Lines) -> bool:
        """Whether the lines of an encoding space are an image, or the reference scan of other spaces."""
        return lines.imaging or len(self._header.encodings) == 1

    def _check_coils(self, acq: ismrmrd.Acquisition) -> None:
        n_coils = acq.active_channels
        if self._n_coils is None:
            self._n_coils = n_coils
        if n_coils != self._n_coils or n_coils == 0:
            raise ChannelCountError(f"{describe(acq)} has {n_coils} channels, the scan began with {self._n_coils}")
