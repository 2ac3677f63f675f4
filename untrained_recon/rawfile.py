"""ISMRMRD files: raw data in, images out. Images appear under their final name only when the file is complete."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import ismrmrd
import numpy as np

from untrained_recon.errors import RawFileError

GROUP = "dataset"
CHUNK = 256


class RawFile:
    """An ISMRMRD raw file, opened for reading; iterate with :meth:`items`.

    Raises:
        RawFileError: Not an HDF5 file, no group ``dataset``, or no header or acquisitions in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            reason = "there is no such file" if not path.exists() else "it is not an HDF5 file, or it is damaged"
            raise RawFileError(f"{path}: {reason} ({error})") from error
        try:
            self._group = self._require_group()
        except RawFileError:
            self._file.close()
            raise

    def __enter__(self) -> "RawFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def __len__(self) -> int:
        return int(self._group["data"].shape[0])

    @property
    def header(self) -> bytes:
        """The XML header as stored."""
        xml = self._group["xml"][0]
        return xml if isinstance(xml, bytes) else str(xml).encode()

    def acquisitions(self) -> Iterator[ismrmrd.Acquisition]:
        """The acquisitions in the order of the file, read in blocks."""
        for start in range(0, len(self), CHUNK):
            for row in self._read("data", slice(start, start + CHUNK)):
                yield self._acquisition(row)

    def heads(self) -> list[ismrmrd.AcquisitionHeader]:
        """The headers of the acquisitions in the order of the file, without their samples."""
        try:
            heads = self._group["data"].fields("head")[:]
        except OSError as error:
            raise RawFileError(f"{self.path}: the acquisition headers cannot be read; the file is damaged ({error})") from error
        return [ismrmrd.AcquisitionHeader.from_buffer_copy(head) for head in heads]

    def read(self, numbers: Sequence[int]) -> list[ismrmrd.Acquisition]:
        """The acquisitions of these numbers, which must ascend."""
        return [self._acquisition(row) for row in self._read("data", list(numbers))]

    def waveforms(self) -> Iterator[ismrmrd.Waveform]:
        """The waveforms in the order of the file."""
        if "waveforms" not in self._group:
            return
        for start in range(0, self._group["waveforms"].shape[0], CHUNK):
            for row in self._read("waveforms", slice(start, start + CHUNK)):
                head = np.zeros(1, ismrmrd.hdf5.waveform_header_dtype)  # zeros: the padding bytes travel too
                head[0] = row["head"]
                waveform = ismrmrd.Waveform(head)
                waveform.data[:] = row["data"].view(np.uint32).reshape(waveform.data.shape)
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

    def _require_group(self) -> h5py.Group:
        group = self._file.get(GROUP)
        if not isinstance(group, h5py.Group):
            raise RawFileError(f"{self.path}: no group {GROUP!r}; it is not an ISMRMRD raw file")
        xml, data = group.get("xml"), group.get("data")
        if not isinstance(xml, h5py.Dataset) or xml.shape != (1,) or h5py.check_string_dtype(xml.dtype) is None:
            raise RawFileError(f"{self.path}: group {GROUP!r} holds no XML header ('xml')")
        if not isinstance(data, h5py.Dataset) or data.ndim != 1 or data.dtype.names != ("head", "traj", "data"):
            raise RawFileError(f"{self.path}: group {GROUP!r} holds no acquisitions ('data')")
        return group

    def _read(self, table: str, which: slice | list[int]) -> Any:
        try:
            return self._group[table][which]
        except OSError as error:
            first = which.start if isinstance(which, slice) else which[0]
            raise RawFileError(f"{self.path}: {table} from {first} on cannot be read; the file is damaged ({error})") from error

    def _acquisition(self, row: Any) -> ismrmrd.Acquisition:
        acq = ismrmrd.Acquisition(row["head"])
        data, traj = row["data"], row["traj"]
        if data.size != 2 * acq.data.size or traj.size != acq.traj.size:
            raise RawFileError(
                f"{self.path}: acquisition {acq.scan_counter} holds {data.size / 2:g} samples, its header says {acq.data.size}"
            )
        acq.data[:] = data.view(np.complex64).reshape(acq.data.shape)
        acq.traj[:] = traj.reshape(acq.traj.shape)
        return acq


class ImageFile:
    """An ISMRMRD image file in the making; :meth:`commit` gives it its name, leaving the context without it removes it.

    Args:
        path: Final name; an existing file is replaced.
        header: XML header to store beside the images.
    """

    def __init__(self, path: Path, header: bytes) -> None:
        self.path = path
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        os.unlink(name)
        self._part = Path(name)
        self._dataset = ismrmrd.Dataset(name, GROUP, create_if_needed=True)
        self._dataset.write_xml_header(header)

    def __enter__(self) -> "ImageFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._dataset.close()
        finally:
            self._part.unlink(missing_ok=True)

    def append_image(self, number: int, image: ismrmrd.Image) -> None:
        """Add an image to the group ``image_<number>``. Raises RawFileError when it cannot be written."""
        try:
            self._dataset.append_image(f"image_{number}", image)
        except (RuntimeError, OSError, TypeError) as error:
            raise RawFileError(f"{self.path}: an image of series {number} cannot be written ({error})") from error

    def append_waveform(self, waveform: ismrmrd.Waveform) -> None:
        """Add a waveform that came back."""
        self._dataset.append_waveform(waveform)

    def commit(self) -> None:
        """Close the file and give it its name."""
        self._dataset.close()
        os.replace(self._part, self.path)


def check_output(raw_path: Path, out_path: Path) -> None:
    """Raise RawFileError where the images of a raw file cannot be written to ``out_path``."""
    if not out_path.parent.is_dir():
        raise RawFileError(f"{out_path}: the folder {out_path.parent} does not exist")
    if out_path.exists() and out_path.samefile(raw_path):
        raise RawFileError(f"{out_path}: the output would replace the raw data")


def read_images(path: Path, number: int) -> list[ismrmrd.Image]:
    """All images of the group ``image_<number>`` of an image file. Raises RawFileError when it cannot be read."""
    try:
        with h5py.File(path, "r"):
            pass
        dataset = ismrmrd.Dataset(str(path), GROUP, create_if_needed=False)
    except OSError as error:
        raise RawFileError(f"{path}: cannot be read as an image file ({error})") from error
    name = f"image_{number}"
    try:
        return [dataset.read_image(name, n) for n in range(dataset.number_of_images(name))]
    except LookupError as error:
        raise RawFileError(f"{path}: no series {name}") from error
    finally:
        dataset.close()
