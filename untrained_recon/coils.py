"""Coils: compression to fewer, and sensitivity maps by ESPIRiT, through sigpy."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import sigpy
import sigpy.mri
import torch
from torch import Tensor

from untrained_recon.config import MapsConfig
from untrained_recon.errors import CalibrationError
from untrained_recon.operators import AXES, ifft2, resize, rss
from untrained_recon.types import BoolArray, ComplexArray, KSpace

logger = logging.getLogger(__name__)

COMPRESSION_WIDTH = 48


def compress(data: KSpace, max_coils: int) -> KSpace:
    """Fewer virtual coils that hold most of the signal [Buehrer et al., MRM 57:1131, 2007].

    The virtual coils are the first principal components of the calibration samples around the centre of k-space. Their weights are
    orthonormal, so that white noise stays white. The share of those samples' energy that is left out is logged.

    Args:
        data: k-space of any dimensions.
        max_coils: Number of virtual coils; data of no more coils come back as they are.
    """
    n_coils = len(data.ksp)
    if n_coils <= max_coils:
        return data
    centre = (min(n, COMPRESSION_WIDTH) for n in data.calib.shape[1:])
    samples = sigpy.resize(data.calib, (n_coils, *centre)).reshape(n_coils, -1).astype(np.complex128)
    power, components = np.linalg.eigh(samples @ samples.conj().T)
    if power[-1] <= 0:
        return data
    weights = components[:, : -max_coils - 1 : -1].conj().T
    left_out = power[:-max_coils].clip(min=0).sum() / power.sum()
    logger.info("%s: %d coils compressed to %d, %.2g of the signal's energy is left out", data.index, n_coils, max_coils, left_out)

    def virtual(ksp: ComplexArray) -> ComplexArray:
        return np.tensordot(weights, ksp, axes=1).astype(np.complex64)

    ksp = virtual(data.ksp)
    return replace(data, ksp=ksp, calib=ksp if data.calib is data.ksp else virtual(data.calib))


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
    with np.errstate(invalid="ignore"):  # sigpy divides by the first map, which may be zero in places
        live, app = _espirit(calib, calib_mask, settings, device)
        found = np.nan_to_num(sigpy.to_device(app.run(), sigpy.cpu_device))
    return _of_all_coils(found[None], live, settings)[0]


def estimate_map_sets(calib: ComplexArray, calib_mask: BoolArray, settings: MapsConfig, device: torch.device) -> ComplexArray:
    """The first ``settings.sets`` sets of ESPIRiT maps: complex64 ``(n_sets, n_coils, n_y, n_x)``.

    Where the object reaches beyond the field of view, a pixel holds what two or more places fold onto it, which one set of maps
    cannot describe [Uecker et al., section "Soft SENSE"]. Arguments, unit norm and errors are those of :func:`estimate_maps`; a
    set is zero where its eigenvalue is below ``settings.crop``.
    """
    if settings.sets == 1:
        return estimate_maps(calib, calib_mask, settings, device)[None]
    live, app = _espirit(calib, calib_mask, settings, device)
    unit = sigpy.to_device(np.eye(int(live.sum()), dtype=np.complex64), _sigpy_device(device))
    covariance = sigpy.to_device(app.alg.A(unit), sigpy.cpu_device)  # (x, y, coil, coil): its eigenvectors are the maps
    values, vectors = torch.linalg.eigh(torch.from_numpy(covariance))
    mps = (vectors * (values > settings.crop)[..., None, :]).flip(-1)[..., : settings.sets].permute(3, 2, 1, 0)
    mps = mps * torch.polar(torch.ones(()), -mps[:, :1].angle())  # phase relative to the first coil, as sigpy has it
    return _of_all_coils(mps.numpy(), live, settings)


def _of_all_coils(found: ComplexArray, live: BoolArray, settings: MapsConfig) -> ComplexArray:
    """Sets of maps with zeros for the coils that hold no signal."""
    mps = np.zeros((len(found), len(live), *found.shape[2:]), np.complex64)
    mps[:, live] = found
    if not mps[0].any():
        raise CalibrationError(f"no pixel of the maps passes maps.crop = {settings.crop:g}; is there any signal?")
    return mps


def _espirit(calib: ComplexArray, calib_mask: BoolArray, settings: MapsConfig, device: torch.device) -> tuple[BoolArray, Any]:
    """The coils that hold signal, and sigpy's calibration of them, not yet run."""
    width = min(calibration_width(calib_mask), settings.calib_width)
    if width < settings.kernel_width + 2:
        raise CalibrationError(
            f"{width} contiguous calibration lines around the centre of k-space; ESPIRiT with maps.kernel_width "
            f"{settings.kernel_width} needs {settings.kernel_width + 2}"
        )
    live: BoolArray = np.any(calib, axis=(1, 2))
    if not live.any():
        raise CalibrationError("the calibration region holds no signal")
    app = sigpy.mri.app.EspiritCalib(
        calib[live],
        calib_width=width,
        thresh=settings.thresh,
        kernel_width=settings.kernel_width,
        crop=settings.crop,
        max_iter=settings.power_iterations,
        device=_sigpy_device(device),
        show_pbar=False,
    )
    return live, app


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
