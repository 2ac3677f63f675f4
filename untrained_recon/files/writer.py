"""Write ISMRMRD raw files as a scanner does: readout after readout, with counters, flags and geometry."""

import contextlib
from pathlib import Path
from types import TracebackType

import ismrmrd
import numpy as np
import numpy.typing as npt

from untrained_recon.output import HDF5Output
from untrained_recon.types import ComplexArray

TICKS_PER_LINE = 8  # of 2.5 ms


class RawWriter:
    """A raw file in the making, of axial slices about the isocentre, in ascending order: a context manager.

    OSError where it cannot be written.

    Args:
        path: The file; an existing one is overwritten.
        header: Its XML header.
        slices: How many slices will be written.
        slice_step_mm: Distance from one slice to the next.
        dwell_us: Time per sample.
    """

    def __init__(self, path: Path, header: bytes, slices: int, slice_step_mm: float, dwell_us: float) -> None:
        self._path, self._header = path, header
        self._slices, self._slice_step_mm, self._dwell_us = slices, slice_step_mm, dwell_us
        self._count = 0

    def __enter__(self) -> "RawWriter":
        with contextlib.ExitStack() as stack:  # wherever Ctrl-C comes, what is open is closed
            self._file = stack.enter_context(HDF5Output(self._path))
            self._dataset = ismrmrd.Dataset(self._file, "dataset")
            stack.callback(self._dataset.close)
            self._dataset.write_xml_header(self._header)
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.__exit__(kind, error, trace)

    def noise(self, samples: ComplexArray) -> None:
        """Add a noise readout ``(n_coils, n_samples)``."""
        acq = self._acquisition(samples)
        acq.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        self._append(acq)

    def slice(self, s: int, ksp: ComplexArray, codes: npt.NDArray[np.uint8], first_step: int = 0) -> None:
        """Add the lines of a slice.

        Args:
            s: Number of the slice.
            ksp: ``(n_coils, n_y, n_x)``.
            codes: uint8 ``(n_y,)``, see :func:`untrained_recon.masks.line_codes`.
            first_step: ``kspace_encode_step_1`` of row 0; may be negative where the first rows are not acquired.
        """
        lines = np.flatnonzero(codes)
        last_slice = s == self._slices - 1
        for n, line in enumerate(lines):
            acq = self._acquisition(ksp[:, line])
            acq.idx.kspace_encode_step_1 = int(line) + first_step
            acq.idx.slice = s
            acq.position[:] = (0.0, 0.0, (s - (self._slices - 1) / 2) * self._slice_step_mm)
            first, last = n == 0, n == len(lines) - 1
            for condition, flag in (
                (first, ismrmrd.ACQ_FIRST_IN_ENCODE_STEP1),
                (last, ismrmrd.ACQ_LAST_IN_ENCODE_STEP1),
                (first, ismrmrd.ACQ_FIRST_IN_SLICE),
                (last, ismrmrd.ACQ_LAST_IN_SLICE),
                (first and s == 0, ismrmrd.ACQ_FIRST_IN_REPETITION),
                (last and last_slice, ismrmrd.ACQ_LAST_IN_REPETITION),
                (last and last_slice, ismrmrd.ACQ_LAST_IN_MEASUREMENT),
                (codes[line] == 2, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION),
                (codes[line] == 3, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING),
            ):
                if condition:
                    acq.set_flag(flag)
            self._append(acq)

    def _append(self, acq: ismrmrd.Acquisition) -> None:
        self._dataset.append_acquisition(acq)
        self._file.check()

    def _acquisition(self, data: ComplexArray) -> ismrmrd.Acquisition:
        acq = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data, np.complex64))
        acq.scan_counter = self._count
        acq.center_sample = data.shape[1] // 2
        acq.sample_time_us = self._dwell_us
        acq.acquisition_time_stamp = 1000 + TICKS_PER_LINE * self._count
        acq.read_dir[:] = (1.0, 0.0, 0.0)
        acq.phase_dir[:] = (0.0, 1.0, 0.0)
        acq.slice_dir[:] = (0.0, 0.0, 1.0)
        for c in range(len(data)):
            acq.channel_mask[c // 64] |= 1 << (c % 64)
        self._count += 1
        return acq
