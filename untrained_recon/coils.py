"""Coil sensitivity maps."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from untrained_recon.config import MapsConfig
from untrained_recon.errors import CalibrationError
from untrained_recon.espirit import eigen_maps, reference_phase, signal_kernels
from untrained_recon.operators import AXES, ifft2, resize, rss
from untrained_recon.types import BoolArray, ComplexArray

T = TypeVar("T", bound=np.generic)

SMALLEST_KERNEL = 3
FEWEST_LINES = 2 * SMALLEST_KERNEL
FULL_WEIGHT = 0.9  # of the eigenvalue
EPSILON = 1e-6


def calibration_width(mask: BoolArray) -> int:
    """Edge of the largest fully sampled square around the centre of k-space.

    Args:
        mask: bool ``(n_y, n_x)``, True where sampled.

    Returns:
        The largest w such that ``[n // 2 - w // 2, n // 2 - w // 2 + w)`` is sampled on both axes; 0 without the centre.
    """
    width = 0
    for w in range(1, min(mask.shape) + 1):
        start_y, start_x = (n // 2 - w // 2 for n in mask.shape)
        if not mask[start_y : start_y + w, start_x : start_x + w].all():
            break
        width = w
    return width


def calibration_block(mask: BoolArray, most: int) -> tuple[int, int]:
    """Size ``(b_y, b_x)`` of the largest fully sampled block around the centre that is no longer than ``most`` on any axis.

    It is the square of :func:`calibration_width`, grown along the axis on which there is more, as lines of readouts have it.
    """
    width = min(calibration_width(mask), most)
    size = [width, width]
    for axis in (0, 1):
        while 0 < size[axis] < most:
            longer = [n + (a == axis) for a, n in enumerate(size)]
            if any(n > whole for n, whole in zip(longer, mask.shape, strict=True)) or not _block(mask, longer).all():
                break
            size = longer
    return size[0], size[1]


def estimate_maps(calib: ComplexArray, calib_mask: BoolArray, settings: MapsConfig, device: torch.device) -> ComplexArray:
    """ESPIRiT maps [Uecker et al., MRM 71:990, 2014] from the fully sampled centre of k-space.

    Pixels count by their eigenvalue, which is 1 where the maps explain the calibration data and falls off outside the object:
    a map has unit norm over the coils from :data:`FULL_WEIGHT` on, and fades to zero at ``settings.crop``. Where few lines
    calibrate, the kernel is half as wide as they are many.

    Args:
        calib: complex64 ``(n_coils, n_y, n_x)``.
        calib_mask: bool ``(n_y, n_x)``, the samples that ``calib`` holds.
        settings: Kernel width, thresholds, the largest block to use.
        device: Where to compute.

    Returns:
        complex64 ``(n_coils, n_y, n_x)``, zero for coils without any signal. The phase is relative to the combination of coils
        that sees the most signal.

    Raises:
        CalibrationError: The sampled centre is smaller than the smallest kernel needs, or holds no signal.
    """
    b_y, b_x = calibration_block(calib_mask, settings.calib_width)
    narrow = min(b_y, b_x)
    if narrow < FEWEST_LINES:
        raise CalibrationError(f"{narrow} contiguous calibration lines around the centre of k-space; ESPIRiT needs {FEWEST_LINES}")
    live = calib.any(axis=(1, 2))
    if not live.any():
        raise CalibrationError("the calibration region holds no signal")
    block = torch.from_numpy(_block(calib[live], (b_y, b_x))).to(device)
    block = block / torch.linalg.vector_norm(block)
    kernels = signal_kernels(block, min(settings.kernel_width, narrow // 2), settings.thresh)
    vectors, values = eigen_maps(kernels, (calib.shape[1], calib.shape[2]), n_sets=1)
    weights = ((values - settings.crop) / max(FULL_WEIGHT - settings.crop, EPSILON)).clamp(0, 1)
    mps = np.zeros(calib.shape, np.complex64)
    mps[live] = (reference_phase(vectors, block) * weights[:, None])[0].cpu().numpy()
    if not mps.any():
        raise CalibrationError(f"no pixel of the maps passes maps.crop = {settings.crop:g}; is there any signal?")
    return mps


def _block(array: npt.NDArray[T], size: Sequence[int]) -> npt.NDArray[T]:
    """The central block of the last two axes."""
    start_y, start_x = (n // 2 - length // 2 for n, length in zip(array.shape[-2:], size, strict=True))
    return np.ascontiguousarray(array[..., start_y : start_y + size[0], start_x : start_x + size[1]])


def low_resolution_maps(calib: Tensor, calib_mask: Tensor) -> Tensor:
    """Relative sensitivities from the images of the k-space centre, for coil combination where there are no ESPIRiT maps.

    Args:
        calib: complex ``(n_coils, n_y, n_x)``.
        calib_mask: bool ``(n_y, n_x)``, the samples that ``calib`` holds.

    Returns:
        complex ``(n_coils, n_y, n_x)`` of unit norm over the coils, phase relative to the strongest coil.
    """
    width = max(4, min(calibration_width(calib_mask.cpu().numpy()), 32))
    hann = torch.hann_window(width + 2, periodic=False, device=calib.device)[1:-1]
    window = resize(hann[:, None] * hann[None, :], (calib.shape[-2], calib.shape[-1]))
    imgs = ifft2(calib * window)
    tiny = torch.finfo(torch.float32).tiny
    strongest = imgs[torch.linalg.vector_norm(imgs, dim=AXES).argmax()]
    return imgs * torch.polar(torch.ones_like(strongest.real), -strongest.angle()) / rss(imgs).clamp_min(tiny)
