"""Bytes of Gadgetron's messages → objects, with every length checked against the message and against the others.

The layouts are those of Gadgetron's own writers (little endian; arrays carry their sizes as uint64, first index fastest).
"""

import math
import struct
from collections.abc import Callable, Iterator
from ctypes import sizeof
from typing import Any, Protocol

import ismrmrd
import numpy as np
import numpy.typing as npt
from gadgetron.types.acquisition_bucket import AcquisitionBucket
from gadgetron.types.recon_data import ReconBit, ReconBuffer, ReconData, SamplingDescription
from ismrmrd.image import get_dtype_from_data_type

from untrained_recon.errors import ProtocolError
from untrained_recon.wire import ACQUISITION, BUCKET, IMAGE, IMAGE_ARRAY, RECON_DATA, WAVEFORM

MAX_DIMENSIONS = 16
MOST_ELEMENTS = 1 << 48
SAMPLING_BYTES = 56  # 54 of fields, 2 of padding
COUNTERS = 9


class Source(Protocol):
    """Where bytes come from, see :class:`gadgets.source.GuardedSocket`."""

    def read(self, nbytes: int) -> bytes:
        """Exactly ``nbytes`` bytes."""

    def expect(self, nbytes: int) -> int:
        """Check that so much more may come."""


def skip_text(source: Source) -> None:
    """2, 3 and 5: uint32 length and so many bytes."""
    source.read(struct.unpack("<I", source.read(4))[0])


def read_acquisition(source: Source) -> ismrmrd.Acquisition:
    """1008: header, trajectory float32 ``[samples][dims]``, data complex64 ``[channels][samples]``."""
    header = _header(source, ismrmrd.AcquisitionHeader)
    traj = _values(source, np.float32, header.number_of_samples, header.trajectory_dimensions)
    return _acquisition(header, traj, _values(source, np.complex64, header.active_channels, header.number_of_samples))


def read_waveform(source: Source) -> ismrmrd.Waveform:
    """1026: header, data uint32 ``[channels][samples]``."""
    header = _header(source, ismrmrd.WaveformHeader)
    return ismrmrd.Waveform(header, _values(source, np.uint32, header.channels, header.number_of_samples))


def skip_image(source: Source) -> None:
    """1022: header, meta XML with its length, data ``[channels][z][y][x]``. No gadget takes images; they pass through."""
    header = _header(source, ismrmrd.ImageHeader)
    _text(source)
    try:
        dtype = get_dtype_from_data_type(header.data_type)
    except TypeError as error:
        raise ProtocolError(f"an image has data type {header.data_type}, which ISMRMRD does not know") from error
    _values(source, dtype, header.channels, *header.matrix_size)


def read_recon_data(source: Source) -> ReconData:
    """1023: bits of a buffer and an optional reference buffer."""
    return ReconData([_recon_bit(source) for _ in _counted(source, 8)])


def skip_image_array(source: Source) -> None:
    """1024: data ``[X Y Z CHA N S LOC]``, headers ``[N S LOC]``, meta, optional waveforms and acquisition headers."""
    _array(source, np.complex64)
    _headers(source, ismrmrd.ImageHeader)
    for _ in _counted(source, 8):
        _text(source)
    if _flag(source):
        for _ in _counted(source, sizeof(ismrmrd.WaveformHeader)):
            read_waveform(source)
    if _flag(source):
        _headers(source, ismrmrd.AcquisitionHeader)


def read_bucket(source: Source) -> AcquisitionBucket:
    """1050: acquisitions and reference acquisitions (headers, trajectories, data, statistics each), then waveforms."""
    sizes = struct.unpack("<13Q", source.read(13 * 8))
    data, data_stats = _bundle(source, "data", sizes[0:4], sizes[8])
    ref, ref_stats = _bundle(source, "reference", sizes[4:8], sizes[9])
    count, header_bytes, _ = sizes[10:13]
    _agree("waveform header", header_bytes, count * sizeof(ismrmrd.WaveformHeader))
    source.expect(header_bytes)
    headers = [_header(source, ismrmrd.WaveformHeader) for _ in range(count)]
    _agree("waveform", sizes[12], sum(4 * h.channels * h.number_of_samples for h in headers))
    waveforms = [ismrmrd.Waveform(h, _values(source, np.uint32, h.channels, h.number_of_samples)) for h in headers]
    return AcquisitionBucket(data, data_stats, ref, ref_stats, waveforms)


