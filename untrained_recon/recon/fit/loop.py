"""Fitting an un-trained network to the measurement of one image. Knows tensors, operators and networks, nothing of MRD."""

import copy
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from untrained_recon.config import FitConfig
from untrained_recon.errors import FitError
from untrained_recon.physics.operators import CoilFourier, Sense
from untrained_recon.recon.fit.optimisers import StepSizes, WarmupStableDecay, build_optimiser
from untrained_recon.recon.fit.recorded import recorded
from untrained_recon.recon.fit.watch import LOOK, UNWATCHED, Progress, Watch
from untrained_recon.recon.networks import ImageGenerator, to_complex

FINISHED, DISCREPANCY, OUT_OF_TIME, CALLBACK = "iterations", "discrepancy", "time budget", "callback"


@dataclass(frozen=True)
class FitResult:
    """What a fit leaves behind.

    Attributes:
        img: complex ``operator.ishape``, in the units of the data.
        iterations: Iterations done.
        loss: Weighted squared residual relative to the data.
        stop_reason: Why it ended.
        too_early: Whether time ended it before the fewest iterations that were worth it.
    """

    img: Tensor
    iterations: int
    loss: float
    stop_reason: str
    too_early: bool = False


def fit(
    network: ImageGenerator,
    operator: CoilFourier | Sense,
    ksp: Tensor,
    settings: FitConfig,
    watch: Watch = UNWATCHED,
    steps: StepSizes | None = None,
    held: Tensor | None = None,
    level: float = 0.0,
    fewest: int = 1,
) -> FitResult:
    """Minimise ``‖W (y - A G(C))‖² / ‖W y‖²`` over the weights C of the network.

    This is the loss of the paper (eqs. 2 to 4) up to a constant factor when ``weighting`` is 0, which makes W the identity. The
    data are scaled so that the back-projected measurement has the norm of the network's first output; nothing but the
    undersampled data enters. (For Step 1-A that is the authors' ratio of the norms of the two root sums of squares.)

    Args:
        network: Network whose complex output has the shape ``operator.ishape``; its weights are changed.
        operator: Forward model A.
        ksp: complex ``operator.oshape``, the measurement y; zero where not sampled.
        settings: Optimiser, iterations, step size, schedule and weighting. ``gd-a`` fits twice: with Adam to record its step sizes,
            then from the same start with gradient descent that follows them.
        watch: Time after which the image is taken as it is, and who follows.
        steps: Takes the step sizes of an Adam fit.
        held: bool ``(n_y, n_x)``, samples that the fit does not see, see :func:`~untrained_recon.recon.fit.held_out.held_out`.
        level: Standard deviation of what ``ksp`` holds that is not to be explained, for ``settings.discrepancy``; 0: not known.
        fewest: Iterations that are worth their time; where it does not suffice for them, the fit ends as soon as that is seen.

    Returns:
        The last iterate, or with ``keep: lowest-loss`` the one that explained the data best. Where the first fit of ``gd-a`` ends
        early, its image. On a GPU a fit may end :data:`~untrained_recon.recon.fit.watch.LOOK` iterations late. Where the
        schedule is warmup-stable-decay, the step size falls before the fit ends, whatever ends it but the callback.

    Raises:
        FitError: The loss became NaN or infinite.
    """
    _settle_vector_math()
    if settings.optimiser != "gd-a":
        return _descend(network, operator, ksp, settings, watch, steps, held, level, fewest)
    recorded = StepSizes((first := copy.deepcopy(network)).layer_parameters())
    with_adam = settings.model_copy(update={"optimiser": "adam"})
    result = _descend(first, operator, ksp, with_adam, watch, recorded, held, level, fewest)
    if result.stop_reason not in (FINISHED, DISCREPANCY):
        return result
    return _descend(network, operator, ksp, settings, watch, recorded, held, level, fewest)


