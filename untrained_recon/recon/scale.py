"""k-space far from 1 brought near it, where single precision has room for squares, and its image brought back."""

import math
from dataclasses import replace

import numpy as np

from untrained_recon.errors import NonFiniteError
from untrained_recon.types import ComplexArray, FloatArray, KSpace, Reconstruction

LEAST, MOST = 2.0**-40, 2.0**40


def near_one(data: KSpace) -> tuple[KSpace, float]:
    """The k-space divided by a power of two, and that number.

    It is 1 unless the largest sample is below :data:`LEAST` or above :data:`MOST`. A power of two rounds nothing, and noise of
    standard deviation 1, which prewhitening leaves, becomes that of ``scale**2`` times the averages.
    """
    largest = max(_largest(data.ksp), _largest(data.calib))
    if largest == 0 or LEAST <= largest <= MOST:
        return data, 1.0
    scale = 2.0 ** round(math.log2(largest))
    ksp = _divided(data.ksp, scale)
    calib = ksp if data.calib is data.ksp else _divided(data.calib, scale)
    return replace(data, ksp=ksp, calib=calib, averages=data.averages * scale**2), scale


def brought_back(recon: Reconstruction, scale: float) -> Reconstruction:
    """The image in the units of its k-space.

    Raises:
        NonFiniteError: They are beyond single precision.
    """
    if scale == 1:
        return recon

    def back(pixels: FloatArray) -> FloatArray:
        with np.errstate(over="ignore", under="ignore"):
            return (pixels.astype(np.float64) * scale).astype(np.float32)

    magnitude = back(recon.magnitude)
    if not np.isfinite(magnitude).all():
        raise NonFiniteError("the image is so bright that it overflows; check the receive chain")
    complex_img: ComplexArray = back(recon.complex_img.view(np.float32)).view(np.complex64)
    return replace(recon, magnitude=magnitude, complex_img=complex_img).with_evidence(back)


def _largest(ksp: ComplexArray) -> float:
    return max(float(np.abs(part).max(initial=0.0)) for part in (ksp.real, ksp.imag))


def _divided(ksp: ComplexArray, scale: float) -> ComplexArray:
    return (ksp.astype(np.complex128) / scale).astype(np.complex64)
