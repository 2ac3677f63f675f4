"""The un-trained reconstruction of one image: maps, runs of the network, coil images."""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from untrained_recon.account import Account, mean_of_numbers
from untrained_recon.cautions import Caution
from untrained_recon.config import Config, MapsConfig
from untrained_recon.errors import CalibrationError, FitError
from untrained_recon.physics.maps import estimate_map_sets, needed_sets
from untrained_recon.physics.operators import CoilFourier, Sense, data_consistency, rss, to_recon_matrix
from untrained_recon.recon.demand import demand_of
from untrained_recon.recon.doubts import CONVENTIONAL_MISFIT, MISFIT, aliasing, coils_alike, misfit, out_of_time, too_few_sets
from untrained_recon.recon.evidence import Again, refined_again, undetermined_part
from untrained_recon.recon.fit.loop import DISCREPANCY, OUT_OF_TIME
from untrained_recon.recon.fit.watch import Watch
from untrained_recon.recon.lanes import side_by_side
from untrained_recon.recon.passes import refined_on
from untrained_recon.recon.run import Problem, Run, run
from untrained_recon.types import KSpace

logger = logging.getLogger(__name__)

FALLBACK = "fallback"


@dataclass(frozen=True)
class Task:
    """What is fitted for an image, and how what was fitted becomes the image that is delivered.

    Attributes:
        data: Prewhitened k-space.
        mask: Its mask on the device.
        maps: Sensitivity maps, or why there are none.
        problems: One for the image; or one for each coil, where each has its own network.
        data_consistency: Whether measured samples are put back.
    """

    data: KSpace
    mask: Tensor
    maps: "Maps"
    problems: list[Problem]
    data_consistency: bool

    @classmethod
    def of(cls, data: KSpace, ksp: Tensor, mask: Tensor, config: Config) -> "Task":
        """That of :func:`reconstruct_untrained`, of which the arguments are."""
        maps = _maps(data, config.maps, ksp.device) if config.recon.mode == "maps" else Maps()
        sampling = torch.from_numpy(data.sampling).to(ksp.device)
        return cls(data, mask, maps, _problems(data, ksp, sampling, maps.mps, config.recon.mode), config.recon.data_consistency)

    def delivered(self, imgs: Iterable[Tensor], ksp: Tensor) -> Tensor:
        """The coil images ``(n_coils, *encoding.recon_shape)`` of one image per problem, with the samples ``ksp``."""
        coil_imgs = torch.cat([problem.operator.coil_images(img) for problem, img in zip(self.problems, imgs, strict=True)])
        if self.data_consistency:
            coil_imgs = data_consistency(coil_imgs, ksp, self.mask)
        return to_recon_matrix(coil_imgs, self.data.encoding)

    def undetermined(self, imgs: Iterable[Tensor]) -> Tensor:
        """Coil images, as those delivered, of the parts of the images that the samples do not determine."""
        parts = [undetermined_part(problem, img) for problem, img in zip(self.problems, imgs, strict=True)]
        coil_imgs = [problem.operator.coil_images(part) for problem, part in zip(self.problems, parts, strict=True)]
        return to_recon_matrix(torch.cat(coil_imgs), self.data.encoding)

    def doubts(self, imgs: list[Tensor], bound: float) -> tuple[Caution, ...]:
        """What the sampling, the maps and what they leave unexplained raise; ``bound`` as of :func:`misfit`."""
        residual = torch.cat([problem.operator(img) - problem.weighted for problem, img in zip(self.problems, imgs, strict=True)])
        ksp = torch.cat([problem.ksp for problem in self.problems])
        sampled = aliasing(self.data, self.maps.mps is not None, self.maps.failed)
        sampled = sampled or coils_alike(self.data, self.problems[0].operator, imgs[0], self.problems[0].error)
        return (*self.maps.cautions, *sampled, *misfit(residual, self.data, ksp, bound))

    def refined_on(self, imgs: list[Tensor], config: Config, watch: Watch) -> tuple["Task", list[Tensor], int]:
        """See :func:`~untrained_recon.recon.passes.refined_on`; too few sets of maps do not become right by maps of the image."""
        if self.maps.cautions:
            return self, imgs, 0
        each = zip(self.problems, imgs, watch.parts(len(imgs)), strict=True)
        on = [refined_on(problem, img, config, part) for problem, img, part in each]
        problems = [problem for problem, _, _ in on]
        operator = problems[0].operator
        maps = replace(self.maps, mps=operator.mps) if isinstance(operator, Sense) else self.maps
        return replace(self, problems=problems, maps=maps), [img for _, img, _ in on], sum(steps for _, _, steps in on)


