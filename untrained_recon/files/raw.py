"""ISMRMRD files: raw data in, images out. Images appear under their final name only when the file is complete."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import h5py
import ismrmrd
import numpy as np

from untrained_recon.errors import RawFileError
from untrained_recon.files.layout import complaint, converted, length, read_rows
from untrained_recon.files.scan_group import find_group, header_text, name_of, named, open_hdf5
from untrained_recon.text.xml import as_utf8

CHUNK = 256


class RawFile:
    """An ISMRMRD raw file, opened for reading; iterate with :meth:`items`.

    Args:
        path: The file.
        group: Group of the scan; by default ``dataset``, else the only one that holds raw data.

    Attributes:
        group: Name of the group that is read.
        header: The XML header as stored, in UTF-8 where its characters are wider.

    Raises:
        RawFileError: Not an HDF5 file, or no raw data in it (the message says what it is instead), or in several groups.
    """

    def __init__(self, path: Path, group: str = "") -> None:
        self.path = path
        self._file = open_hdf5(path)
        try:
            with named(path, "its groups"):
                self._group = find_group(self._file, path, group)
                self.header = as_utf8(header_text(self._group, path))
                self._data = self._table("data")
                self._waveforms = self._table("waveforms") if "waveforms" in self._group else None
        except RawFileError:
            self._file.close()
            raise
        self.group = name_of(self._group)

    def __enter__(self) -> "RawFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def __len__(self) -> int:
        return length(self._data)

    def acquisitions(self) -> Iterator[ismrmrd.Acquisition]:
        """The acquisitions in the order of the file, read in blocks."""
        for start in range(0, len(self), CHUNK):
            yield from self._acquisitions(slice(start, start + CHUNK))

    def heads(self) -> list[ismrmrd.AcquisitionHeader]:
        """The headers of the acquisitions in the order of the file, without their samples."""
        with named(self.path, "the acquisition headers"):
            heads = read_rows(self._data, "data", slice(None), "head")["head"]
        return [ismrmrd.AcquisitionHeader.from_buffer_copy(head) for head in heads]

    def read(self, numbers: Sequence[int]) -> list[ismrmrd.Acquisition]:
        """The acquisitions of these numbers, which must ascend."""
        return list(self._acquisitions(list(numbers)))

    def waveforms(self) -> Iterator[ismrmrd.Waveform]:
        """The waveforms in the order of the file."""
        table = self._waveforms
        if table is None:
            return
        for start in range(0, length(table), CHUNK):
            with named(self.path, f"waveforms from {start} on"):
                rows = read_rows(table, "waveforms", slice(start, start + CHUNK), "head", "data")
            for row in rows:
                head = np.zeros(1, ismrmrd.hdf5.waveform_header_dtype)  # zeros: the padding bytes travel too
                head[0] = row["head"]
                waveform = ismrmrd.Waveform(head)
                data = converted(row["data"], table.dtype["data"], np.uint32)
                self._check(data.size == waveform.data.size, f"waveform {waveform.scan_counter}", data.size, waveform.data.size)
                waveform.data[:] = data.reshape(waveform.data.shape)
                yield waveform

    def items(self) -> Iterator[ismrmrd.Acquisition | ismrmrd.Waveform]:
        """Acquisitions in order, each waveform before the first acquisition that is later than it, as the scanner sends them."""
        waveforms = self.waveforms()
        pending = next(waveforms, None)
        for acq in self.acquisitions():
            while pending is not None and pending.time_stamp <= acq.acquisition_time_stamp:
                yield pending
                pending = next(waveforms, None)
            yield acq
        if pending is not None:
            yield pending
        yield from waveforms

    def _table(self, name: str) -> h5py.Dataset:
        table = self._group.get(name)
        if reason := complaint(table, name):
            what = "acquisitions" if name == "data" else "waveforms"
            raise RawFileError(f"{self.path}: group {name_of(self._group)!r} holds no {what}: {name!r} {reason}")
        return table

    def _acquisitions(self, which: slice | list[int]) -> Iterator[ismrmrd.Acquisition]:
        first = which.start if isinstance(which, slice) else next(iter(which), 0)
        kinds = self._data.dtype
        fields = [name for name in ("head", "traj", "data") if name in kinds.names]
        with named(self.path, f"acquisitions from {first} on"):
            rows = read_rows(self._data, "data", which, *fields)
        for row in rows:
            traj = converted(row["traj"], kinds["traj"], np.float32) if "traj" in fields else np.empty(0, np.float32)
            if traj.size == 0:
                row["head"]["trajectory_dimensions"] = 0  # some writers announce a trajectory and leave it out
            acq = ismrmrd.Acquisition(row["head"])
            data = converted(row["data"], kinds["data"], np.float32)
            name = f"acquisition {acq.scan_counter}"
            if acq.active_channels == 0:
                raise RawFileError(f"{self.path}: {name} has no channels; was the file written to its end?")
            self._check(data.size == 2 * acq.data.size, name, data.size / 2, acq.data.size)
            self._check(traj.size == acq.traj.size, f"the trajectory of {name}", traj.size, acq.traj.size)
            acq.data[:] = data.view(np.complex64).reshape(acq.data.shape)
            acq.traj[:] = traj.reshape(acq.traj.shape)
            yield acq

    def _check(self, fits: bool, what: str, found: float, announced: int) -> None:
        if not fits:
            raise RawFileError(f"{self.path}: {what} holds {found:g} samples, its header says {announced}")
