"""From the k-space of one image to its coil images, by the network or by another method."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from untrained_recon import bart, baselines
from untrained_recon.coils import estimate_maps
from untrained_recon.config import BaselineConfig, Config
from untrained_recon.errors import CalibrationError, FitError
from untrained_recon.fit import Callback
from untrained_recon.neighbour import Neighbour
from untrained_recon.networks.unet import load_unet, unet_reconstruct
from untrained_recon.operators import data_consistency, ifft2, rss, to_recon_matrix
from untrained_recon.runs import NOTHING
from untrained_recon.types import ComplexArray, KSpace
from untrained_recon.untrained import Solution, reconstruct_untrained

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")


def solve(
    data: KSpace,
    config: Config,
    device: torch.device,
    callback: Callback | None,
    seconds: float,
    neighbour: Neighbour | None = None,
) -> Solution:
    """Reconstruct by ``config.recon.method``.

    Args:
        data: Prewhitened k-space.
        config: Method and settings.
        device: Where to compute.
        callback: Follows and may stop the fits.
        seconds: Time for the fits.
        neighbour: See :func:`~untrained_recon.runs.run`.

    Raises:
        FitError: The network cannot be fitted, or no time is left.
        CalibrationError: A method that needs maps cannot have them.
        RuntimeError: The device fails.
    """
    ksp, mask = torch.from_numpy(data.ksp).to(device), torch.from_numpy(data.mask).to(device)
    method = config.recon.method
    if not data.ksp.any():
        logger.warning("%s holds no signal; its image is zero", data.index)
        return _transformed(data, ksp, "empty")
    if data.mask.all() or method == "zero-filled":
        return _transformed(data, ksp, "direct" if data.mask.all() else "zero-filled")
    if seconds <= 0:
        raise FitError("the time budget of the scan is spent")
    if method == "unet":
        return _with_unet(data, ksp, Path(config.unet.weights))
    if method != "network":
        return _conventional(data, config, method, "")
    seconds = min(seconds, config.fit.time_budget_s or math.inf)
    return reconstruct_untrained(data, ksp, mask, config, callback, seconds, neighbour)


def solve_without_network(data: KSpace, config: Config, reason: str) -> Solution:
    """CG-SENSE, or zero-filled where there are no maps; on the CPU, which does not fail."""
    try:
        own = config.model_copy(update={"baseline": BaselineConfig()})  # the settings may be meant for another method
        return _conventional(data, own, "cg-sense", reason)
    except CalibrationError:
        found = _transformed(data, torch.from_numpy(data.ksp), "zero-filled")
        return replace(found, fallback_reason=reason, stop_reason="fallback")


def _transformed(data: KSpace, ksp: Tensor, method: str) -> Solution:
    def again(ksp: Tensor) -> Tensor:
        return to_recon_matrix(ifft2(ksp), data.encoding)

    return Solution(again(ksp), None, method, again=again)


def _conventional(data: KSpace, config: Config, method: str, reason: str) -> Solution:
    mps = _one_set(data, config, method)

    def again(ksp: Tensor) -> Tensor:
        img = baselines.solve(method, ksp.numpy(), mps, data.mask, config.baseline.lamda, config.baseline.iterations)
        coil_imgs = torch.from_numpy(mps * img)
        if config.recon.data_consistency:
            coil_imgs = data_consistency(coil_imgs, ksp, torch.from_numpy(data.mask))
        return to_recon_matrix(coil_imgs, data.encoding)

    coil_imgs = again(torch.from_numpy(data.ksp))
    stop_reason = "fallback" if reason else NOTHING
    return Solution(coil_imgs, torch.from_numpy(mps), method, reason, stop_reason=stop_reason, again=again)


def _one_set(data: KSpace, config: Config, method: str) -> ComplexArray:
    if data.maps is not None:
        first: ComplexArray = data.maps[0]
        return first
    return bart.ecalib(data.ksp) if method == "paper-tv" else estimate_maps(data.calib, data.calib_mask, config.maps, CPU)


def _with_unet(data: KSpace, ksp: Tensor, weights: Path) -> Solution:
    """The trained U-net sees the magnitude of the delivered matrix, as in its training; coils keep their share and phase."""
    network = load_unet(weights).to(ksp.device)

    def again(ksp: Tensor) -> Tensor:
        coil_imgs = to_recon_matrix(ifft2(ksp), data.encoding)
        magnitude = rss(coil_imgs)
        improved = torch.from_numpy(unet_reconstruct(network, magnitude.cpu().numpy())).to(ksp.device)
        return coil_imgs * (improved.clamp(min=0) / magnitude.clamp(min=torch.finfo(magnitude.dtype).tiny))

    return Solution(again(ksp), None, "unet", again=again)
