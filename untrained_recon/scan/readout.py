"""One acquisition → samples at their place on the encoded grid."""

from dataclasses import dataclass, replace
from typing import Any

import ismrmrd
import numpy as np

from untrained_recon.encoding import Encoding
from untrained_recon.errors import NOT_FINITE, EncodingError, NonFiniteError
from untrained_recon.types import ComplexArray

# ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA is none of them: siemens_to_ismrmrd sets it on imaging lines with raw data correction
NOT_IMAGING = {
    getattr(ismrmrd, f"ACQ_IS_{name}"): name
    for name in (
        "NOISE_MEASUREMENT",
        "NAVIGATION_DATA",
        "PHASECORR_DATA",
        "HPFEEDBACK_DATA",
        "DUMMYSCAN_DATA",
        "RTFEEDBACK_DATA",
        "PHASE_STABILIZATION_REFERENCE",
        "PHASE_STABILIZATION",
    )
}

COMPRESSED = tuple(getattr(ismrmrd, f"ACQ_COMPRESSION{n}") for n in range(1, 5))


def is_compressed(acq: ismrmrd.Acquisition) -> bool:
    """Whether the samples are still those of a compression, which the host's reader ought to have undone."""
    return any(acq.is_flag_set(flag) for flag in COMPRESSED)


def is_noise(acq: ismrmrd.Acquisition) -> bool:
    """Whether the readout belongs to the noise scan."""
    return bool(acq.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT))


def is_object_line(acq: ismrmrd.Acquisition) -> bool:
    """Whether the readout is a k-space line of the object: imaging, calibration or both."""
    return not any(acq.is_flag_set(flag) for flag in NOT_IMAGING)


def other_kind(acq: Any) -> str:
    """What a readout is that is no line of the object, by the name of its flag."""
    return next(name for flag, name in NOT_IMAGING.items() if acq.is_flag_set(flag))


