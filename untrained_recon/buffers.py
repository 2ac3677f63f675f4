"""Buffers that a host has sorted already (Gadgetron's ReconData) → the k-space of one image after the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from untrained_recon.assemble import encoding_of, image_index, kspace
from untrained_recon.errors import EncodingError, NoImagingDataError, NonFiniteError, UnsupportedScanError
from untrained_recon.readout import Readout, is_calibration_only, kept_samples, line_of
from untrained_recon.types import Encoding, Header, KSpace


@dataclass(frozen=True)
class Buffer:
    """Sorted samples with the header of each line.

    Attributes:
        data: complex64 ``[E0 E1 E2 CHA N S LOC]``.
        headers: Acquisition headers ``[E1 E2 N S LOC]``; ``number_of_samples`` is 0 where no line was acquired.
    """

    data: npt.NDArray[np.complex64]
    headers: npt.NDArray[np.object_]

    def check(self) -> None:
        """Raise EncodingError or UnsupportedScanError where the shapes do not fit each other or the scan is 3-D."""
        if self.data.ndim != 7 or self.headers.shape != (*self.data.shape[1:3], *self.data.shape[4:]):
            raise EncodingError(f"a buffer of shape {self.data.shape} has headers of shape {self.headers.shape}")
        if self.data.shape[2] != 1:
            raise UnsupportedScanError(f"a buffer has {self.data.shape[2]} partitions; only 2-D scans are reconstructed")
        if not np.isfinite(self.data).all():
            raise NonFiniteError("a buffer holds NaN or Inf samples; check the receive chain and repeat the scan")

    def lines(self, n: int, s: int, loc: int) -> Iterator[tuple[int, Any]]:
        """Row and header of every acquired line of one image; where the buffer has fewer N or S, the last one serves."""
        headers = self.headers[:, 0, min(n, self.headers.shape[2] - 1), min(s, self.headers.shape[3] - 1), loc]
        return ((row, head) for row, head in enumerate(headers) if head.number_of_samples > 0)

    def readout(self, row: int, head: Any, line: int, n: int, s: int, loc: int) -> Readout:
        """The samples of a row, put on ``line``; columns that the header discards were not acquired."""
        kept = kept_samples(head, self.data.shape[0])
        samples = self.data[kept, row, 0, :, min(n, self.data.shape[4] - 1), min(s, self.data.shape[5] - 1), loc]
        return Readout(line=line, start=kept.start, grid=self.data.shape[0], data=samples.T)


def kspaces(data: Buffer, ref: Buffer | None, header: Header) -> Iterator[KSpace]:
    """The images of a buffer, N fastest, then S, then LOC.

    Calibration-only lines are in ``ref`` alone: embedded ones belong to the image and are merged, separate ones only calibrate. A
    row of ``ref`` lies where its header says, which need not be its place in the array.

    Raises:
        EncodingError: Shapes that do not fit, or a line outside the encoded matrix.
        NoImagingDataError: An image without any acquired line.
        NonFiniteError: NaN or Inf samples.
        UnsupportedScanError: 3-D buffers.
    """
    for buffer in (data, ref):
        if buffer is not None:
            buffer.check()
    for loc, s, n in np.ndindex(*data.data.shape[:3:-1]):
        yield _image(data, ref, header, n, s, loc)


def _image(data: Buffer, ref: Buffer | None, header: Header, n: int, s: int, loc: int) -> KSpace:
    lines = list(data.lines(n, s, loc))
    if not lines:
        raise NoImagingDataError(f"a buffer holds no acquired line (N {n}, S {s}, LOC {loc})")
    n_y = data.data.shape[1]
    _, reference = min(lines, key=lambda line: abs(line[0] - n_y // 2))
    encoding = encoding_of(reference, header)
    n_x, (encoded_y, encoded_x) = data.data.shape[0], encoding.encoded_shape
    if n_y != encoded_y or n_x not in (encoding.image_shape[1], encoded_x):
        raise EncodingError(f"a buffer of {n_x} x {n_y} does not fit the encoded matrix of {encoded_x} x {encoded_y}")
    readouts = [data.readout(row, head, row, n, s, loc) for row, head in lines]
    reference_lines = _reference_readouts(ref, encoding, n, s, loc) if ref is not None else []
    index = image_index(reference)
    if encoding.separate_calibration:
        return kspace(index, encoding, reference, readouts, reference_lines)
    present = {r.line for r in readouts}
    return kspace(index, encoding, reference, readouts + [r for r in reference_lines if r.line not in present])


def _reference_readouts(ref: Buffer, encoding: Encoding, n: int, s: int, loc: int) -> list[Readout]:
    found = []
    for row, head in ref.lines(n, s, loc):
        if encoding.separate_calibration or is_calibration_only(head):
            found.append(ref.readout(row, head, line_of(head, encoding), n, s, loc))
    return found
