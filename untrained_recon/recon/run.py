"""One run of the un-trained reconstruction: the fit of a network, and the refinement of its image."""

import gc
import logging
import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from untrained_recon.account import Account
from untrained_recon.config import Config
from untrained_recon.errors import FitError
from untrained_recon.physics.conjugate import cg_sense
from untrained_recon.physics.maps import FEWEST_LINES
from untrained_recon.physics.operators import CoilFourier, Sense, ifft2
from untrained_recon.physics.uncertainty import noise_sd, uncertainty
from untrained_recon.recon.demand import must_save
from untrained_recon.recon.fit.held_out import held_out, held_out_error
from untrained_recon.recon.fit.loop import CALLBACK, OUT_OF_TIME, FitResult, fit
from untrained_recon.recon.fit.recorded import RECORDING
from untrained_recon.recon.fit.watch import Watch
from untrained_recon.recon.networks import build_network
from untrained_recon.recon.networks.compute import arithmetic
from untrained_recon.recon.refine.phase import image_phase
from untrained_recon.recon.refine.prior import CollaborativeFilter, Prior
from untrained_recon.recon.refine.steps import FIRST_PASS, Refined, refine
from untrained_recon.recon.refine.without_centre import refine_without_centre
from untrained_recon.sampled import calibration_block
from untrained_recon.types import KSpace

logger = logging.getLogger(__name__)

FIT_SHARE = 0.25  # of the time, where a refinement follows: what that needs for its steps matters more
NEAR = 2.0  # uncertainties, root mean square, to which a fit explains the samples: the refinement begins with a threshold of five
LAMDA, ITERATIONS = 0.01, 15  # of CG-SENSE, to compare with
TRIAL = 0.1  # of the lines, left out of CG-SENSE to see how well it predicts them
FEWEST = 30  # iterations of a network that starts anew; after fewer, CG-SENSE is the better start of a refinement
WORTH_DELIVERING = 10  # steps of the refinement; what fewer make of CG-SENSE was up to 3 dB worse than it
WORSE_THAN_NOTHING = 1.0  # squared residual relative to the samples: that of a zero image
LEAST_SIDE = 7  # pixels; of less (6×200), processes died in PyTorch's backward pass, in 3 of 12 starts
RUN_AWAY = 4.0  # likewise; a network that was not fitted has about 2


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
        """See :func:`~untrained_recon.physics.uncertainty.uncertainty`."""
        return uncertainty(self.operator, self.ksp, self.calib, self.data.calib_mask)

    @cached_property
    def live(self) -> bool:
        """Whether there is any signal: not in a dead coil of its own."""
        return bool(self.ksp.any())

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the complex noise of a sample times its weight; 0 where it is not known."""
        return math.sqrt(2) * noise_sd(self.data, self.ksp)

    def conventional(self, held: Tensor | None = None) -> Tensor:
        """CG-SENSE, or without maps the zero-filled image; of the samples that are not held out."""
        if isinstance(self.operator, CoilFourier):
            return ifft2(self.ksp if held is None else self.ksp * ~held)
        seen = self.operator if held is None else Sense(self.operator.mps, self.operator.mask * ~held)
        return cg_sense(seen, self.ksp * seen.mask, LAMDA, ITERATIONS)

    @cached_property
    def _phase(self) -> Tensor:
        return image_phase(self.operator, self.calib, self.data.calib_mask)

    def prior(self) -> Prior:
        """What its refinement takes for a likely image."""
        return CollaborativeFilter(self._phase)


@dataclass(frozen=True)
class Run:
    """What came of a run.

    Attributes:
        img: complex ``operator.ishape``.
        account: How it came about.
        conventional: Whether the image is the conventional one, as time ended before the network had a better one.
    """

    img: Tensor
    account: Account
    conventional: bool = False


def run(problem: Problem, config: Config, number: int, watch: Watch) -> Run:
    """Fit a network and refine its image in a first pass, where ``refine.iterations`` asks for it and the noise is known.

    Where the time ends the fit, the conventional image takes the place of the network's if it is the better one, as the start of
    the refinement or as the result. It also starts the refinement where time does not suffice for :data:`FEWEST` iterations, or the
    network's image is worse than none; and is the result where time ends the refinement before :data:`WORTH_DELIVERING` steps.

    Args:
        problem: What is to be solved.
        config: Settings; ``config.seed + number`` draws network, input and the lines that are held out.
        number: Which of several runs it is.
        watch: Of the fit, the refinement and the conventional image.

    Raises:
        FitError: The network cannot be fitted.
    """
    if not problem.live:
        return Run(torch.zeros_like(problem.ksp), Account())
    generator = torch.Generator().manual_seed(config.seed + number)
    held = _lines(problem, config.recon.held_out, generator)
    steps = min(config.refine.iterations, FIRST_PASS)
    rival = _rival(problem, held, bool(steps), generator) if watch.limited else None
    if rival is not None and watch.passed():
        return Run(rival.img, Account(stop_reason=OUT_OF_TIME), conventional=True)
    found = _fit(problem, held, config, number, watch.part(FIT_SHARE if steps else 1.0))
    account = Account(iterations=found.iterations, stop_reason=found.stop_reason, loss=found.loss)
    left_over = _relative(problem, found.img, None)
    if not math.isfinite(left_over):
        raise FitError("the image holds pixels that are not finite")
    if left_over >= RUN_AWAY:
        raise FitError(f"the fit ran away: its squared residual is {left_over:.3g} times that of no image; lower fit.lr")
    fitted = Run(found.img, account)
    if rival is not None and (found.too_early or _is_better(rival, problem, found)):
        fitted = Run(rival.img, account, conventional=True)
    if steps == 0 or watch.passed() or found.stop_reason == CALLBACK or problem.error == 0:
        held_chi2 = math.nan if held is None else _held_chi2(problem, held, _relative(problem, found.img, held))
        return replace(fitted, account=replace(account, held_out_chi2=held_chi2))
    start = fitted.img if fitted.conventional or left_over < WORSE_THAN_NOTHING else problem.conventional(held)
    with arithmetic(config.compute, problem.ksp.device):
        refined = first_pass(problem, start, steps, watch, held)
    if rival is not None and refined.stop_reason == OUT_OF_TIME and refined.iterations < WORTH_DELIVERING:
        return Run(rival.img, account, conventional=True)
    held_chi2 = math.nan if held is None else _held_chi2(problem, held, refined.held_out**2)
    done = replace(account, refinements=refined.iterations, refinement_stop=refined.stop_reason, held_out_chi2=held_chi2)
    return Run(refined.img, done)


def first_pass(problem: Problem, img: Tensor, steps: int, watch: Watch, held: Tensor | None = None) -> Refined:
    """:func:`~untrained_recon.recon.refine.steps.refine`, or without a sampled centre
    :func:`~untrained_recon.recon.refine.without_centre.refine_without_centre`.
    """
    operator, ksp, prior, error = problem.operator, problem.weighted, problem.prior(), problem.error
    if isinstance(operator, Sense) and min(calibration_block(problem.data.mask, FEWEST_LINES)) < FEWEST_LINES:
        return refine_without_centre(operator, ksp, img, prior, error, steps, watch, held)
    return refine(operator, ksp, img, prior, error, steps, watch, held)


@dataclass(frozen=True)
class _Rival:
    """The conventional image.

    Attributes:
        img: complex ``operator.ishape``.
        trial: bool ``(n_y, n_x)``, samples to compare by; None for all, where no lines can be spared.
        error: Squared error on them, relative to their energy, of a conventional image that did not see them.
    """

    img: Tensor
    trial: Tensor | None
    error: float


def _rival(problem: Problem, held: Tensor | None, refined: bool, generator: torch.Generator) -> _Rival:
    """What a fit is compared with that did not see the lines held out, or if none are held out, one that saw all."""
    trial = _lines(problem, TRIAL, generator) if held is None else held
    img = problem.conventional(trial)
    error = _relative(problem, img, trial)
    return _Rival(img if trial is None or (refined and held is not None) else problem.conventional(), trial, error)


def _is_better(rival: _Rival, problem: Problem, found: FitResult) -> bool:
    """Whether the conventional image predicts no worse than a network that time has ended."""
    return found.stop_reason == OUT_OF_TIME and rival.error <= _relative(problem, found.img, rival.trial)


def _lines(problem: Problem, share: float, generator: torch.Generator) -> Tensor | None:
    held = held_out(problem.data.mask, share, generator)
    return None if held is None else held.to(problem.ksp.device)


def _relative(problem: Problem, img: Tensor, held: Tensor | None) -> float:
    """Squared residual relative to the energy of the samples, of all or of those held out."""
    chosen = problem.operator.mask > 0 if held is None else held
    return held_out_error(problem.operator(img), problem.weighted, chosen) ** 2


def _held_chi2(problem: Problem, held: Tensor, relative: float) -> float:
    """A squared error relative to the held-out samples, in units of the noise's."""
    mean = float(problem.weighted[..., held].abs().square().mean())
    return relative * mean / problem.noise**2 if problem.noise else math.nan


