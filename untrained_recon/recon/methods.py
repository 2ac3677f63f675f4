"""From the k-space of one image to its coil images, by the network or by another method."""

import logging
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from untrained_recon.account import NOTHING, Account
from untrained_recon.config import BaselineConfig, Config
from untrained_recon.errors import CalibrationError, FitError
from untrained_recon.physics.maps import estimate_maps
from untrained_recon.physics.operators import Sense, data_consistency, fft2, ifft2, rss, to_recon_matrix
from untrained_recon.physics.uncertainty import uncertainty
from untrained_recon.recon.conventional import bart, baselines
from untrained_recon.recon.doubts import CONVENTIONAL_MISFIT, aliasing, coils_alike, misfit
from untrained_recon.recon.fit.watch import UNWATCHED, Watch
from untrained_recon.recon.networks.unet import load_unet, unet_reconstruct
from untrained_recon.recon.untrained import FALLBACK, Solution, reconstruct_untrained
from untrained_recon.types import ComplexArray, KSpace

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")


def solve(data: KSpace, config: Config, device: torch.device, watch: Watch = UNWATCHED) -> Solution:
    """Reconstruct by ``config.recon.method``.

    Args:
        data: Prewhitened k-space.
        config: Method and settings.
        device: Where to compute.
        watch: Of the fits.

    Raises:
        FitError: No time is left.
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
    if watch.passed():
        raise FitError("the time budget of the scan is spent")
    if method == "unet":
        return _with_unet(data, ksp, Path(config.unet.weights))
    if method != "network":
        return _conventional(data, config, method, "", device)
    return reconstruct_untrained(data, ksp, mask, config, watch.within(config.fit.time_budget_s or None))


def solve_without_network(data: KSpace, config: Config, reason: str, device: torch.device = CPU) -> Solution:
    """CG-SENSE, or zero-filled where there are no maps or they are of no use; on the CPU where the device fails."""
    try:
        own = config.model_copy(update={"baseline": BaselineConfig()})  # the settings may be meant for another method
        return _conventional(data, own, "cg-sense", reason, device)
    except (CalibrationError, RuntimeError, ValueError, MemoryError) as error:  # the last resort follows, whatever it was
        if device.type != "cpu" and not isinstance(error, CalibrationError):
            logger.warning("%s: CG-SENSE on the CPU, as %s fails: %s", data.index, device, error)
            return solve_without_network(data, config, reason)
        logger.warning("%s: zero-filled instead of CG-SENSE: %s", data.index, error)
        found = _transformed(data, torch.from_numpy(data.ksp), "zero-filled")
        account = replace(found.account, fallback_reason=reason, stop_reason=FALLBACK)
        return replace(found, account=account, cautions=tuple(aliasing(data, False, True)))


def _transformed(data: KSpace, ksp: Tensor, method: str) -> Solution:
    def again(ksp: Tensor, _: Watch) -> Tensor:
        return to_recon_matrix(ifft2(ksp), data.encoding)

    cautions = () if method == "empty" else tuple(aliasing(data, False, False))
    return Solution(again(ksp, UNWATCHED), None, Account(method), cautions=cautions, again=again)


def _conventional(data: KSpace, config: Config, method: str, reason: str, device: torch.device) -> Solution:
    """On the device where the method can use it; what comes back lies on the CPU."""
    where = device if method == "cg-sense" else CPU
    mps = torch.from_numpy(_one_set(data, config, method, where)).to(where)
    ksp, mask, sampling = (torch.from_numpy(array).to(where) for array in (data.ksp, data.mask, data.sampling))
    lamda, iterations = config.baseline.lamda, config.baseline.iterations

    def solved(ksp: Tensor) -> Tensor:
        if method == "cg-sense":
            return mps * baselines.cg_sense(Sense(mps, mask), ksp, lamda, iterations)
        return mps * torch.from_numpy(baselines.solve(method, ksp.numpy(), mps.numpy(), data.mask, lamda, iterations))

    def delivered(coil_imgs: Tensor, ksp: Tensor) -> Tensor:
        if config.recon.data_consistency:
            coil_imgs = data_consistency(coil_imgs, ksp, mask)
        return to_recon_matrix(coil_imgs, data.encoding).cpu()

    coil_imgs = solved(ksp)
    operator, calib = Sense(mps, sampling), torch.from_numpy(data.calib).to(where)
    error = uncertainty(operator, ksp, calib, data.calib_mask)
    sampled = aliasing(data, True, False) or coils_alike(data, operator, operator.combine(coil_imgs), error)
    residual = (fft2(coil_imgs) - ksp) * sampling
    cautions = (*sampled, *misfit(residual, data, ksp, CONVENTIONAL_MISFIT))
    return Solution(
        coil_imgs=delivered(coil_imgs, ksp),
        mps=mps.cpu(),
        account=Account(method, reason, stop_reason=FALLBACK if reason else NOTHING, map_sets=1),
        cautions=cautions,
        again=lambda ksp, _: delivered(solved(ksp.to(where)), ksp.to(where)),
    )


def _one_set(data: KSpace, config: Config, method: str, device: torch.device) -> ComplexArray:
    if data.maps is not None:
        first: ComplexArray = data.maps[0]
        return first
    return bart.ecalib(data.ksp) if method == "paper-tv" else estimate_maps(data.calib, data.calib_mask, config.maps, device)


def _with_unet(data: KSpace, ksp: Tensor, weights: Path) -> Solution:
    """The trained U-net sees the magnitude of the delivered matrix, as in its training; coils keep their share and phase."""
    network = load_unet(weights).to(ksp.device)

    def again(ksp: Tensor, _: Watch) -> Tensor:
        coil_imgs = to_recon_matrix(ifft2(ksp), data.encoding)
        magnitude = rss(coil_imgs)
        improved = torch.from_numpy(unet_reconstruct(network, magnitude.cpu().numpy())).to(ksp.device)
        return coil_imgs * (improved.clamp(min=0) / magnitude.clamp(min=torch.finfo(magnitude.dtype).tiny))

    return Solution(again(ksp, UNWATCHED), None, Account("unet"), cautions=tuple(aliasing(data, False, False)), again=again)
