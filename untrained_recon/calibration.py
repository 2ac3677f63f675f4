"""The readouts that calibrate an image without being a part of it."""

from collections.abc import Callable, Iterator
from typing import Any

import ismrmrd
import numpy as np

from untrained_recon.encoding import Encoding, Header, ImageIndex
from untrained_recon.errors import ReconError
from untrained_recon.gridding import Lines, Samples
from untrained_recon.readout import Readout, is_calibration, is_calibration_only
from untrained_recon.reference import calibrates_itself, nearest, resampled, shift


def calibration_key(index: ImageIndex, encoding: Encoding) -> ImageIndex:
    """What images that are calibrated by the same readouts have in common."""
    if encoding.separate_calibration:
        return slice_key(index)
    return index._replace(**{encoding.interleaved: 0}) if encoding.interleaved else index


def slice_key(index: ImageIndex) -> ImageIndex:
    """What all images of a slice have in common."""
    return ImageIndex(index.encoding, 0, index.slice, 0, 0, 0, 0)


class Calibration:
    """Calibration readouts of one scan.

    Those of a separate scan serve the images of their slice, those of interleaved undersampling all that share their mean. An
    encoding space that holds calibration lines alone is a reference scan: it serves the images of the other spaces that have none
    of their own, each by the slice at its place.

    Args:
        header: The scan's header.
        grid: Puts the readouts of an encoding space on its grid.
    """

    def __init__(self, header: Header, grid: Callable[[Lines, int], Samples]) -> None:
        self._header = header
        self._grid = grid
        self._lines: dict[ImageIndex, Lines] = {}  # by calibration_key
        self._references: dict[ImageIndex, Lines] = {}  # by slice_key
        self._imaged: set[int] = set()  # encoding spaces with more than calibration lines
        self._gridded: dict[ImageIndex, Samples] = {}
        self._spoilt: dict[ImageIndex, ReconError] = {}  # by calibration_key
        self._spoilt_references: dict[ImageIndex, ReconError] = {}  # by slice_key

    def add(self, acq: ismrmrd.Acquisition, readout: Readout, index: ImageIndex) -> None:
        """Take notice of a readout, be it of an image or not."""
        encoding = self._header.encodings[index.encoding]
        if encoding.interleaved or (encoding.separate_calibration and is_calibration(acq)):
            self._lines.setdefault(calibration_key(index, encoding), Lines()).add(readout, acq, encoding)
        if not is_calibration_only(acq):
            self._imaged.add(index.encoding)
        elif len(self._header.encodings) > 1 and index.encoding not in self._imaged:
            self._references.setdefault(slice_key(index), Lines()).add(readout, acq, encoding)

    def spoil(self, index: ImageIndex, error: ReconError) -> None:
        """Take notice of a readout that calibrates and cannot be used; the images that need it fail with its error."""
        encoding = self._header.encodings[index.encoding]
        self._spoilt.setdefault(calibration_key(index, encoding), error)
        self._spoilt_references.setdefault(slice_key(index), error)

    def readouts(self, space: int) -> Iterator[Readout]:
        """All of an encoding space."""
        for known in (self._lines, self._references):
            for key, lines in known.items():
                if key.encoding == space:
                    yield from lines.readouts

    def is_there(self, index: ImageIndex, lines: Lines) -> bool:
        """Whether an image has all that may calibrate it."""
        encoding = self._header.encodings[index.encoding]
        if encoding.separate_calibration and calibration_key(index, encoding) in self._lines:
            return True
        usable = {number for number, space in enumerate(self._header.encodings) if space.refusal is None}
        others = usable - self._imaged - {index.encoding}
        if not encoding.separate_calibration and (not others or self._has_own(lines, encoding)):
            return True
        return self._reference(index, lines.reference) is not None

    def samples(self, index: ImageIndex, lines: Lines) -> tuple[Samples | None, tuple[str, ...]]:
        """What calibrates an image besides its own centre, and what is to be noted of it.

        Raises:
            ReconError: A readout of it could not be used.
        """
        encoding = self._header.encodings[index.encoding]
        key = calibration_key(index, encoding)
        if key in self._spoilt:
            raise self._spoilt[key]
        if key in self._lines:
            return self._once(key, self._lines[key]), ()
        if not self._spaces() or self._has_own(lines, encoding):
            return None, ()
        found = self._reference(index, lines.reference)
        if found is None:
            return None, (f"{self._spaces()}: a reference scan, but not of this slice and orientation; it is not used",)
        if found in self._spoilt_references:
            raise self._spoilt_references[found]
        reference = self._references[found]
        source = self._header.encodings[found.encoding]
        apart = shift(lines.reference, reference.reference)
        return resampled(self._once(found, reference), source, encoding, apart), (
            f"calibrated by the reference scan in encoding space {found.encoding}",
        )

    def _once(self, key: ImageIndex, lines: Lines) -> Samples:
        if key not in self._gridded:
            self._gridded[key] = self._grid(lines, key.encoding)
        return self._gridded[key]

    def _spaces(self) -> str:
        spaces = sorted({key.encoding for key in self._references} - self._imaged)
        return f"encoding space {', '.join(map(str, spaces))}" if spaces else ""

    def _has_own(self, lines: Lines, encoding: Encoding) -> bool:
        """Whether an image has calibration lines of its own."""
        sampled = np.zeros(encoding.encoded_shape[0], bool)
        sampled[[readout.line for readout in lines.readouts]] = True
        return not encoding.separate_calibration and calibrates_itself(sampled)

    def _reference(self, index: ImageIndex, head: Any) -> ImageIndex | None:
        """The slice of a reference scan at the place of an image."""
        encoding = self._header.encodings[index.encoding]
        encodings, flat = self._header.encodings, encoding.partitions == 1
        alike = [key for key in self._references if (encodings[key.encoding].partitions == 1) == flat]
        slices = {key: self._references[key].reference for key in alike if key.encoding not in self._imaged}
        thickness = max((encodings[key.encoding].recon_fov[0] for key in slices), default=0.0)
        found = nearest(head, slices.values(), (thickness + encoding.recon_fov[0]) / 2)
        return next((key for key, reference in slices.items() if reference is found), None)
