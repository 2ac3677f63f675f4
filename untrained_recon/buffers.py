"""Buffers that a host has sorted already (Gadgetron's ReconData) → the k-space of one image after the other."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from untrained_recon.calibration import calibration_key
from untrained_recon.columns import Columns
from untrained_recon.config import ScanConfig
from untrained_recon.encoding import Encoding, Header, ImageIndex, TimeRanges
from untrained_recon.errors import NOT_FINITE, EncodingError, NoImagingDataError, NonFiniteError, ReconError
from untrained_recon.failures import Failures
from untrained_recon.gridding import Samples, gridded, kspace
from untrained_recon.lines import without_zero_lines
from untrained_recon.membership import encoding_of, image_index
from untrained_recon.readout import Readout, describe, is_calibration_only, kept_samples, line_of, partition_of, stamps_of
from untrained_recon.reference import calibrates_itself, nearest, resampled, shift
from untrained_recon.types import BoolArray, KSpace

Cell = tuple[int, int, int]
"""Place along N, S and LOC."""


@dataclass(frozen=True)
class Buffer:
    """Sorted samples with the header of each line.

    Attributes:
        data: complex64 ``[E0 E1 E2 CHA N S LOC]``.
        headers: Acquisition headers ``[E1 E2 N S LOC]``; ``number_of_samples`` is 0 where no line was acquired.

    Raises:
        EncodingError: The shapes do not fit each other.
    """

    data: npt.NDArray[np.complex64]
    headers: npt.NDArray[np.object_]

    def __post_init__(self) -> None:
        if self.data.ndim != 7 or self.headers.shape != (*self.data.shape[1:3], *self.data.shape[4:]):
            raise EncodingError(f"a buffer of shape {self.data.shape} has headers of shape {self.headers.shape}")

    def nearest(self, cell: Cell) -> Cell:
        """The cell itself; where the buffer has fewer N or S, the last one serves."""
        n, s, loc = cell
        return min(n, self.headers.shape[2] - 1), min(s, self.headers.shape[3] - 1), loc

    def lines(self, cell: Cell) -> Iterator[tuple[int, int, Any]]:
        """Row, partition and header of every acquired line of a cell."""
        for (row, partition), head in np.ndenumerate(self.headers[:, :, cell[0], cell[1], cell[2]]):
            if head.number_of_samples > 0:
                yield row, partition, head

    def readout(self, place: tuple[int, int], cell: Cell, head: Any, target: tuple[int, int]) -> Readout:
        """The samples at row and partition ``place``, put on ``target``; columns that the header discards were not acquired.

        Raises:
            EncodingError: The header discards all of them.
            NonFiniteError: A sample is NaN or infinite.
        """
        n_x = self.data.shape[0]
        kept = kept_samples(head, n_x)
        n, s, loc = cell
        samples = self.data[kept, place[0], place[1], :, n, s, loc]
        if not np.isfinite(samples).all():
            raise NonFiniteError(f"{describe(head)} holds NaN or Inf samples; {NOT_FINITE}")
        return Readout(*target, center=n_x // 2 - kept.start, before=n_x // 2, after=n_x - n_x // 2, data=samples.T)


def image_grid(data: Buffer, settings: ScanConfig) -> tuple[int, int, int]:
    """Numbers of images along N, S and LOC: those of the buffer, but 1 where averages that are averaged lie along an axis."""
    n, s, loc = (1 if settings.average and _holds_averages(data, axis) else data.headers.shape[2 + axis] for axis in range(3))
    return n, s, loc


def kspaces(
    data: Buffer, ref: Buffer | None, header: Header, settings: ScanConfig, references: Sequence[Buffer] = ()
) -> Iterator[KSpace]:
    """The images of a buffer, N fastest, then S, then LOC.

    Calibration-only lines are in ``ref`` alone: embedded ones belong to the image and are merged, separate ones only calibrate. A
    row of ``ref`` lies where its header says, which need not be its place in the array. Where undersampling is interleaved over
    repetitions, phases or contrasts that lie in the same buffer, their mean calibrates.

    Args:
        data: The images.
        ref: Their calibration lines.
        header: The scan's header.
        settings: Whether averages are averaged, and how readouts are read.
        references: Calibration lines of encoding spaces without images, for images that have none of their own.

    Raises:
        EncodingError: The buffer or a line does not fit the encoded matrix. This and other errors of single images come after all
            images that can be made, see :mod:`untrained_recon.failures`.
        NonFiniteError: A line holds NaN or Inf samples.
        NoImagingDataError: An image without any acquired line.
    """
    yield from _Sorted(data, ref, header, settings, references).kspaces()


def indices(data: Buffer, header: Header, settings: ScanConfig) -> list[ImageIndex | None]:
    """Which images a buffer holds, in the order of :func:`kspaces`; None where that cannot be told."""
    return _Sorted(data, None, header, settings, ()).indices()


def _holds_averages(data: Buffer, axis: int) -> bool:
    def averages(position: int) -> frozenset[int]:
        heads = np.take(data.headers, position, axis=2 + axis).flat
        return frozenset(head.idx.average for head in heads if head.number_of_samples > 0)

    return len({averages(position) for position in range(data.headers.shape[2 + axis])}) > 1


def _rows(readouts: list[Readout], encoding: Encoding) -> BoolArray:
    rows = np.zeros(encoding.encoded_shape[0], bool)
    rows[[readout.line for readout in readouts]] = True
    return rows


class _Sorted:
    def __init__(
        self, data: Buffer, ref: Buffer | None, header: Header, settings: ScanConfig, references: Sequence[Buffer]
    ) -> None:
        self._data, self._ref, self._header, self._settings, self._references = data, ref, header, settings, references
        self._calibrated: dict[ImageIndex, Samples] = {}

    def kspaces(self) -> Iterator[KSpace]:
        failures = Failures()
        with failures.collecting():
            for cells, index in zip(self._images(), self.indices(), strict=True):
                data = self._image_or_note(cells, index, failures)
                if data is not None:
                    yield data

    def indices(self) -> list[ImageIndex | None]:
        return [self._index_or_none(cells) for cells in self._images()]

    def _image_or_note(self, cells: list[Cell], index: ImageIndex | None, failures: Failures) -> KSpace | None:
        try:
            return self._image(cells)
        except (ReconError, MemoryError) as error:
            failures.add("N {}, S {}, LOC {} of a buffer".format(*cells[0]) if index is None else index, error)
            return None

    def _index_or_none(self, cells: list[Cell]) -> ImageIndex | None:
        try:
            return self._index(cells)
        except ReconError:
            return None

    def _images(self) -> Iterator[list[Cell]]:
        """The cells of each image."""
        shape = self._data.headers.shape[2:]
        grid = image_grid(self._data, self._settings)
        for place in np.ndindex(*grid[::-1]):
            ranges = [range(size) if count < size else [p] for p, count, size in zip(place[::-1], grid, shape, strict=True)]
            yield [(n, s, loc) for n, s, loc in itertools.product(*ranges)]

    def _image(self, cells: list[Cell]) -> KSpace:
        reference, encoding = self._reference(cells)
        index = image_index(reference, self._settings)
        readouts, cautions = without_zero_lines(self._readouts(cells, encoding))
        calibration = self._calibration(cells, index, encoding)
        notes: tuple[str, ...] = ()
        if calibration is None and (encoding.separate_calibration or not calibrates_itself(_rows(readouts, encoding))):
            calibration, notes = self._foreign(reference, encoding)
        samples = gridded(readouts, encoding, self._columns(self._data, encoding))
        times = TimeRanges.of(stamps_of(head) for cell in cells for _, _, head in self._data.lines(cell))
        return kspace(index, encoding, reference, samples, calibration, False, times, self._settings, cautions, notes)

    def _columns(self, buffer: Buffer, encoding: Encoding) -> Columns:
        """The grid of a buffer's columns: the gadgets that make buffers expect oversampling to be gone, where it can be."""
        oversampled, cut = encoding.encoded_shape[1], encoding.image_shape[1]
        fits = buffer.data.shape[0] <= cut and self._settings.readout != "oversampled"
        return Columns(cut if fits else oversampled)

    def _foreign(self, reference: Any, encoding: Encoding) -> tuple[Samples | None, tuple[str, ...]]:
        """Samples of the slice at the place of an image, of a reference scan in an encoding space of its own."""
        slices: dict[tuple[int, Cell], Any] = {}
        for number, buffer in enumerate(self._references):
            for n, s, loc in np.ndindex(*buffer.headers.shape[2:]):
                lines = list(buffer.lines((n, s, loc)))
                if lines and (encoding_of(lines[0][2], self._header).partitions == 1) == (encoding.partitions == 1):
                    slices[number, (n, s, loc)] = min(lines, key=lambda line: abs(line[0] - len(lines) // 2))[2]
        found = nearest(reference, slices.values(), encoding.recon_fov[0])
        for (number, cell), head in slices.items():
            if found is not None and head is found:
                buffer, source = self._references[number], encoding_of(head, self._header)
                readouts = [
                    buffer.readout((row, z), cell, h, (line_of(h, source), partition_of(h, source)))
                    for row, z, h in buffer.lines(cell)
                ]
                samples = gridded(readouts, source, self._columns(buffer, source))
                note = f"calibrated by the reference scan in encoding space {head.encoding_space_ref}"
                return resampled(samples, source, encoding, shift(reference, head)), (note,)
        return None, ()

    def _reference(self, cells: list[Cell]) -> tuple[Any, Encoding]:
        """Header of the line nearest to the centre of k-space, and its encoding space."""
        lines = [line for cell in cells for line in self._data.lines(cell)]
        if not lines:
            raise NoImagingDataError("a buffer holds no acquired line (N {}, S {}, LOC {})".format(*cells[0]))
        n_x, n_y, n_z = self._data.data.shape[:3]
        *_, reference = min(lines, key=lambda line: (np.hypot(line[0] - n_y // 2, line[1] - n_z // 2), line[1], line[0]))
        encoding = encoding_of(reference, self._header)
        encoded_y, encoded_x = encoding.encoded_shape
        if (n_y, n_z) != (encoded_y, encoding.partitions) or n_x > encoded_x:
            raise EncodingError(
                f"a buffer of {n_x} x {n_y} x {n_z} does not fit the encoded matrix of {encoded_x} x {encoded_y} x "
                f"{encoding.partitions}"
            )
        return reference, encoding

    def _readouts(self, cells: list[Cell], encoding: Encoding) -> list[Readout]:
        """The lines of an image, embedded calibration lines included."""
        found = []
        for cell in cells:
            for row, partition, head in self._data.lines(cell):
                found.append(self._data.readout((row, partition), cell, head, (row, partition)))
        if encoding.separate_calibration:
            return found
        present = {(r.line, r.partition) for r in found}
        return found + [r for r in self._reference_readouts(cells, encoding) if (r.line, r.partition) not in present]

    def _reference_readouts(self, cells: list[Cell], encoding: Encoding) -> list[Readout]:
        """Lines of ``ref`` that are not in ``data`` too, or all of them where they calibrate on their own."""
        if self._ref is None:
            return []
        found = []
        for cell in dict.fromkeys(self._ref.nearest(cell) for cell in cells):
            for row, partition, head in self._ref.lines(cell):
                if encoding.separate_calibration or is_calibration_only(head):
                    target = line_of(head, encoding), partition_of(head, encoding)
                    found.append(self._ref.readout((row, partition), cell, head, target))
        return found

    def _calibration(self, cells: list[Cell], index: ImageIndex, encoding: Encoding) -> Samples | None:
        if encoding.separate_calibration:
            readouts, _ = without_zero_lines(self._reference_readouts(cells, encoding))
            columns = self._columns(self._ref or self._data, encoding)
            return gridded(readouts, encoding, columns) if readouts else None
        if not encoding.interleaved:
            return None
        key = calibration_key(index, encoding)
        if key not in self._calibrated:
            group = [c for c in self._images() if calibration_key(self._index(c), encoding) == key]
            readouts, _ = without_zero_lines([r for c in group for r in self._readouts(c, encoding)])
            self._calibrated[key] = gridded(readouts, encoding, self._columns(self._data, encoding))
        return self._calibrated[key]

    def _index(self, cells: list[Cell]) -> ImageIndex:
        return image_index(self._reference(cells)[0], self._settings)
