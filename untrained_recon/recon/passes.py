"""More passes of a refinement, each with maps that are estimated anew from the image of the pass before.

Maps of few calibration lines are wrong by more than the noise, and an image that is refined for long with them fits what they
cannot explain: some got worse by every step. The image itself, with its samples put back, is a calibration of as many lines as one
likes, so that image and maps improve each other in turns [as in JSENSE: Ying & Sheng, MRM 57:1196, 2007]. Samples that no pass sees
tell whether another one pays. That passes help is not sure: what is delivered lies between the first image and the last, where the
same refinement of fewer samples predicts the others best.
"""

import logging
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from untrained_recon.config import Config
from untrained_recon.errors import CalibrationError
from untrained_recon.physics.maps import estimate_map_sets
from untrained_recon.physics.operators import CoilFourier, Sense, data_consistency, fft2
from untrained_recon.recon.fit.held_out import held_out_error, held_out_samples
from untrained_recon.recon.fit.loop import CALLBACK, DISCREPANCY
from untrained_recon.recon.fit.watch import Callback, Progress, Watch
from untrained_recon.recon.networks.compute import arithmetic
from untrained_recon.recon.refine.steps import FIRST_PASS, refine
from untrained_recon.recon.run import Problem, first_pass

logger = logging.getLogger(__name__)

STEPS = 30  # of a pass
FIRST = 3.0  # its first threshold, in units of the uncertainty
EARLY = 0.5  # of its steps, whose images follow noise less than the best one does
HELD = 0.05  # of the samples outside the calibration block
TRIAL = 0.1  # likewise, to find out what the passes are worth
LEAST, LEAST_WITH_MAPS = 1 / 3, 1 / 2  # share of the last image, as the trial tells too little of lines that are far from others
BETTER = 0.98  # of the uncertainty with the maps of the calibration lines: what maps of the image must leave less than
SETTLED = 0.1  # root mean square of an image's change, in units of the uncertainty


def refined_on(problem: Problem, img: Tensor, config: Config, watch: Watch) -> tuple[Problem, Tensor, int]:
    """Refine an image on, in whole passes: while they pay, and as far as ``refine.iterations``, time and memory allow.

    A pass that time or the callback ends is not kept; after the callback has ended one, nothing else is begun. Where memory or the
    device fails, the image stays what it is.

    Args:
        problem: Whose image it is. Maps that are known, and coils without maps, stay what they are.
        img: complex ``operator.ishape``, refined by :data:`~untrained_recon.recon.refine.steps.FIRST_PASS` steps.
        config: Steps at most, the settings of the maps, and the seed that draws what no pass sees.
        watch: Of the passes.

    Returns:
        The problem, with its last maps; its image; and the steps that were done.
    """
    try:
        return _mixed(problem, img, config, watch)
    except (RuntimeError, MemoryError) as error:  # RuntimeError: whatever a failing device raises
        # as text: who keeps the record would keep the traceback, and with it all that the pass holds
        logger.warning("%s: the image is not refined on: %s: %s", problem.data.index, type(error).__name__, error)
        return problem, img, 0


def _mixed(problem: Problem, img: Tensor, config: Config, watch: Watch) -> tuple[Problem, Tensor, int]:
    """What :func:`refined_on` returns."""
    last = _passes(problem, img, config, watch.part(0.5))
    if last.img is img:
        return problem, img, last.steps
    weight = LEAST if last.problem is problem else LEAST_WITH_MAPS
    if not last.stopped:
        weight = max(weight, _weight(problem, config, replace(watch, follow=_showing(watch, last.img))))
    logger.info("%s: %d more steps, %.3g of the last image delivered", problem.data.index, last.steps, weight)
    return last.problem, torch.lerp(_moved(img, problem, last.problem), last.img, weight), last.steps


@dataclass(frozen=True)
class _Refined:
    """What passes leave behind: the problem with other maps, its image, the steps done, and whether the callback ended them."""

    problem: Problem
    img: Tensor
    steps: int
    stopped: bool = False


