"""Acquisitions as Gadgetron's client sends them with ``-P BITS``: whole numbers of so many bits, packed.

The form is that of CompressedFloatBuffer in Gadgetron 4.7.2; its reader GadgetIsmrmrdAcquisitionMessageReader undoes it.
"""

import struct

import ismrmrd
import numpy as np
import numpy.typing as npt


class CompressedAcquisition:
    """Stands for an acquisition where it is sent.

    Args:
        acq: The acquisition.
        bits: Bits of each number, sign included.
    """

    def __init__(self, acq: ismrmrd.Acquisition, bits: int) -> None:
        self._acq, self._bits = acq, bits

    def to_bytes(self) -> bytes:
        """Header, trajectory, and the compressed samples with their length in bytes."""
        head = self._acq.getHead()
        head.set_flag(ismrmrd.ACQ_COMPRESSION2)
        samples = compressed(np.ascontiguousarray(self._acq.data).view(np.float32).ravel(), self._bits)
        return bytes(head) + self._acq.traj.tobytes() + struct.pack("<I", len(samples)) + samples


def compressed(values: npt.NDArray[np.float32], bits: int) -> bytes:
    """Numbers, the factor they were multiplied with, and their bits, lowest first, in two's complement."""
    largest = float(np.abs(values).max(initial=0.0))
    most = (1 << (bits - 1)) - 1
    scale = np.float32(most / largest if largest > 0 else 1.0)
    whole = np.clip(np.rint(values * np.float64(scale)), -most, most).astype(np.int64)
    places = (whole[:, None] >> np.arange(bits)) & 1
    return struct.pack("<QfB", len(values), scale, bits) + np.packbits(places.astype(np.uint8).ravel(), bitorder="little").tobytes()