def _bundle(source: Source, name: str, sizes: tuple[int, ...], stats_bytes: int) -> tuple[list[Any], list[Any]]:
    count, header_bytes, data_bytes, traj_bytes = sizes
    _agree(f"{name} header", header_bytes, count * sizeof(ismrmrd.AcquisitionHeader))
    source.expect(header_bytes + data_bytes + traj_bytes + stats_bytes)
    headers = [_header(source, ismrmrd.AcquisitionHeader) for _ in range(count)]
    _agree(f"{name} trajectory", traj_bytes, sum(4 * h.number_of_samples * h.trajectory_dimensions for h in headers))
    _agree(f"{name} sample", data_bytes, sum(8 * h.number_of_samples * h.active_channels for h in headers))
    trajs = [_values(source, np.float32, h.number_of_samples, h.trajectory_dimensions) for h in headers]
    data = [_values(source, np.complex64, h.active_channels, h.number_of_samples) for h in headers]
    stats = [[_vector(source, np.uint16) for _ in range(COUNTERS)] for _ in _counted(source, 8 * COUNTERS)]
    _agree(f"{name} statistics", stats_bytes, 8 + sum(8 + v.nbytes for space in stats for v in space))
    return [_acquisition(h, t, d) for h, t, d in zip(headers, trajs, data, strict=True)], stats


def _recon_bit(source: Source) -> ReconBit:
    buffer = _recon_buffer(source)
    return ReconBit(buffer, _recon_buffer(source) if _flag(source) else None)


def _recon_buffer(source: Source) -> ReconBuffer:
    data = _array(source, np.complex64)
    trajectory = _array(source, np.float32) if _flag(source) else None
    density = _array(source, np.float32) if _flag(source) else None
    headers = _headers(source, ismrmrd.AcquisitionHeader)
    return ReconBuffer(data, trajectory, density, headers, SamplingDescription.from_buffer_copy(source.read(SAMPLING_BYTES)))


def _agree(what: str, announced: int, found: int) -> None:
    if announced != found:
        raise ProtocolError(f"a bucket announces {announced} {what} bytes, its headers say {found}")


def _acquisition(header: Any, traj: npt.NDArray[np.float32], data: npt.NDArray[np.complex64]) -> ismrmrd.Acquisition:
    return ismrmrd.Acquisition(header, data, traj)


def _header(source: Source, kind: Any) -> Any:
    return kind.from_buffer_copy(source.read(sizeof(kind)))


def _headers(source: Source, kind: Any) -> npt.NDArray[np.object_]:
    shape = _shape(source)
    source.expect(math.prod(shape) * sizeof(kind))
    flat = np.empty(math.prod(shape), object)
    for n in range(flat.size):
        flat[n] = _header(source, kind)
    return flat.reshape(shape, order="F")


def _shape(source: Source) -> tuple[int, ...]:
    (ndim,) = struct.unpack("<Q", source.read(8))
    if ndim > MAX_DIMENSIONS:
        raise ProtocolError(f"an array announces {ndim} dimensions")
    shape: tuple[int, ...] = struct.unpack(f"<{ndim}Q", source.read(8 * ndim))
    if math.prod(n for n in shape if n) > MOST_ELEMENTS:  # an empty one as well: NumPy knows none of such a shape
        raise ProtocolError(f"an array announces the shape {shape}")
    return shape or (0,)  # an array without dimensions is an empty one


def _array(source: Source, dtype: Any) -> npt.NDArray[Any]:
    shape = _shape(source)
    return _values(source, dtype, math.prod(shape)).reshape(shape, order="F")


def _vector(source: Source, dtype: Any) -> npt.NDArray[Any]:
    (size,) = struct.unpack("<Q", source.read(8))
    return _values(source, dtype, size)


def _values(source: Source, dtype: Any, *shape: int) -> npt.NDArray[Any]:
    data = source.read(source.expect(math.prod(shape) * np.dtype(dtype).itemsize))
    return np.frombuffer(data, dtype).reshape(shape)


def _text(source: Source) -> str:
    (length,) = struct.unpack("<Q", source.read(8))
    return source.read(length).rstrip(b"\0").decode(errors="replace")


def _flag(source: Source) -> bool:
    return source.read(1) != b"\0"


def _counted(source: Source, least_bytes: int) -> Iterator[int]:
    """Numbers up to a count that comes first; each counted thing takes ``least_bytes`` at least."""
    (count,) = struct.unpack("<Q", source.read(8))
    source.expect(count * least_bytes)
    yield from range(count)


READERS: dict[int, Callable[[Source], Any]] = {
    ACQUISITION: read_acquisition,
    IMAGE: skip_image,
    RECON_DATA: read_recon_data,
    IMAGE_ARRAY: skip_image_array,
    WAVEFORM: read_waveform,
    BUCKET: read_bucket,
}