def _passes(problem: Problem, img: Tensor, config: Config, watch: Watch) -> _Refined:
    held = held_out_samples(problem.data.mask, HELD, torch.Generator().manual_seed(config.seed)).to(img.device)
    done, unseen, bound, stopped = 0, math.inf, BETTER * problem.error, False
    if not held.any() or not problem.live:
        return _Refined(problem, img, done)
    while done + STEPS <= config.refine.iterations - FIRST_PASS and not watch.passed():
        try:
            after = _recalibrated(problem, img, config, bound)
        except CalibrationError as error:
            logger.info("%s: no maps of the image: %s", problem.data.index, error)
            break
        start = _moved(img, problem, after)
        seen, best = _without(after.operator, held), _Best(after, held, watch)
        with arithmetic(config.compute, img.device):
            followed = replace(watch, follow=best)
            found = refine(seen, after.ksp * seen.mask, start, after.prior(), after.error, STEPS, followed, first=FIRST, look=1)
        done += found.iterations
        stopped = found.stop_reason == CALLBACK
        if found.stop_reason != DISCREPANCY or best.img is None or best.error >= unseen:
            break
        problem, img, unseen = after, best.img, best.error
        change = float((img - start).abs().square().mean().sqrt()) / after.error
        logger.info("%s: %d more steps, error of unseen samples %.4g, change %.3g", problem.data.index, done, unseen, change)
        if change < SETTLED:
            break
    return _Refined(problem, img, done, stopped)


def _weight(problem: Problem, config: Config, watch: Watch) -> float:
    """Share of the last image in what is delivered, by a trial with fewer samples.

    First and last image of these are mixed so that the mixture is next to the samples left out, by least squares; that both saw as
    little of them makes it a fair comparison, which that of the images themselves is not.
    """
    mask, generator = problem.data.mask, torch.Generator().manual_seed(config.seed + 1)
    held = held_out_samples(mask, TRIAL, generator)
    data, held = replace(problem.data, mask=mask & ~held.numpy()), held.to(problem.ksp.device)
    trial = replace(problem, data=data, operator=_without(problem.operator, held))
    if trial.error == 0:  # the samples that told of the noise are among those left out
        return 0.0
    with arithmetic(config.compute, held.device):
        found = first_pass(trial, trial.conventional(), FIRST_PASS, watch)
    if found.stop_reason == CALLBACK:
        return 0.0
    first, last = found.img, _passes(trial, found.img, config, watch)
    operator = _with_mask(last.problem.operator, problem.operator.mask * held)
    before, after = operator(_moved(first, trial, last.problem)), operator(last.img)
    gain, change = after - before, float((after - before).abs().square().sum())
    missing = problem.ksp * operator.mask - before
    return min(float((gain.conj() * missing).real.sum()) / change, 1.0) if change else 0.0


def _showing(watch: Watch, img: Tensor) -> Callback | None:
    """Tells the follower of a trial, whose images are nobody's, with the image at hand."""
    follow = watch.follow
    return None if follow is None else lambda progress: follow(replace(progress, img=img))


def _moved(img: Tensor, before: Problem, after: Problem) -> Tensor:
    """An image with other maps."""
    return img if after is before else after.operator.combine(before.operator.coil_images(img))


class _Best:
    """Follows a pass, and keeps of its later images the one that predicts best what it does not see.

    Args:
        problem: What is solved.
        held: bool ``(n_y, n_x)``, the samples that the pass does not see.
        watch: Who else follows.

    Attributes:
        img: That image; None before the later steps.
        error: Its relative error on these samples.
    """

    def __init__(self, problem: Problem, held: Tensor, watch: Watch) -> None:
        self.img: Tensor | None = None
        self.error = math.inf
        self._problem, self._held, self._watch = problem, held, watch

    def __call__(self, progress: Progress) -> bool:
        """The callback."""
        if progress.iteration > EARLY * progress.iterations:
            error = held_out_error(self._problem.operator(progress.img), self._problem.weighted, self._held)
            if error < self.error:
                self.img, self.error = progress.img, error
        return not self._watch.stops(progress)


def _recalibrated(problem: Problem, img: Tensor, config: Config, bound: float) -> Problem:
    """The problem with as many sets of maps, of the image with its samples put back; the same where these explain no more.

    Judge are the calibration samples that were measured, by the uncertainty that the maps leave.
    """
    if isinstance(problem.operator, CoilFourier) or problem.data.maps is not None:
        return problem
    mps, mask = problem.operator.mps, problem.operator.mask
    ksp = fft2(data_consistency(problem.operator.coil_images(img), problem.ksp, mask > 0)).cpu().numpy()
    settings = config.maps.model_copy(update={"sets": len(mps)})
    found = estimate_map_sets(ksp, np.ones_like(problem.data.mask), settings, mps.device)
    other = replace(problem, operator=Sense(torch.from_numpy(found).to(mps.device), mask))
    return other if other.error < bound else problem


def _without(operator: CoilFourier | Sense, held: Tensor) -> CoilFourier | Sense:
    return _with_mask(operator, operator.mask * ~held)


def _with_mask(operator: CoilFourier | Sense, mask: Tensor) -> CoilFourier | Sense:
    return CoilFourier(mask, operator.ishape[0]) if isinstance(operator, CoilFourier) else Sense(operator.mps, mask)
