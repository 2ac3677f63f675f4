"""What is known of an image's phase from the centre of k-space alone.

With the phase of low resolution taken out, the rest of the image is nearly real, in as far as its phase is smooth. That halves what
is unknown, as the symmetry of k-space does in partial Fourier imaging; how far it may be trusted is measured on the calibration
data themselves.
"""

import numpy as np
import torch
from torch import Tensor

from untrained_recon.coils import calibration_block
from untrained_recon.operators import fft2, ifft2, resize
from untrained_recon.types import BoolArray

MOST = 32  # central lines and samples that make the phase


def image_phase(mps: Tensor, calib: Tensor, calib_mask: BoolArray) -> Tensor:
    """The phase of the object at low resolution, as complex numbers of magnitude 1 ``(n_y, n_x)``.

    An image is real at low resolution where the maps are multiplied by it.

    Args:
        mps: complex ``(n_coils, n_y, n_x)``.
        calib: complex ``(n_coils, n_y, n_x)``.
        calib_mask: bool ``(n_y, n_x)``, the samples that ``calib`` holds.
    """
    return _unit(low_resolution(mps, calib, calib_mask))


def low_resolution(mps: Tensor, calib: Tensor, calib_mask: BoolArray) -> Tensor:
    """The image of the calibration data, through a Hann window: complex ``(n_y, n_x)``. Arguments as :func:`image_phase`."""
    return _combined(mps, calib, _hann(calibration_block(calib_mask, MOST), mps))


def imaginary_share(mps: Tensor, calib: Tensor, calib_mask: BoolArray) -> float:
    """Energy of the imaginary beside the real part, where the phase of the inner half of the calibration data tells nothing.

    The data between the inner half and the edge are demodulated by the phase of the inner half. 0: the phase is smooth and the
    image real; 1: the phase tells nothing.

    Args:
        mps: complex ``(n_coils, n_y, n_x)``.
        calib: complex ``(n_coils, n_y, n_x)``.
        calib_mask: bool ``(n_y, n_x)``, the samples that ``calib`` holds.
    """
    block = calibration_block(calib_mask, MOST)
    half = block[0] // 2, block[1] // 2
    shape = (mps.shape[-2], mps.shape[-1])
    inner, outer = (resize(torch.ones(size, device=mps.device), shape) for size in (half, block))
    img = _combined(mps, calib, outer) * _unit(_combined(mps, calib, _hann(half, mps))).conj()
    imaginary, real = (torch.linalg.vector_norm(fft2(part) * (outer - inner)) for part in (img.imag, img.real))
    return float((imaginary / real.clamp_min(torch.finfo(real.dtype).tiny)) ** 2)


def _combined(mps: Tensor, calib: Tensor, window: Tensor) -> Tensor:
    return (mps.conj() * ifft2(calib * window)).sum(dim=0)


def _hann(size: tuple[int, int], like: Tensor) -> Tensor:
    window_y, window_x = (torch.from_numpy(np.hanning(n + 2)[1:-1]).to(like.device, like.real.dtype) for n in size)
    return resize(window_y[:, None] * window_x, (like.shape[-2], like.shape[-1]))


def _unit(img: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(img.real), img.angle())
