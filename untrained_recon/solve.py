"""From the k-space of one image to its coil images, by the network or by another method."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from untrained_recon import bart, baselines
from untrained_recon.coils import estimate_map_sets, estimate_maps
from untrained_recon.compute import arithmetic
from untrained_recon.config import Config
from untrained_recon.errors import CalibrationError, FitError
from untrained_recon.fit import Callback, FitResult, fit
from untrained_recon.networks import build_network
from untrained_recon.networks.unet import load_unet, unet_reconstruct
from untrained_recon.operators import CoilFourier, LinearOperator, Sense, data_consistency, ifft2, rss, to_recon_matrix
from untrained_recon.phase import image_phase
from untrained_recon.refine import refine, uncertainty
from untrained_recon.types import KSpace

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
FIT_SHARE = 0.6  # of the time, where a refinement follows


@dataclass(frozen=True)
class Solution:
    """Coil images and how they came about; the fields after ``mps`` are those of ``types.Reconstruction``.

    Attributes:
        coil_imgs: complex ``(n_coils, *encoding.recon_shape)``.
        mps: complex ``(n_coils, *encoding.image_shape)``; None where the method needed none.
    """

    coil_imgs: Tensor
    mps: Tensor | None
    method: str
    fallback_reason: str = ""
    iterations: int = 0
    stop_reason: str = "nothing to fit"
    loss: float = math.nan


def solve(data: KSpace, config: Config, device: torch.device, callback: Callback | None, seconds: float) -> Solution:
    """Reconstruct by ``config.recon.method``.

    Args:
        data: Prewhitened k-space.
        config: Method and settings.
        device: Where to compute.
        callback: Follows and may stop the fits.
        seconds: Time for the fits.

    Raises:
        FitError: The network cannot be fitted, or no time is left.
        CalibrationError: A method that needs maps cannot have them.
        RuntimeError: The device fails.
    """
    ksp, mask = torch.from_numpy(data.ksp).to(device), torch.from_numpy(data.mask).to(device)
    method = config.recon.method
    if not data.ksp.any():
        logger.warning("%s holds no signal; its image is zero", data.index)
        return Solution(to_recon_matrix(torch.zeros_like(ksp), data.encoding), None, "empty")
    if data.mask.all() or method == "zero-filled":
        return Solution(to_recon_matrix(ifft2(ksp), data.encoding), None, "direct" if data.mask.all() else "zero-filled")
    if seconds <= 0:
        raise FitError("the time budget of the scan is spent")
    if method == "unet":
        return _with_unet(data, ksp, Path(config.unet.weights))
    if method != "network":
        return _conventional(data, config, method, "")
    return _with_network(data, ksp, mask, config, callback, min(seconds, config.fit.time_budget_s or math.inf))


def solve_without_network(data: KSpace, config: Config, reason: str) -> Solution:
    """CG-SENSE, or zero-filled where there are no maps; on the CPU, which does not fail."""
    try:
        return _conventional(data, config, "cg-sense", reason)
    except CalibrationError:
        coil_imgs = to_recon_matrix(ifft2(torch.from_numpy(data.ksp)), data.encoding)
        return Solution(coil_imgs, None, "zero-filled", reason, stop_reason="fallback")


def _conventional(data: KSpace, config: Config, method: str, reason: str) -> Solution:
    mps = bart.ecalib(data.ksp) if method == "paper-tv" else estimate_maps(data.calib, data.calib_mask, config.maps, CPU)
    img = baselines.solve(method, data.ksp, mps, data.mask, config.baseline.lamda, config.baseline.iterations)
    coil_imgs = torch.from_numpy(mps * img)
    if config.recon.data_consistency:
        coil_imgs = data_consistency(coil_imgs, torch.from_numpy(data.ksp), torch.from_numpy(data.mask))
    stop_reason = "fallback" if reason else "nothing to fit"
    return Solution(to_recon_matrix(coil_imgs, data.encoding), torch.from_numpy(mps), method, reason, stop_reason=stop_reason)


def _with_unet(data: KSpace, ksp: Tensor, weights: Path) -> Solution:
    """The trained U-net sees the magnitude of the delivered matrix, as in its training; coils keep their share and phase."""
    coil_imgs = to_recon_matrix(ifft2(ksp), data.encoding)
    magnitude = rss(coil_imgs)
    improved = unet_reconstruct(load_unet(weights).to(ksp.device), magnitude.cpu().numpy())
    gain = torch.from_numpy(improved).to(ksp.device).clamp(min=0) / magnitude.clamp(min=torch.finfo(magnitude.dtype).tiny)
    return Solution(coil_imgs * gain, None, "unet")


def _with_network(data: KSpace, ksp: Tensor, mask: Tensor, config: Config, callback: Callback | None, seconds: float) -> Solution:
    start = time.monotonic()
    mps = _maps(data, config, ksp.device) if config.recon.mode == "maps" else None
    sampling = torch.from_numpy(data.sampling).to(ksp.device)
    if mps is None:
        coil_imgs, results = _fit_coils(ksp * sampling, sampling, config, callback, seconds)
    else:
        refining = config.refine.iterations > 0 and len(mps) == 1
        operator = Sense(mps, sampling)
        img, results = _fit_runs(operator, ksp * sampling, config, callback, seconds * (FIT_SHARE if refining else 1))
        left = seconds - (time.monotonic() - start)
        if refining and left > 0:
            img = _refined(mps[0], sampling, ksp, img[0], data, config.refine.iterations, left)[None]
        coil_imgs = operator.coil_images(img)
    if config.recon.data_consistency:
        coil_imgs = data_consistency(coil_imgs, ksp, mask)
    return Solution(
        coil_imgs=to_recon_matrix(coil_imgs, data.encoding),
        mps=None if mps is None else mps[0],
        method="coils" if mps is None and config.recon.mode == "maps" else config.recon.mode,
        iterations=sum(result.iterations for result in results),
        stop_reason=results[-1].stop_reason,
        loss=sum(result.loss for result in results) / len(results),
    )


def _fit_coils(
    ksp: Tensor, sampling: Tensor, config: Config, callback: Callback | None, seconds: float
) -> tuple[Tensor, list[FitResult]]:
    """Coil images from one network for all coils, or from one for each."""
    if config.recon.mode != "separate":
        return _fit_runs(CoilFourier(sampling, len(ksp)), ksp, config, callback, seconds)
    shares = _shares(seconds, len(ksp))
    found = [_fit_runs(CoilFourier(sampling, 1), coil, config, callback, next(shares)) for coil in ksp[:, None]]
    return torch.cat([img for img, _ in found]), [result for _, results in found for result in results]


def _fit_runs(
    operator: LinearOperator, ksp: Tensor, config: Config, callback: Callback | None, seconds: float
) -> tuple[Tensor, list[FitResult]]:
    """The mean of the images of several fits that differ in their seeds (paper, section 6)."""
    shares = _shares(seconds, config.recon.runs)
    results = [_fit(operator, ksp, config, run, callback, next(shares)) for run in range(config.recon.runs)]
    return torch.stack([result.img for result in results]).mean(dim=0), results


def _refined(mps: Tensor, sampling: Tensor, ksp: Tensor, img: Tensor, data: KSpace, iterations: int, seconds: float) -> Tensor:
    """:func:`refine` of an image, done with maps that carry the phase of the object; samples count by their weights."""
    calib = torch.from_numpy(data.calib).to(ksp.device)
    phase = image_phase(mps, calib, data.calib_mask)
    error = uncertainty(Sense(mps, sampling > 0), ksp, calib, data.calib_mask)
    weights = sampling / sampling.max()
    return phase * refine(Sense(mps * phase, weights), ksp * weights, img * phase.conj(), error, iterations, seconds)


def _maps(data: KSpace, config: Config, device: torch.device) -> Tensor | None:
    try:
        mps = estimate_map_sets(data.calib, data.calib_mask, config.maps, device)
    except CalibrationError as error:
        logger.warning("%s: no sensitivity maps (%s); reconstructing coil by coil", data.index, error)
        return None
    return torch.from_numpy(mps).to(device)


def _shares(seconds: float, fits: int) -> Iterator[float]:
    """What each of several fits in turn may take of the time."""
    deadline = time.monotonic() + seconds
    for left in range(fits, 0, -1):
        yield max(0.0, deadline - time.monotonic()) / left


def _fit(operator: LinearOperator, ksp: Tensor, config: Config, run: int, callback: Callback | None, seconds: float) -> FitResult:
    if not ksp.any():  # a dead coil of its own
        return FitResult(img=torch.zeros_like(ksp), iterations=0, loss=0.0, stop_reason="nothing to fit")

    def attempt(save_memory: bool) -> FitResult:
        generator = torch.Generator().manual_seed(config.seed + run)
        out_channels, out_size = 2 * math.prod(operator.ishape[:-2]), (operator.ishape[-2], operator.ishape[-1])
        network = build_network(config.network, out_channels, out_size, generator, config.compute, ksp.device)
        network.save_memory = save_memory
        with arithmetic(config.compute, ksp.device):
            return fit(network, operator, ksp, config.fit, callback, seconds)

    try:
        return attempt(save_memory=False)
    except torch.cuda.OutOfMemoryError as error:
        logger.warning("not enough memory on %s, trying again with less: %s", ksp.device, error)
    torch.cuda.empty_cache()  # nothing on a machine without CUDA; the failed fit's tensors are free by now
    return attempt(save_memory=True)
