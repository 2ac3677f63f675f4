"""What the integration test sends compressed is what Gadgetron's client would send."""

import struct

import ismrmrd
import numpy as np
import pytest

from tests.helpers import acquisition
from untrained_recon.compression import CompressedAcquisition, compressed


def decompressed(data: bytes) -> tuple[list[float], float]:
    """CompressedFloatBuffer::deserialize and getValue of Gadgetron 4.7.2, restated; the numbers and their scale."""
    elements, scale, bits = struct.unpack_from("<QfB", data)
    packed = data[13:]
    assert len(packed) == -(-bits * elements // 8)
    stream = int.from_bytes(packed, "little")
    values = []
    for n in range(elements):
        found = stream >> (n * bits) & ((1 << bits) - 1)
        if found & 1 << (bits - 1):
            found = -((found ^ ((1 << bits) - 1)) + 1)
        values.append(found / scale)
    return values, scale


@pytest.mark.parametrize("bits", [2, 7, 8, 12, 16, 31])
@pytest.mark.parametrize("size", [1, 13, 64])
def test_numbers_come_back_within_half_a_step(bits: int, size: int) -> None:
    values = np.random.default_rng(bits).standard_normal(size).astype(np.float32) * 1e-3
    found, scale = decompressed(compressed(values, bits))
    np.testing.assert_allclose(found, values, atol=0.5 / scale + 1e-9)


def test_zeros_stay_zeros() -> None:
    assert decompressed(compressed(np.zeros(5, np.float32), 12))[0] == [0] * 5


def test_an_acquisition_keeps_its_header_but_for_the_flag() -> None:
    acq = acquisition(np.arange(12, dtype=np.complex64).reshape(2, 6) * np.complex64(1 + 2j), 7)
    message = CompressedAcquisition(acq, 20).to_bytes()
    head = ismrmrd.AcquisitionHeader.from_buffer_copy(message)
    assert head.is_flag_set(ismrmrd.ACQ_COMPRESSION2)
    assert (head.idx.kspace_encode_step_1, head.number_of_samples, head.active_channels) == (7, 6, 2)
    (length,) = struct.unpack_from("<I", message, 340)
    assert len(message) == 344 + length
    found = np.array(decompressed(message[344:])[0], np.float32).view(np.complex64)
    np.testing.assert_allclose(found, acq.data.ravel(), atol=1e-3)
    assert not acq.is_flag_set(ismrmrd.ACQ_COMPRESSION2)