@dataclass(frozen=True)
class Solution:
    """Coil images and how they came about.

    Attributes:
        coil_imgs: complex ``(n_coils, *encoding.recon_shape)``.
        mps: complex ``(n_coils, *encoding.image_shape)``; None where the method needed none.
        account: How they came about.
        cautions: What is doubtful about them.
        alone: Computes the magnitudes that the runs of the network would deliver, each alone after the first pass of its
            refinement; none without a network.
        undetermined: Computes the coil images of what the samples do not determine; None where that is not known.
        again: The coil images for other samples, on the device of ``coil_imgs``; None where that would take a fit.
    """

    coil_imgs: Tensor
    mps: Tensor | None
    account: Account
    cautions: tuple[Caution, ...] = ()
    alone: Callable[[], list[Tensor]] = list
    undetermined: Callable[[], Tensor] | None = None
    again: Again | None = None


def reconstruct_untrained(data: KSpace, ksp: Tensor, mask: Tensor, config: Config, watch: Watch) -> Solution:
    """Reconstruct by the network, with maps where ``recon.mode`` asks for them and the calibration allows them.

    Args:
        data: Prewhitened k-space.
        ksp: Its samples on the device.
        mask: Its mask on the device.
        config: Method and settings.
        watch: Of the fits and refinements.

    Returns:
        Where the network cannot be fitted, runs away, or has no better image when time ends, the conventional image: CG-SENSE, or
        zero-filled without maps.
    """
    task = Task.of(data, ksp, mask, config)
    maps, problems, delivered = task.maps, task.problems, task.delivered

    def conventional(reason: str) -> Solution:
        def again(ksp: Tensor, _: Watch) -> Tensor:
            coils = torch.split(ksp, [len(problem.ksp) for problem in problems])
            return delivered([replace(one, ksp=coil).conventional() for one, coil in zip(problems, coils, strict=True)], ksp)

        imgs = [problem.conventional() for problem in problems]
        return Solution(
            coil_imgs=delivered(imgs, ksp),
            mps=maps.first,
            account=Account("zero-filled" if maps.mps is None else "cg-sense", reason, stop_reason=FALLBACK, map_sets=maps.sets),
            cautions=task.doubts(imgs, CONVENTIONAL_MISFIT),
            undetermined=lambda: task.undetermined(imgs),
            again=again,
        )

    try:
        runs = _repeated(problems, config, watch)
    except FitError as error:
        logger.warning("%s: conventional reconstruction instead of the network", data.index, exc_info=error)
        return conventional(f"FitError: {error}")
    flat = [one for problem, repeated in zip(problems, runs, strict=True) if problem.live for one in repeated]
    if any(one.conventional for one in flat):
        done = sum(one.account.iterations for one in flat)
        found = conventional(f"the time budget ended after {done} iterations, before the network had a better image")
        late = Caution("time-budget", f"after {done} iterations of the fit")
        account = replace(found.account, iterations=done, stop_reason=OUT_OF_TIME)
        return replace(found, account=account, cautions=(late, *found.cautions))
    imgs, last, more = [torch.stack([one.img for one in repeated]).mean(dim=0) for repeated in runs], task, 0
    if all(one.account.refinement_stop == DISCREPANCY for one in flat):
        part = watch.part(0.5) if config.evidence.replicas else watch  # the replicas get the other half
        last, imgs, more = task.refined_on(imgs, config, part)

    def again(ksp: Tensor, unhurried: Watch) -> Tensor:
        coils = torch.split(ksp, [len(problem.ksp) for problem in last.problems])
        solved = zip(last.problems, imgs, coils, strict=True)
        return last.delivered([refined_again(problem, img, config, coil, unhurried) for problem, img, coil in solved], ksp)

    fitted = Account.merged([one.account for one in flat])
    account = replace(
        fitted,
        method="coils" if maps.failed else config.recon.mode,
        refinements=fitted.refinements + more,
        chi2=mean_of_numbers([_chi2(problem, img) for problem, img in zip(last.problems, imgs, strict=True) if problem.live]),
        map_sets=maps.sets,
    )
    return Solution(
        coil_imgs=last.delivered(imgs, ksp),
        mps=last.maps.first,
        account=account,
        cautions=(*last.doubts(imgs, MISFIT), *(caution for one in flat for caution in out_of_time(one.account))),
        undetermined=lambda: last.undetermined(imgs),
        alone=lambda: [rss(delivered([one.img for one in same], ksp)) for same in zip(*runs, strict=True)],
        again=again if all(one.account.refinements for one in flat) else None,
    )


