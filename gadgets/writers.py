"""Objects → bytes of Gadgetron's messages, where the package's own writers fail (NumPy 2, text that is not ASCII)."""

import struct
from collections.abc import Sequence

import ismrmrd
import numpy as np
import numpy.typing as npt

from untrained_recon.wire import IMAGE_ARRAY


def image_array_bytes(images: Sequence[ismrmrd.Image], shape: tuple[int, int, int]) -> bytes:
    """Message 1024: complex images of equal size as one array.

    Args:
        images: Complex, in Fortran order of ``shape``.
        shape: Numbers of images along N, S and LOC.
    """
    pixels = np.stack([np.asarray(image.data, np.complex64) for image in images], axis=-1)  # [CHA Z Y X image]
    data = pixels.transpose(3, 2, 1, 0, 4).reshape(*pixels.shape[3::-1], *shape, order="F")
    meta = [image.attribute_string.encode() for image in images]
    return b"".join(
        [
            struct.pack("<H", IMAGE_ARRAY),
            _array(data),
            struct.pack("<4Q", 3, *shape),
            *(bytes(image.getHead()) for image in images),
            struct.pack("<Q", len(meta)),
            *(struct.pack("<Q", len(text)) + text for text in meta),
            b"\0\0",  # neither waveforms nor acquisition headers
        ]
    )


def _array(data: npt.NDArray[np.complex64]) -> bytes:
    return struct.pack(f"<{data.ndim + 1}Q", data.ndim, *data.shape) + data.tobytes(order="F")