def _descend(
    network: ImageGenerator,
    operator: CoilFourier | Sense,
    ksp: Tensor,
    settings: FitConfig,
    watch: Watch,
    steps: StepSizes | None,
    held: Tensor | None,
    level: float,
    fewest: int,
) -> FitResult:
    fitted = operator.mask > 0 if held is None else (operator.mask > 0) & ~held
    ksp = ksp * fitted
    with torch.no_grad():
        scale = torch.linalg.vector_norm(_image(network, operator)) / torch.linalg.vector_norm(operator.adjoint(ksp))
    target = ksp * scale
    weight = radial_weight(ksp.shape[-2:], settings.weighting, ksp.device)
    energy = float(_energy(weight * target))
    enough = settings.discrepancy * level**2 * float(scale) ** 2 * fitted.sum().item() * ksp[..., 0, 0].numel()

    begun, fewest = time.monotonic(), min(fewest, settings.iterations)
    optimiser, schedule = build_optimiser(network.layer_parameters(), settings, steps)
    course = schedule if isinstance(schedule, WarmupStableDecay) else None
    falling = course.decay if course else 0  # iterations

    def descent() -> tuple[Tensor, Tensor, Tensor]:
        """Gradients; objective, residual and image."""
        optimiser.zero_grad()
        img = _image(network, operator)
        residual = target - operator(img) * fitted
        objective = _energy(weight * residual) / energy
        objective.backward()  # type: ignore[no-untyped-call]
        return objective.detach(), residual.detach(), img.detach()

    step = recorded(descent, ksp.device) if network.recorded else descent
    look = LOOK[ksp.device.type] if settings.keep == "last" else 1
    loss, lowest, kept, iteration, stop_reason, last = math.nan, math.inf, None, 0, FINISHED, settings.iterations
    while iteration < last:
        if course and iteration == last - falling:
            course.fall()
        iteration += 1
        objective, residual, img = step()
        optimiser.step()
        if steps is not None and isinstance(optimiser, torch.optim.Adam):
            steps.record(optimiser)
        schedule.step()
        if iteration % look and iteration < last and not watch.passed():
            continue
        loss = float(objective)
        if not math.isfinite(loss):
            raise FitError(f"the loss became {loss} at iteration {iteration}; lower fit.lr (now {settings.lr:g})")
        if settings.keep == "lowest-loss" and loss < lowest:
            lowest, kept = loss, img.clone()
        if watch.followed and watch.stops(Progress("fit", iteration, settings.iterations, loss, img / scale)):
            stop_reason = CALLBACK
            break
        each, left = (time.monotonic() - begun) / iteration, watch.left()
        if each * max(fewest - iteration, 1) > left:  # they would end too late
            stop_reason = OUT_OF_TIME
            break
        if stop_reason == FINISHED and enough > 0 and float(_energy(residual)) <= enough:
            stop_reason, last = DISCREPANCY, min(iteration + falling, last)
        if stop_reason == FINISHED and iteration + falling < last and each * falling > left:
            stop_reason, last = OUT_OF_TIME, iteration + falling

    too_early = stop_reason == OUT_OF_TIME and iteration < fewest
    if kept is not None:
        return FitResult(kept / scale, iteration, lowest, stop_reason, too_early)
    with torch.no_grad():
        return FitResult(_image(network, operator) / scale, iteration, loss, stop_reason, too_early)


def _energy(ksp: Tensor) -> Tensor:
    """``‖ksp‖²``; the squared modulus by way of the modulus takes longer."""
    return torch.view_as_real(ksp).square().sum()


def radial_weight(shape: tuple[int, ...], exponent: float, device: torch.device) -> Tensor:
    """k-space weight ``(r + 0.02) ** exponent``, r the distance from the centre in cycles per pixel.

    High frequencies hold little energy and are fitted late; a positive exponent brings them forward.
    """
    n_y, n_x = shape
    k_y = (torch.arange(n_y, device=device) - n_y // 2) / n_y
    k_x = (torch.arange(n_x, device=device) - n_x // 2) / n_x
    return (torch.hypot(k_y[:, None], k_x[None, :]) + 0.02) ** exponent


def _settle_vector_math() -> None:
    """Make the CPU's first vector square root on one thread.

    PyTorch's vector math library sets itself up on first use; where several threads are first at the same time, one of them was
    seen to work with reduced accuracy (about one process in fifty), and the same seed then gave another image.
    """
    torch.ones(1).sqrt()


def _image(network: ImageGenerator, operator: CoilFourier | Sense) -> Tensor:
    return to_complex(network()).reshape(operator.ishape)