def _fit(problem: Problem, held: Tensor | None, config: Config, number: int, watch: Watch) -> FitResult:
    operator, ksp = problem.operator, problem.weighted
    # an estimated level may be too high, and would end a fit too early that nothing refines
    noise = problem.noise if problem.data.prewhitened else 0.0
    level = NEAR * problem.error if config.refine.iterations else noise
    if min(operator.ishape[-2:]) < LEAST_SIDE:
        raise FitError(f"a side of {min(operator.ishape[-2:])} pixels is too short for the network; it takes {LEAST_SIDE}")
    name, follows, before = f"coil {problem.coil}, run {number}", config.fit.following_iterations, watch.warm_start

    def attempt(save_memory: bool) -> FitResult:
        generator = torch.Generator().manual_seed(config.seed + number)
        out_channels, out_size = 2 * math.prod(operator.ishape[:-2]), (operator.ishape[-2], operator.ishape[-1])
        network = build_network(config.network, out_channels, out_size, generator, config.compute, ksp.device)
        network.save_memory = save_memory or must_save(network, operator.oshape)
        network.recorded &= not network.save_memory  # a recording keeps its memory to itself
        settings, fewest = config.fit, FEWEST if config.refine.iterations else 1
        if before is not None and follows and before.lend(name, network):
            settings, fewest = settings.model_copy(update={"iterations": min(follows, settings.iterations)}), 1
        with arithmetic(config.compute, ksp.device):
            result = fit(network, operator, ksp, settings, watch, held=held, level=level, fewest=fewest)
        if before is not None and follows:
            before.keep(name, network)
        return result

    try:
        return attempt(save_memory=False)
    except torch.cuda.OutOfMemoryError as error:
        # as text: who keeps the record would keep the traceback, and with it all that the failed fit holds
        logger.warning("not enough memory on %s, trying again with less: %s", ksp.device, str(error))
    gc.collect()  # optimisers refer to themselves
    with RECORDING:
        torch.cuda.empty_cache()  # nothing on a machine without CUDA
    return attempt(save_memory=True)
