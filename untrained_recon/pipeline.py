"""k-space → image: maps, operator, fit, data consistency, coil combination."""

import logging
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from untrained_recon.coils import estimate_maps, low_resolution_maps
from untrained_recon.config import Config
from untrained_recon.errors import CalibrationError, ConfigError
from untrained_recon.fit import Callback, FitResult, fit
from untrained_recon.networks import ConvDecoder
from untrained_recon.operators import CoilFourier, LinearOperator, Sense, data_consistency, fft2, ifft2, resize, rss
from untrained_recon.types import Encoding, KSpace, Reconstruction

logger = logging.getLogger(__name__)


def pick_device(name: str) -> torch.device:
    """The torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto takes the GPU where there is one.

    Raises:
        ConfigError: A CUDA device is asked for that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device: {name!r} is not available; this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def default_preset(device: torch.device) -> str:
    """The preset that is used where none is named: one that a GPU finishes in time, or one for the CPU."""
    return "brain-4x" if device.type == "cuda" else "fast"


def reconstruct(data: KSpace, config: Config, device: torch.device, callback: Callback | None = None) -> Reconstruction:
    """Reconstruct one image.

    A fully sampled image needs no fit (Step 2 would put every sample back) and is transformed directly. Where maps are asked for
    but the calibration region does not allow them, the coils are reconstructed without (Step 1-A).

    Args:
        data: Prewhitened k-space.
        config: Method and settings.
        device: Where to compute.
        callback: Follows and may stop the fit.

    Raises:
        FitError: The fit diverged.
    """
    start = time.perf_counter()
    solution = _solve(data, config, device, callback)
    mps = solution.mps
    if mps is None:
        mps = low_resolution_maps(torch.from_numpy(data.calib).to(device), torch.from_numpy(data.calib_mask).to(device))
    coil_imgs = to_recon_matrix(solution.coil_imgs, data.encoding)
    magnitude = rss(coil_imgs)
    complex_img = torch.polar(magnitude, (to_recon_matrix(mps, data.encoding).conj() * coil_imgs).sum(dim=0).angle())
    return Reconstruction(
        magnitude=magnitude.cpu().numpy(),
        complex_img=complex_img.cpu().numpy(),
        method=solution.method,
        iterations=solution.iterations,
        stop_reason=solution.stop_reason,
        loss=solution.loss,
        seconds=time.perf_counter() - start,
        device=str(device),
    )


def to_recon_matrix(imgs: Tensor, encoding: Encoding) -> Tensor:
    """Cut images ``(…, *image_shape)`` to the reconstructed field of view and interpolate to the recon matrix.

    Interpolation is by zero filling (or cutting) in k-space and keeps the values of the pixels.
    """
    imgs = resize(imgs, encoding.crop_shape)
    if encoding.crop_shape == encoding.recon_shape:
        return imgs
    pixels = math.prod(encoding.recon_shape) / math.prod(encoding.crop_shape)
    return ifft2(resize(fft2(imgs), encoding.recon_shape)) * math.sqrt(pixels)


@dataclass(frozen=True)
class _Solution:
    coil_imgs: Tensor
    mps: Tensor | None
    method: str
    iterations: int = 0
    stop_reason: str = "nothing to fit"
    loss: float = math.nan


def _solve(data: KSpace, config: Config, device: torch.device, callback: Callback | None) -> _Solution:
    ksp, mask = torch.from_numpy(data.ksp).to(device), torch.from_numpy(data.mask).to(device)
    if not data.ksp.any():
        logger.warning("%s holds no signal; its image is zero", data.index)
        return _Solution(coil_imgs=torch.zeros_like(ksp), mps=None, method="empty")
    if data.mask.all():
        return _Solution(coil_imgs=ifft2(ksp), mps=None, method="direct")
    mps = _maps(data, config, device)
    operator = CoilFourier(mask, len(ksp)) if mps is None else Sense(mps, mask)
    result = _fit(operator, ksp, config, callback)
    coil_imgs = result.img if mps is None else mps * result.img
    if config.recon.data_consistency:
        coil_imgs = data_consistency(coil_imgs, ksp, mask)
    return _Solution(
        coil_imgs=coil_imgs,
        mps=mps,
        method="coils" if mps is None else "maps",
        iterations=result.iterations,
        stop_reason=result.stop_reason,
        loss=result.loss,
    )


def _maps(data: KSpace, config: Config, device: torch.device) -> Tensor | None:
    if config.recon.mode == "coils":
        return None
    try:
        mps = estimate_maps(data.calib, data.calib_mask, config.maps, device)
    except CalibrationError as error:
        logger.warning("%s: no sensitivity maps (%s); reconstructing coil by coil", data.index, error)
        return None
    return torch.from_numpy(mps).to(device)


def _fit(operator: LinearOperator, ksp: Tensor, config: Config, callback: Callback | None) -> FitResult:
    n_images = math.prod(operator.ishape[:-2])
    in_y, in_x = config.network.in_size
    network = ConvDecoder(
        2 * n_images,
        (operator.ishape[-2], operator.ishape[-1]),
        in_size=(in_y, in_x),
        layers=config.network.layers,
        channels=config.network.channels,
        generator=torch.Generator().manual_seed(config.seed),
    ).to(ksp.device)
    return fit(network, operator, ksp, config.fit, callback)
