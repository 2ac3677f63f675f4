"""Which grid the samples of a scan's readouts lie on: that of the encoded matrix, or the image's, without oversampling.

Gadgets that remove readout oversampling leave the header as it was and the dwell time unchanged, so that a readout no longer than
the image's matrix may be one that was cut, or a short one of the oversampled grid. The longest readout of an encoding space
decides: where it does not fit the image's grid, the readouts are oversampled. Where it fits, either may be meant, and the signal
decides: read on the oversampled grid, the object lies within the reconstructed field of view, as it should where oversampling is
to be removed, or it does not, and the oversampling is gone already. ``scan.readout`` says it outright.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from untrained_recon.centred import ifft
from untrained_recon.encoding import Encoding
from untrained_recon.errors import EncodingError
from untrained_recon.scan.readout import Readout

Choice = Literal["auto", "oversampled", "cut"]

OUTSIDE = 0.003
"""Share of the signal outside the reconstructed field of view from which on readouts are taken for cut."""
MARGIN = 2  # pixels at the border that belong to neither side


@dataclass(frozen=True)
class Columns:
    """How the readouts of an encoding space are read.

    Attributes:
        grid: Columns of the grid that their samples lie on.
        centre: Whether a ``center_sample`` of 0 is the middle, which nobody set.
        notes: Where the header left a choice, and what was chosen.
    """

    grid: int
    centre: bool = False
    notes: tuple[str, ...] = ()

    def placed(self, readouts: Sequence[Readout]) -> list[Readout]:
        """The readouts, each with its centre.

        Raises:
            EncodingError: A readout is longer than the grid: the scan's first image had shorter ones.
        """
        found = [readout.centred() if self.centre and readout.unset else readout for readout in readouts]
        for r in found:
            if r.center > self.grid // 2 or r.data.shape[1] - r.center > self.grid - self.grid // 2:
                raise EncodingError(
                    f"{r.data.shape[1]} samples of line {r.line} with centre {r.center} (center_sample) do not fit a readout of "
                    f"{self.grid} samples; set scan.readout to oversampled if the first images of the scan have shorter ones"
                )
        return found


def settle(readouts: Sequence[Readout], encoding: Encoding, choice: Choice, cut_before: bool = False) -> Columns:
    """How to read the readouts of an encoding space, by all that are known.

    Args:
        readouts: At least one.
        encoding: Their encoding space.
        choice: ``scan.readout``; where the longest readout does not fit the image's grid, it is oversampled whatever is said.
        cut_before: Whether gadgets before this one are expected to have removed oversampling.
    """
    notes = []
    centre = _centre_is_unset(readouts, encoding)
    if centre:
        readouts = [readout.centred() for readout in readouts]
        notes.append("center_sample is 0 in every readout; taken for the middle, where the signal is")
    oversampled, cut = encoding.encoded_shape[1], encoding.image_shape[1]
    if oversampled <= cut or not all(readout.fits(cut) for readout in readouts):
        return Columns(oversampled, centre, tuple(notes))
    if choice == "auto":
        share = outside(readouts, cut / oversampled)
        choice = "cut" if share > OUTSIDE or cut_before else "oversampled"
        longest = max(readout.before + readout.after for readout in readouts)
        why = (
            "gadgets before this one do so" if cut_before else f"on the larger one {share:.1%} of the signal lies outside the field"
        )
        notes.append(
            f"readouts of {longest} samples fit the grid of {oversampled} columns and that of {cut} without oversampling; taken "
            f"for {'cut already' if choice == 'cut' else 'short ones of the larger'}, as {why} (bound {OUTSIDE:.1%}; set "
            "scan.readout where that is wrong)"
        )
    return Columns(cut if choice == "cut" else oversampled, centre, tuple(notes))


def outside(readouts: Sequence[Readout], inner: float) -> float:
    """Share of the signal of the readouts that lies outside the inner part of their own field of view.

    The strongest tenth of the longest ones is looked at through a Hann window, less what the weakest tenth, noise mostly, has.

    Args:
        readouts: At least one.
        inner: The part, relative to the whole.
    """
    n = max(readout.data.shape[1] for readout in readouts)
    longest = [readout.data.astype(np.complex128) for readout in readouts if readout.data.shape[1] == n]
    longest.sort(key=lambda data: float(np.linalg.norm(data)), reverse=True)
    tenth = math.ceil(len(longest) / 10)
    profile = _profile(longest[:tenth])
    if 2 * tenth <= len(longest):
        profile = profile - _profile(longest[-tenth:])
    away = np.abs(np.arange(n) - n // 2) - inner * n / 2 > MARGIN
    total = float(profile.sum())
    return max(0.0, float(profile[away].sum()) / total) if total > 0 else 0.0


def _profile(lines: Sequence[npt.NDArray[np.complex128]]) -> npt.NDArray[np.float64]:
    """Energy along the readout's field of view."""
    n = lines[0].shape[1]
    window = np.hanning(n + 2)[1:-1]
    return np.asarray(sum((np.abs(ifft(data * window, axes=[-1])) ** 2).sum(axis=0) for data in lines), float)


def _centre_is_unset(readouts: Sequence[Readout], encoding: Encoding) -> bool:
    """Whether every readout begins at the centre by its header, but has its signal in the middle, or would be too long."""
    if not all(readout.unset for readout in readouts):
        return False
    if not all(readout.fits(encoding.encoded_shape[1]) for readout in readouts):
        return True
    n = min(readout.data.shape[1] for readout in readouts)
    energy = sum((np.abs(readout.data[:, :n].astype(np.complex128)) ** 2).sum(axis=0) for readout in readouts)
    return int(np.argmax(energy)) > n // 4