@dataclass(frozen=True)
class Maps:
    """Sensitivity maps ``(n_sets, n_coils, n_y, n_x)``; whether they were asked for in vain; and what is doubtful about them."""

    mps: Tensor | None = None
    failed: bool = False
    cautions: tuple[Caution, ...] = ()

    @property
    def first(self) -> Tensor | None:
        """The first set."""
        return None if self.mps is None else self.mps[0]

    @property
    def sets(self) -> int:
        """How many there are."""
        return 0 if self.mps is None else len(self.mps)


def _maps(data: KSpace, settings: MapsConfig, device: torch.device) -> Maps:
    if data.maps is not None:
        return Maps(torch.from_numpy(data.maps).to(device))
    try:
        needed = needed_sets(data.calib, data.calib_mask, settings, device)
        sets = needed if settings.sets == "auto" else settings.sets
        mps = estimate_map_sets(data.calib, data.calib_mask, settings.model_copy(update={"sets": sets}), device)
    except CalibrationError as error:
        logger.warning("%s: no sensitivity maps (%s); reconstructing coil by coil", data.index, error)
        return Maps(failed=True)
    logger.info("%s: %d sets of maps, the calibration data need %d", data.index, sets, needed)
    return Maps(torch.from_numpy(mps).to(device), cautions=tuple(too_few_sets(sets, needed)))


def _problems(data: KSpace, ksp: Tensor, sampling: Tensor, mps: Tensor | None, mode: str) -> list[Problem]:
    """One problem for the image; or one for each coil, where each has its own network."""
    calib = ksp if data.calib is data.ksp else torch.from_numpy(data.calib).to(ksp.device)
    if mps is not None:
        return [Problem(data, Sense(mps, sampling), ksp, calib)]
    if mode == "separate":
        one = CoilFourier(sampling, 1)
        return [Problem(data, one, ksp[coil, None], calib[coil, None], coil) for coil in range(len(ksp))]
    return [Problem(data, CoilFourier(sampling, len(ksp)), ksp, calib)]


def _repeated(problems: list[Problem], config: Config, watch: Watch) -> list[list[Run]]:
    """For every problem ``recon.runs`` runs, whose images are to be averaged (paper, section 6)."""
    n, device = config.recon.runs, problems[0].ksp.device
    if config.compute.at_once > 1:
        for problem in problems:
            problem.prior()  # now, as whoever is first would make what they share

    def work(which: tuple[Problem, int], part: Watch) -> Run:
        return run(which[0], config, which[1], part)

    each = [(problem, number) for problem in problems for number in range(n)]
    runs = side_by_side(work, each, watch, device, config.compute, lambda which: demand_of(which[0].data, config, device))
    return [runs[start : start + n] for start in range(0, len(runs), n)]


def _chi2(problem: Problem, img: Tensor) -> float:
    """Squared residual of the samples relative to the noise's, 1 where nothing but noise is left unexplained.

    The noise is known after a noise scan and estimated without.
    """
    residual = (problem.operator(img) - problem.weighted)[..., problem.operator.mask > 0]
    return float(residual.abs().square().mean()) / problem.noise**2 if problem.noise else math.nan
