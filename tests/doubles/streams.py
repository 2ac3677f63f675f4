"""Bytes of the messages that Gadgetron's own gadgets send, made for tests."""

import struct
from collections.abc import Sequence

import ismrmrd
import numpy as np
import numpy.typing as npt

from untrained_recon.wire import BUCKET, RECON_DATA

Data = npt.NDArray[np.complex64]
Headers = npt.NDArray[np.object_]


def bucket_bytes(
    data: Sequence[ismrmrd.Acquisition], ref: Sequence[ismrmrd.Acquisition], waveforms: Sequence[ismrmrd.Waveform] = ()
) -> bytes:
    """Message 1050."""
    stats = struct.pack("<Q", 1) + b"".join(struct.pack("<QH", 1, n) for n in range(9))
    sizes = [size for acqs in (data, ref) for size in _sizes(acqs)] + [len(stats)] * 2
    wave_bytes = sum(w.data.nbytes for w in waveforms)
    sizes += [len(waveforms), sum(len(bytes(w.getHead())) for w in waveforms), wave_bytes]
    parts = [struct.pack("<H13Q", BUCKET, *sizes)]
    for acqs in (data, ref):
        parts += [bytes(a.getHead()) for a in acqs] + [a.traj.tobytes() for a in acqs] + [a.data.tobytes() for a in acqs]
        parts.append(stats)
    return b"".join(parts + [bytes(w.getHead()) for w in waveforms] + [w.data.tobytes() for w in waveforms])


def recon_data_bytes(data: Data, headers: Headers, ref: tuple[Data, Headers] | None) -> bytes:
    """Message 1023 with one bit; data ``[E0 E1 E2 CHA N S LOC]``, headers ``[E1 E2 N S LOC]``."""
    parts = [struct.pack("<HQ", RECON_DATA, 1), _buffer(data, headers), struct.pack("<B", ref is not None)]
    return b"".join(parts + ([_buffer(*ref)] if ref is not None else []))


def _sizes(acqs: Sequence[ismrmrd.Acquisition]) -> tuple[int, int, int, int]:
    headers = sum(len(bytes(a.getHead())) for a in acqs)
    return len(acqs), headers, sum(a.data.nbytes for a in acqs), sum(a.traj.nbytes for a in acqs)


def _buffer(data: Data, headers: Headers) -> bytes:
    head = struct.pack(f"<{data.ndim + 1}Q", data.ndim, *data.shape) + data.tobytes(order="F") + b"\0\0"
    head += struct.pack(f"<{headers.ndim + 1}Q", headers.ndim, *headers.shape)
    return head + b"".join(bytes(h) for h in headers.ravel(order="F")) + bytes(56)
