"""Coil sensitivity maps by ESPIRiT, through sigpy."""

import numpy as np
import sigpy
import sigpy.mri
import torch
from torch import Tensor

from untrained_recon.config import MapsConfig
from untrained_recon.errors import CalibrationError
from untrained_recon.operators import AXES, ifft2, resize, rss
from untrained_recon.types import BoolArray, ComplexArray


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


def estimate_maps(calib: ComplexArray, calib_mask: BoolArray, settings: MapsConfig, device: torch.device) -> ComplexArray:
    """ESPIRiT maps [Uecker et al., MRM 71:990, 2014] from the fully sampled centre of k-space.

    Args:
        calib: complex64 ``(n_coils, n_y, n_x)``.
        calib_mask: bool ``(n_y, n_x)``, the samples that ``calib`` holds.
        settings: Kernel width, thresholds, the largest block to use.
        device: Where the fit runs; with CUDA and CuPy the maps are computed there too.

    Returns:
        complex64 ``(n_coils, n_y, n_x)``, of unit norm over the coils where there is signal, zero elsewhere and for coils
        without any signal.

    Raises:
        CalibrationError: The sampled centre is smaller than the kernel needs, or holds no signal.
    """
    width = min(calibration_width(calib_mask), settings.calib_width)
    if width < settings.kernel_width + 2:
        raise CalibrationError(
            f"{width} contiguous calibration lines around the centre of k-space; ESPIRiT with maps.kernel_width "
            f"{settings.kernel_width} needs {settings.kernel_width + 2}"
        )
    live = calib.any(axis=(1, 2))
    if not live.any():
        raise CalibrationError("the calibration region holds no signal")
    with np.errstate(invalid="ignore"):  # sigpy divides by the first map, which may be zero in places
        found = sigpy.mri.app.EspiritCalib(
            calib[live],
            calib_width=width,
            thresh=settings.thresh,
            kernel_width=settings.kernel_width,
            crop=settings.crop,
            max_iter=settings.power_iterations,
            device=_sigpy_device(device),
            show_pbar=False,
        ).run()
    mps = np.zeros(calib.shape, np.complex64)
    mps[live] = np.nan_to_num(sigpy.to_device(found, sigpy.cpu_device))
    if not mps.any():
        raise CalibrationError(f"no pixel of the maps passes maps.crop = {settings.crop:g}; is there any signal?")
    return mps


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


def _sigpy_device(device: torch.device) -> sigpy.Device:
    if device.type == "cuda" and sigpy.config.cupy_enabled:
        return sigpy.Device(device.index or 0)
    return sigpy.cpu_device