def is_calibration_only(acq: Any) -> bool:
    """Whether the readout is a calibration line that is not an imaging line too (flag 20 without 21)."""
    return bool(
        acq.is_flag_set(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
        and not acq.is_flag_set(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    )


def is_calibration(acq: Any) -> bool:
    """Whether the readout is a calibration line, be it an imaging line too or not (flag 20 or 21)."""
    flags = (ismrmrd.ACQ_IS_PARALLEL_CALIBRATION, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    return any(acq.is_flag_set(flag) for flag in flags)


def stamps_of(acq: Any) -> tuple[int, ...]:
    """Time stamps of a readout (or its header): acquisition, then physiology."""
    return (acq.acquisition_time_stamp, *acq.physiology_time_stamp)


def describe(acq: Any) -> str:
    """Where a readout stands in the scan, for messages."""
    return f"acquisition {acq.scan_counter} (slice {acq.idx.slice}, step 1 {acq.idx.kspace_encode_step_1})"


@dataclass(frozen=True)
class Readout:
    """Samples of one line.

    Attributes:
        line: Row of the encoded grid.
        partition: Partition of the encoded grid; 0 in 2-D scans.
        center: Which of the samples is the centre of k-space; may lie outside of those that are kept.
        before: Samples before the centre and
        after: from it on, those that are discarded included.
        data: complex64 ``(n_coils, n_samples)``.
        unset: Whether ``center_sample`` is 0, as it also is where nobody set it.
    """

    line: int
    partition: int
    center: int
    before: int
    after: int
    data: ComplexArray
    unset: bool = False

    def fits(self, grid: int) -> bool:
        """Whether the whole readout lies on a grid of so many columns, its centre on column ``grid // 2``."""
        return self.before <= grid // 2 and self.after <= grid - grid // 2

    def centred(self) -> "Readout":
        """The same with its centre in the middle."""
        n = self.before + self.after
        return replace(self, center=self.center + n // 2 - self.before, before=n // 2, after=n - n // 2, unset=False)


def place(acq: ismrmrd.Acquisition, encoding: Encoding) -> Readout:
    """Discard and reverse the samples of an acquisition and find their place.

    Line ``encoded_y // 2`` of the grid is the one that the encoding limits name as centre; of the samples, ``center_sample`` is.
    Discarded samples count in the order of acquisition. A reversed readout of n samples runs from the other end: after the flip
    its centre is ``n - 1 - center_sample``, but a full even one keeps ``n / 2``, which is what writers give in either direction. A
    centre that is beside the only place where the readout fits is moved there, which leaves the magnitude as it is.

    Raises:
        NonFiniteError: A sample is NaN or infinite.
        EncodingError: The line or the samples lie outside the encoded matrix.
    """
    data = np.asarray(acq.data)
    if not np.isfinite(data).all():
        raise NonFiniteError(f"{describe(acq)} holds NaN or Inf samples; {NOT_FINITE}")
    line, partition = line_of(acq, encoding), partition_of(acq, encoding)
    grid, n, before = encoding.encoded_shape[1], data.shape[1], int(acq.center_sample)
    kept = kept_samples(acq, n)
    center = before - kept.start
    data = data[:, kept]
    unset = before == 0 and n > 1
    if acq.is_flag_set(ismrmrd.ACQ_IS_REVERSE) and not unset:
        other = 0 if 2 * before == n else 1
        before, center = n - before - other, data.shape[1] - center - other
    if acq.is_flag_set(ismrmrd.ACQ_IS_REVERSE):
        data = data[:, ::-1]
    step = _beside(before, n, (encoding.image_shape[1], grid))
    before, center = before + step, center + step
    readout = Readout(line, partition, center, before, n - before, data, unset)
    kept_fit = center <= grid // 2 and data.shape[1] - center <= grid - grid // 2
    if not kept_fit and not (unset and readout.centred().fits(grid)):
        raise EncodingError(
            f"{describe(acq)}: {data.shape[1]} samples with centre {center} do not fit a readout of {grid} encoded samples "
            f"(center_sample {acq.center_sample}, discard_pre {acq.discard_pre}, discard_post {acq.discard_post})"
        )
    return readout


def _beside(before: int, n: int, grids: tuple[int, ...]) -> int:
    """By how much the centre of a readout that has ``before`` of its n samples before it is beside where it fits a grid."""
    for grid in grids:
        if n == grid and abs(before - grid // 2) == 1:
            return grid // 2 - before
    if before - grids[-1] // 2 == 1:
        return -1
    return 1 if (n - before) - (grids[-1] - grids[-1] // 2) == 1 else 0


def kept_samples(acq: Any, n: int) -> slice:
    """The samples of an acquisition (or by its header) of n that are not to be discarded. Raises EncodingError if none is left."""
    if acq.discard_pre + acq.discard_post >= n:
        raise EncodingError(f"{describe(acq)} discards {acq.discard_pre} + {acq.discard_post} of its {n} samples")
    return slice(acq.discard_pre, n - acq.discard_post)


def is_beyond_matrix(acq: Any, encoding: Encoding) -> bool:
    """Whether an acquisition (or its header) lies outside the encoded matrix, though within the limits that the header announces.

    Sequences that acquire in shots of equal length do so; as in Gadgetron, such lines are left out.
    """
    steps = (
        (acq.idx.kspace_encode_step_1, encoding.encoded_shape[0], encoding.center_y, encoding.limits_y),
        (acq.idx.kspace_encode_step_2, encoding.partitions, encoding.center_z, encoding.limits_z),
    )
    outside = [(step, limits) for step, n, center, limits in steps if not 0 <= step + n // 2 - center < n]
    return bool(outside) and all(limits is not None and limits[0] <= step <= limits[1] for step, limits in outside)


def line_of(acq: Any, encoding: Encoding) -> int:
    """Row of the grid for an acquisition (or its header): the step that the encoding limits name as centre is ``n_y // 2``.

    Raises:
        EncodingError: The row lies outside the encoded matrix.
    """
    n_y = encoding.encoded_shape[0]
    line: int = acq.idx.kspace_encode_step_1 + n_y // 2 - encoding.center_y
    if not 0 <= line < n_y:
        raise EncodingError(
            f"{describe(acq)}: line {line} is outside the encoded matrix of {n_y} lines (centre is step {encoding.center_y})"
        )
    return line


def partition_of(acq: Any, encoding: Encoding) -> int:
    """Partition of the grid for an acquisition (or its header), as :func:`line_of`; 2-D scans have the one.

    Raises:
        EncodingError: The partition lies outside the encoded matrix.
    """
    n_z = encoding.partitions
    partition: int = acq.idx.kspace_encode_step_2 + n_z // 2 - encoding.center_z
    if not 0 <= partition < n_z:
        raise EncodingError(
            f"{describe(acq)}: partition {partition} is outside the encoded matrix of {n_z} partitions (step 2 is "
            f"{acq.idx.kspace_encode_step_2}, centre is step {encoding.center_z})"
        )
    return partition
