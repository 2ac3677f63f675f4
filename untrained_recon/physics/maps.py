"""Coils: compression to fewer, and sensitivity maps by ESPIRiT."""

import logging
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from untrained_recon.centred import resize as resize_array
from untrained_recon.config import MapsConfig
from untrained_recon.errors import CalibrationError
from untrained_recon.physics.espirit import eigen_maps, fade, reference_phase, signal_kernels
from untrained_recon.physics.map_sets import sets_needed
from untrained_recon.physics.operators import AXES, ifft2, resize, rss
from untrained_recon.sampled import calibration_block
from untrained_recon.types import BoolArray, ComplexArray, KSpace

logger = logging.getLogger(__name__)

COMPRESSION_WIDTH = 48
SMALLEST_KERNEL = 3
FEWEST_LINES = 2 * SMALLEST_KERNEL


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
    samples = resize_array(data.calib, (n_coils, *centre)).reshape(n_coils, -1).astype(np.complex128)
    power, components = np.linalg.eigh(samples @ samples.conj().T)
    if power[-1] <= 0:
        return data
    weights = components[:, : -max_coils - 1 : -1].conj().T
    left_out = power[:-max_coils].clip(min=0).sum() / power.sum()
    logger.info("%s: %d coils compressed to %d, %.2g of the signal's energy is left out", data.index, n_coils, max_coils, left_out)

    def virtual(ksp: ComplexArray) -> ComplexArray:
        return np.tensordot(weights, ksp, axes=1).astype(np.complex64)

    ksp = virtual(data.ksp)
    maps = None if data.maps is None else np.stack([virtual(mps) for mps in data.maps])
    return replace(data, ksp=ksp, calib=ksp if data.calib is data.ksp else virtual(data.calib), maps=maps)


def needed_sets(calib: ComplexArray, calib_mask: BoolArray, settings: MapsConfig, device: torch.device) -> int:
    """How many sets of maps the calibration data need, see :mod:`untrained_recon.physics.map_sets`.

    Arguments and errors as :func:`estimate_map_sets`.
    """
    block, kernels = _calibrated(calib, calib_mask, settings, device)
    return sets_needed(kernels, block, settings.crop)


def estimate_map_sets(calib: ComplexArray, calib_mask: BoolArray, settings: MapsConfig, device: torch.device) -> ComplexArray:
    """ESPIRiT maps from the fully sampled centre of k-space.

    Pixels count by their eigenvalue, which is 1 where the maps explain the calibration data and falls off outside the object:
    a map has unit norm over the coils where it is large, and fades to zero at ``settings.crop``. Where few lines calibrate, the
    kernel is half as wide as they are many.

    Args:
        calib: complex64 ``(n_coils, n_y, n_x)``.
        calib_mask: bool ``(n_y, n_x)``, the samples that ``calib`` holds.
        settings: Kernel width, thresholds, the largest block to use, the number of sets: where the object reaches beyond the field
            of view, a pixel holds what several places fold onto it, which one set cannot describe. ``auto``: :func:`needed_sets`.
        device: Where to compute.

    Returns:
        complex64 ``(n_sets, n_coils, n_y, n_x)``, zero for coils without any signal. The phase is relative to the combination of
        coils that sees the most signal.

    Raises:
        CalibrationError: The sampled centre is smaller than the smallest kernel needs, or holds no signal.
    """
    block, kernels = _calibrated(calib, calib_mask, settings, device)
    n_sets = sets_needed(kernels, block, settings.crop) if settings.sets == "auto" else settings.sets
    vectors, values = eigen_maps(kernels, (calib.shape[1], calib.shape[2]), min(n_sets, len(block)))
    mps = np.zeros((len(vectors), *calib.shape), np.complex64)
    mps[:, calib.any(axis=(1, 2))] = (reference_phase(vectors, block) * fade(values, settings.crop)[:, None]).cpu().numpy()
    if not mps[0].any():
        raise CalibrationError(f"no pixel of the maps passes maps.crop = {settings.crop:g}; is there any signal?")
    return mps


def _calibrated(calib: ComplexArray, calib_mask: BoolArray, settings: MapsConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """The calibration block of the coils that see anything, of unit norm, and its kernels."""
    size = calibration_block(calib_mask, settings.calib_width)
    if min(size) < FEWEST_LINES:
        raise CalibrationError(
            f"{min(size)} contiguous calibration lines around the centre of k-space; ESPIRiT needs {FEWEST_LINES}"
        )
    live = calib.any(axis=(1, 2))
    if not live.any():
        raise CalibrationError("the calibration region holds no signal")
    block = resize(torch.from_numpy(calib[live]).to(device), size)
    largest = block.abs().max()
    if largest == 0:
        raise CalibrationError("the centre of the calibration region holds no signal")
    block = block / largest  # first: squares of samples far from 1 would not be what they are
    block = block / torch.linalg.vector_norm(block)
    return block, signal_kernels(block, min(settings.kernel_width, min(size) // 2), settings.thresh)


def estimate_maps(calib: ComplexArray, calib_mask: BoolArray, settings: MapsConfig, device: torch.device) -> ComplexArray:
    """The first set of :func:`estimate_map_sets`: complex64 ``(n_coils, n_y, n_x)``."""
    first: ComplexArray = estimate_map_sets(calib, calib_mask, settings, device)[0]
    return first


def low_resolution_maps(calib: Tensor, calib_mask: Tensor) -> Tensor:
    """Relative sensitivities from the images of the k-space centre, for coil combination where there are no ESPIRiT maps.

    Args:
        calib: complex ``(n_coils, n_y, n_x)``.
        calib_mask: bool ``(n_y, n_x)``, the samples that ``calib`` holds.

    Returns:
        complex ``(n_coils, n_y, n_x)`` of unit norm over the coils, phase relative to the strongest coil.
    """
    width = max(4, min(calibration_block(calib_mask.cpu().numpy(), 32)))
    hann = torch.hann_window(width + 2, periodic=False, device=calib.device)[1:-1]
    window = resize(hann[:, None] * hann[None, :], (calib.shape[-2], calib.shape[-1]))
    imgs = ifft2(calib * window)
    tiny = torch.finfo(torch.float32).tiny
    strongest = imgs[torch.linalg.vector_norm(imgs, dim=AXES).argmax()]
    return imgs * torch.polar(torch.ones_like(strongest.real), -strongest.angle()) / rss(imgs).clamp_min(tiny)
