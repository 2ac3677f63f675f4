"""The un-trained reconstruction of one image: maps, runs of the network, coil images."""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from untrained_recon.cautions import Caution
from untrained_recon.coils import estimate_map_sets
from untrained_recon.config import Config
from untrained_recon.errors import CalibrationError
from untrained_recon.evidence import Again, refined_again
from untrained_recon.fit import Callback
from untrained_recon.neighbour import Neighbour
from untrained_recon.operators import CoilFourier, Sense, data_consistency, rss, to_recon_matrix
from untrained_recon.runs import NOTHING, Problem, Run, run, shares
from untrained_recon.types import KSpace
from untrained_recon.uncertainty import noise_sd

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Solution:
    """Coil images and how they came about; those from ``method`` to ``cautions`` are those of ``types.Reconstruction``.

    Attributes:
        coil_imgs: complex ``(n_coils, *encoding.recon_shape)``.
        mps: complex ``(n_coils, *encoding.image_shape)``; None where the method needed none.
        alone: Computes the magnitudes that the runs of the network would deliver, each alone; none without a network.
        again: The coil images for other samples, on the device of ``coil_imgs``; None where that would take a fit.
    """

    coil_imgs: Tensor
    mps: Tensor | None
    method: str
    fallback_reason: str = ""
    iterations: int = 0
    stop_reason: str = NOTHING
    loss: float = math.nan
    refinements: int = 0
    refinement_stop: str = ""
    held_out_error: float = math.nan
    chi2: float = math.nan
    cautions: tuple[Caution, ...] = ()
    alone: Callable[[], list[Tensor]] = list
    again: Again | None = None


def reconstruct_untrained(
    data: KSpace,
    ksp: Tensor,
    mask: Tensor,
    config: Config,
    callback: Callback | None,
    seconds: float,
    neighbour: Neighbour | None = None,
) -> Solution:
    """Reconstruct by the network, with maps where ``recon.mode`` asks for them and the calibration allows them.

    Args:
        data: Prewhitened k-space.
        ksp: Its samples on the device.
        mask: Its mask on the device.
        config: Method and settings.
        callback: Follows and may stop the fits and the refinement.
        seconds: Time for them.
        neighbour: See :func:`~untrained_recon.runs.run`.

    Raises:
        FitError: The network cannot be fitted.
    """
    mps = _maps(data, config, ksp.device) if config.recon.mode == "maps" else None
    sampling = torch.from_numpy(data.sampling).to(ksp.device)
    problems = _problems(data, ksp, sampling, mps, config.recon.mode)
    runs = _repeated(problems, config, callback, seconds, neighbour)
    imgs = [torch.stack([one.img for one in repeated]).mean(dim=0) for repeated in runs]
    chi2 = _mean([_chi2(problem, img) for problem, img in zip(problems, imgs, strict=True)])

    def delivered(imgs: Iterable[Tensor], ksp: Tensor) -> Tensor:
        coil_imgs = torch.cat([problem.operator.coil_images(img) for problem, img in zip(problems, imgs, strict=True)])
        if config.recon.data_consistency:
            coil_imgs = data_consistency(coil_imgs, ksp, mask)
        return to_recon_matrix(coil_imgs, data.encoding)

    def again(ksp: Tensor) -> Tensor:
        coils = torch.split(ksp, [len(problem.ksp) for problem in problems])
        solved = zip(problems, imgs, coils, strict=True)
        return delivered([refined_again(problem, img, config.refine.iterations, coil) for problem, img, coil in solved], ksp)

    flat = [one for repeated in runs for one in repeated]
    return Solution(
        coil_imgs=delivered(imgs, ksp),
        mps=None if mps is None else mps[0],
        method="coils" if mps is None and config.recon.mode == "maps" else config.recon.mode,
        iterations=sum(one.iterations for one in flat),
        stop_reason=flat[-1].stop_reason,
        loss=_mean([one.loss for one in flat]),
        refinements=sum(one.refinements for one in flat),
        refinement_stop=flat[-1].refinement_stop,
        held_out_error=_mean([one.held_out for one in flat]),
        chi2=chi2,
        alone=lambda: [rss(delivered([one.img for one in same], ksp)) for same in zip(*runs, strict=True)],
        again=again if all(one.refinements for one in flat if one.stop_reason != NOTHING) else None,
    )


def _maps(data: KSpace, config: Config, device: torch.device) -> Tensor | None:
    if data.maps is not None:
        return torch.from_numpy(data.maps).to(device)
    try:
        mps = estimate_map_sets(data.calib, data.calib_mask, config.maps, device)
    except CalibrationError as error:
        logger.warning("%s: no sensitivity maps (%s); reconstructing coil by coil", data.index, error)
        return None
    return torch.from_numpy(mps).to(device)


def _problems(data: KSpace, ksp: Tensor, sampling: Tensor, mps: Tensor | None, mode: str) -> list[Problem]:
    """One problem for the image; or one for each coil, where each has its own network."""
    calib = ksp if data.calib is data.ksp else torch.from_numpy(data.calib).to(ksp.device)
    if mps is not None:
        return [Problem(data, Sense(mps, sampling), ksp, calib)]
    if mode == "separate":
        one = CoilFourier(sampling, 1)
        return [Problem(data, one, ksp[coil, None], calib[coil, None], coil) for coil in range(len(ksp))]
    return [Problem(data, CoilFourier(sampling, len(ksp)), ksp, calib)]


def _repeated(
    problems: list[Problem], config: Config, callback: Callback | None, seconds: float, neighbour: Neighbour | None
) -> list[list[Run]]:
    """For every problem ``recon.runs`` runs, whose images are to be averaged (paper, section 6)."""
    share = shares(seconds, len(problems) * config.recon.runs)
    numbers = range(config.recon.runs)
    return [[run(problem, config, number, callback, next(share), neighbour) for number in numbers] for problem in problems]


def _chi2(problem: Problem, img: Tensor) -> float:
    """Squared residual of the samples relative to the noise's, 1 where nothing but noise is left unexplained.

    The noise is known after a noise scan and estimated without.
    """
    sampled = problem.operator.mask > 0
    noise = math.sqrt(2) * noise_sd(problem.data, problem.ksp)
    residual = (problem.operator(img) - problem.weighted)[..., sampled]
    return float(residual.abs().square().mean()) / noise**2 if noise else math.nan


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
