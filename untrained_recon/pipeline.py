"""k-space → image: maps, operator, fit, data consistency, coil combination."""

import logging
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from untrained_recon.baselines import cg_sense
from untrained_recon.coils import estimate_map_sets, estimate_maps, low_resolution_maps
from untrained_recon.config import Config
from untrained_recon.errors import CalibrationError, ConfigError, FitError
from untrained_recon.fit import Callback, FitResult, fit
from untrained_recon.networks import ConvDecoder
from untrained_recon.operators import CoilFourier, LinearOperator, Sense, data_consistency, ifft2, rss, to_recon_matrix
from untrained_recon.types import KSpace, Reconstruction

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")


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


def reconstruct(
    data: KSpace, config: Config, device: torch.device, callback: Callback | None = None, seconds: float = math.inf
) -> Reconstruction:
    """Reconstruct one image; an image always comes out.

    A fully sampled image needs no fit (Step 2 would put every sample back) and is transformed directly. Where maps are asked for
    but the calibration region does not allow them, the coils are reconstructed without (Step 1-A). Where the network cannot be
    fitted (it diverges, memory does not suffice even when used sparingly, the device fails, no time is left), a conventional
    image comes instead, and says so: CG-SENSE, or zero-filled without maps.

    Args:
        data: Prewhitened k-space.
        config: Method and settings.
        device: Where to compute.
        callback: Follows and may stop the fit.
        seconds: Time for the fit; nothing is fitted where it is not positive.
    """
    start = time.perf_counter()
    try:
        return _finish(data, _solve(data, config, device, callback, seconds), device, start)
    except (FitError, RuntimeError, MemoryError) as error:  # RuntimeError: whatever a failing device raises
        logger.warning("%s: conventional reconstruction instead of the network", data.index, exc_info=error)
        return _finish(data, _fallback(data, config, f"{type(error).__name__}: {error}"), CPU, start)


@dataclass(frozen=True)
class _Solution:
    coil_imgs: Tensor
    mps: Tensor | None
    method: str
    fallback_reason: str = ""
    iterations: int = 0
    stop_reason: str = "nothing to fit"
    loss: float = math.nan


def _solve(data: KSpace, config: Config, device: torch.device, callback: Callback | None, seconds: float) -> _Solution:
    ksp, mask = torch.from_numpy(data.ksp).to(device), torch.from_numpy(data.mask).to(device)
    if not data.ksp.any():
        logger.warning("%s holds no signal; its image is zero", data.index)
        return _Solution(coil_imgs=torch.zeros_like(ksp), mps=None, method="empty")
    if data.mask.all():
        return _Solution(coil_imgs=ifft2(ksp), mps=None, method="direct")
    if seconds <= 0:
        raise FitError("the time budget of the scan is spent")
    mps = _maps(data, config, device)
    sampling = torch.from_numpy(data.sampling).to(device)
    operator = CoilFourier(sampling, len(ksp)) if mps is None else Sense(mps, sampling)
    result = _fit(operator, ksp * sampling, config, callback, seconds)
    coil_imgs = operator.coil_images(result.img) if isinstance(operator, Sense) else result.img
    if config.recon.data_consistency:
        coil_imgs = data_consistency(coil_imgs, ksp, mask)
    return _Solution(
        coil_imgs=coil_imgs,
        mps=None if mps is None else mps[0],
        method="coils" if mps is None else "maps",
        iterations=result.iterations,
        stop_reason=result.stop_reason,
        loss=result.loss,
    )


def _fallback(data: KSpace, config: Config, reason: str) -> _Solution:
    """CG-SENSE with the measured samples put back, or zero-filled coil images without maps; on the CPU, which does not fail."""
    ksp, mask = torch.from_numpy(data.ksp), torch.from_numpy(data.mask)
    try:
        mps = torch.from_numpy(estimate_maps(data.calib, data.calib_mask, config.maps, CPU))
    except CalibrationError:
        return _Solution(ifft2(ksp), None, "zero-filled", reason, stop_reason="fallback")
    img = torch.from_numpy(cg_sense(data.ksp, mps.numpy(), data.mask))
    return _Solution(data_consistency(mps * img, ksp, mask), mps, "cg-sense", reason, stop_reason="fallback")


def _finish(data: KSpace, solution: _Solution, device: torch.device, start: float) -> Reconstruction:
    mps = solution.mps
    if mps is None:
        mps = low_resolution_maps(torch.from_numpy(data.calib).to(device), torch.from_numpy(data.calib_mask).to(device))
    coil_imgs = to_recon_matrix(solution.coil_imgs, data.encoding)
    magnitude = rss(coil_imgs)
    complex_img = torch.polar(magnitude, (to_recon_matrix(mps, data.encoding).conj() * coil_imgs).sum(dim=0).angle())
    if not torch.isfinite(torch.view_as_real(complex_img)).all():
        raise FitError("the image holds pixels that are not finite")
    return Reconstruction(
        magnitude=magnitude.cpu().numpy(),
        complex_img=complex_img.cpu().numpy(),
        method=solution.method,
        fallback_reason=solution.fallback_reason,
        iterations=solution.iterations,
        stop_reason=solution.stop_reason,
        loss=solution.loss,
        seconds=time.perf_counter() - start,
        device=str(device),
    )


def _maps(data: KSpace, config: Config, device: torch.device) -> Tensor | None:
    if config.recon.mode == "coils":
        return None
    try:
        mps = estimate_map_sets(data.calib, data.calib_mask, config.maps, device)
    except CalibrationError as error:
        logger.warning("%s: no sensitivity maps (%s); reconstructing coil by coil", data.index, error)
        return None
    return torch.from_numpy(mps).to(device)


def _fit(operator: LinearOperator, ksp: Tensor, config: Config, callback: Callback | None, seconds: float) -> FitResult:
    def run(save_memory: bool) -> FitResult:
        network = _network(operator, config).to(ksp.device)
        network.save_memory = save_memory
        return fit(network, operator, ksp, config.fit, callback, seconds)

    try:
        return run(save_memory=False)
    except torch.cuda.OutOfMemoryError as error:
        logger.warning("not enough memory on %s, trying again with less: %s", ksp.device, error)
    torch.cuda.empty_cache()  # nothing on a machine without CUDA; the failed fit's tensors are free by now
    return run(save_memory=True)


def _network(operator: LinearOperator, config: Config) -> ConvDecoder:
    in_y, in_x = config.network.in_size
    return ConvDecoder(
        2 * math.prod(operator.ishape[:-2]),
        (operator.ishape[-2], operator.ishape[-1]),
        in_size=(in_y, in_x),
        layers=config.network.layers,
        channels=config.network.channels,
        generator=torch.Generator().manual_seed(config.seed),
    )
