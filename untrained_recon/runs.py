"""One run of the un-trained reconstruction: the fit of a network, and the refinement of its image."""

import gc
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from untrained_recon.compute import arithmetic
from untrained_recon.config import Config
from untrained_recon.fit import CALLBACK, Callback, FitResult, fit
from untrained_recon.held_out import held_out, held_out_error
from untrained_recon.neighbour import Neighbour
from untrained_recon.networks import build_network
from untrained_recon.operators import CoilFourier, Sense
from untrained_recon.phase import image_phase
from untrained_recon.refine import refine
from untrained_recon.types import KSpace
from untrained_recon.uncertainty import noise_sd, uncertainty

logger = logging.getLogger(__name__)

NOTHING = "nothing to fit"
FIT_SHARE = 0.6  # of the time, where a refinement follows


@dataclass(frozen=True)
class Problem:
    """What is to be solved for one image, or for one coil of it.

    Attributes:
        data: Masks, and what else belongs to the image.
        operator: Forward model, with the samples' weights.
        ksp: complex ``operator.oshape``, the measurement.
        calib: complex ``operator.oshape``, the calibration samples.
        coil: Number of the coil, where each is a problem of its own.
    """

    data: KSpace
    operator: CoilFourier | Sense
    ksp: Tensor
    calib: Tensor
    coil: int = 0

    @property
    def weighted(self) -> Tensor:
        """The measurement with the samples' weights."""
        return self.ksp * self.operator.mask

    @cached_property
    def error(self) -> float:
        """See :func:`~untrained_recon.uncertainty.uncertainty`."""
        return uncertainty(self.operator, self.ksp, self.calib, self.data.calib_mask)

    @cached_property
    def phase(self) -> Tensor:
        """See :func:`~untrained_recon.phase.image_phase`."""
        return image_phase(self.operator, self.calib, self.data.calib_mask)


@dataclass(frozen=True)
class Run:
    """What came of a run.

    Attributes:
        img: complex ``operator.ishape``.
        iterations: Iterations of the fit.
        stop_reason: Why it ended.
        loss: See :class:`~untrained_recon.fit.FitResult`.
        refinements: Steps of the refinement, 0 where there was none.
        refinement_stop: Why it ended; empty where there was none.
        held_out: Relative error on the held-out samples before they entered the image; NaN where there are none.
    """

    img: Tensor
    iterations: int
    stop_reason: str
    loss: float
    refinements: int = 0
    refinement_stop: str = ""
    held_out: float = math.nan


def run(
    problem: Problem, config: Config, number: int, callback: Callback | None, seconds: float, neighbour: Neighbour | None = None
) -> Run:
    """Fit a network and refine its image, where ``refine.iterations`` asks for it and the noise is known.

    Args:
        problem: What is to be solved.
        config: Settings; ``config.seed + number`` draws network, input and the lines that are held out.
        number: Which of several runs it is.
        callback: Follows and may stop the fit and the refinement.
        seconds: Time for both.
        neighbour: Networks of the plane before to start from; takes this one's.

    Raises:
        FitError: The network cannot be fitted.
    """
    start = time.monotonic()
    if not problem.ksp.any():  # a dead coil of its own
        return Run(torch.zeros_like(problem.ksp), 0, NOTHING, 0.0)
    generator = torch.Generator().manual_seed(config.seed + number)
    held = held_out(problem.data.mask, config.recon.held_out, generator)
    held = None if held is None else held.to(problem.ksp.device)
    found = _fit(problem, held, config, number, callback, seconds * (FIT_SHARE if config.refine.iterations else 1), neighbour)
    fitted = Run(found.img, found.iterations, found.stop_reason, found.loss)
    left = seconds - (time.monotonic() - start)
    steps = config.refine.iterations
    if steps == 0 or left <= 0 or found.stop_reason == CALLBACK or problem.error == 0:
        error_out = math.nan if held is None else held_out_error(problem.operator(found.img), problem.weighted, held)
        return replace(fitted, held_out=error_out)
    with arithmetic(config.compute, problem.ksp.device):
        refined = refine(problem.operator, problem.weighted, found.img, problem.phase, problem.error, steps, left, held, callback)
    return replace(
        fitted,
        img=refined.img,
        refinements=refined.iterations,
        refinement_stop=refined.stop_reason,
        held_out=refined.held_out,
    )


def shares(seconds: float, parts: int) -> Iterator[float]:
    """What each of several runs in turn may take of the time."""
    deadline = time.monotonic() + seconds
    for left in range(parts, 0, -1):
        yield max(0.0, deadline - time.monotonic()) / left


def _fit(
    problem: Problem,
    held: Tensor | None,
    config: Config,
    number: int,
    callback: Callback | None,
    seconds: float,
    neighbour: Neighbour | None,
) -> FitResult:
    operator, ksp = problem.operator, problem.weighted
    # an estimated level may be too high, and would end the fit too early
    noise = math.sqrt(2) * noise_sd(problem.data, problem.ksp) if problem.data.prewhitened else 0.0
    name, follows = f"coil {problem.coil}, run {number}", config.fit.following_iterations if neighbour is not None else 0

    def attempt(save_memory: bool) -> FitResult:
        generator = torch.Generator().manual_seed(config.seed + number)
        out_channels, out_size = 2 * math.prod(operator.ishape[:-2]), (operator.ishape[-2], operator.ishape[-1])
        network = build_network(config.network, out_channels, out_size, generator, config.compute, ksp.device)
        network.save_memory = save_memory
        network.recorded &= not save_memory  # a recording keeps its memory to itself
        settings = config.fit
        if neighbour is not None and follows and neighbour.lend(name, network):
            settings = settings.model_copy(update={"iterations": min(follows, settings.iterations)})
        with arithmetic(config.compute, ksp.device):
            result = fit(network, operator, ksp, settings, callback, seconds, held=held, noise=noise)
        if neighbour is not None and follows:
            neighbour.keep(name, network)
        return result

    try:
        return attempt(save_memory=False)
    except torch.cuda.OutOfMemoryError as error:
        # as text: who keeps the record would keep the traceback, and with it all that the failed fit holds
        logger.warning("not enough memory on %s, trying again with less: %s", ksp.device, str(error))
    gc.collect()  # optimisers refer to themselves
    torch.cuda.empty_cache()  # nothing on a machine without CUDA
    return attempt(save_memory=True)
