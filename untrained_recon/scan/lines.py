"""What the readouts of an image tell beyond their headers: lines that were not acquired, and lines that came too often."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from untrained_recon.cautions import Caution
from untrained_recon.errors import UnsupportedScanError
from untrained_recon.scan.readout import Readout
from untrained_recon.types import ComplexArray

DIFFERENT = 0.4
"""Difference of repeated lines, relative to the lines themselves, from which on they are not of the same image."""
SILENT = 1e-4
"""Largest sample relative to the median line's, up to which a line holds nothing: noise alone is louder."""


def without_zero_lines(readouts: list[Readout]) -> tuple[list[Readout], tuple[Caution, ...]]:
    """The readouts that hold anything: noise alone makes samples differ from zero, so that whole lines of zeros, or of their
    rounding errors, were written where nothing was acquired. Where all are zero, they come back as they are.
    """
    peaks = [float(np.abs(_wide(readout.data)).max()) for readout in readouts]
    if not any(peaks):
        return readouts, (Caution("zero-lines", "all readouts; the image is empty"),)
    least = SILENT * float(np.median([peak for peak in peaks if peak > 0]))
    live = [readout for readout, peak in zip(readouts, peaks, strict=True) if peak > least]
    if len(live) == len(readouts):
        return readouts, ()
    return live, (Caution("zero-lines", f"{len(readouts) - len(live)} of {len(readouts)} readouts"),)


def repeated(readouts: Sequence[Readout], announced: int) -> tuple[Caution, ...]:
    """What to think of lines that are averaged though they came more often than announced.

    Calibration lines may be acquired twice, segments may overlap: where the copies agree, more than half of the lines must have
    come too often.

    Args:
        readouts: All of an image.
        announced: Averages by the header or by the ``average`` counters.

    Raises:
        UnsupportedScanError: The repeated lines differ by more than :data:`DIFFERENT` at the centre of k-space, where noise is
            small: they are of different images.
    """
    lines: dict[tuple[int, int], list[Readout]] = defaultdict(list)
    for readout in readouts:
        lines[readout.line, readout.partition].append(readout)
    often = [copies for copies in lines.values() if len(copies) > announced]
    if not often:
        return ()
    times, difference = max(len(copies) for copies in often), _difference(often)
    if difference > DIFFERENT:
        raise UnsupportedScanError(
            f"{len(often)} of {len(lines)} lines came {times} times where the header announces {announced} averages, and differ by "
            f"{difference:.0%}: they are of different images (contrasts, phases, echoes?), which the counters of the readouts must "
            "tell apart"
        )
    if 2 * len(often) <= len(lines):
        return ()
    return (Caution("lines-averaged-unannounced", f"{times} times, {announced} announced, copies differ by {difference:.0%}"),)


def _difference(lines: list[list[Readout]]) -> float:
    """Relative difference of the first two copies of the lines that hold the most signal, the strongest tenth."""
    pairs = [(_wide(a.data), _wide(b.data)) for a, b, *_ in lines if a.data.shape == b.data.shape and a.center == b.center]
    pairs.sort(key=lambda pair: float(np.linalg.norm(pair[0]) + np.linalg.norm(pair[1])), reverse=True)
    strongest = pairs[: max(1, len(pairs) // 10)]
    differences = sum(float(np.linalg.norm(a - b)) ** 2 for a, b in strongest)
    powers = sum(float(np.linalg.norm(a)) ** 2 + float(np.linalg.norm(b)) ** 2 for a, b in strongest)
    return (2 * differences / powers) ** 0.5 if powers > 0 else 0.0


def _wide(data: ComplexArray) -> npt.NDArray[np.complex128]:
    """Samples with room for the squares of any."""
    return data.astype(np.complex128)
