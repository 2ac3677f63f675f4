"""Refinement of an image: steps towards the data, each followed by a filter, as a plug-and-play prior
[Venkatakrishnan et al., GlobalSIP 2013; Kamilov et al., IEEE SPL 24:1872, 2017].
"""

import math
import time
from dataclasses import dataclass

from torch import Tensor

from untrained_recon.physics.operators import CoilFourier, Sense
from untrained_recon.recon.fit.held_out import held_out_error
from untrained_recon.recon.fit.loop import CALLBACK, DISCREPANCY, OUT_OF_TIME
from untrained_recon.recon.fit.watch import LOOK, UNWATCHED, Progress, Watch
from untrained_recon.recon.refine.prior import Prior

FIRST_PASS = 45  # steps; what follows is :mod:`untrained_recon.recon.passes`
FIRST, AGAIN, LAST = 5.0, 1.5, 0.5  # thresholds in units of the uncertainty
FALLING = 0.67  # share of the steps without what is held out, if anything is
REGROUP = 10
LEAST_S = 1e-9  # seconds, where none are left
MOST_MOMENTUM = 0.7  # more lets the filter and the data pull against each other


@dataclass(frozen=True)
class Refined:
    """What a refinement leaves behind.

    Attributes:
        img: complex ``operator.ishape``.
        iterations: Steps done.
        stop_reason: ``discrepancy`` (the threshold is down to the uncertainty), ``time budget`` or ``callback``.
        held_out: Relative error on the held-out samples before the image saw them; NaN where there are none.
    """

    img: Tensor
    iterations: int
    stop_reason: str
    held_out: float = math.nan


def refine(
    operator: CoilFourier | Sense,
    ksp: Tensor,
    img: Tensor,
    prior: Prior,
    error: float,
    iterations: int,
    watch: Watch = UNWATCHED,
    held: Tensor | None = None,
    first: float = FIRST,
    look: int | None = None,
) -> Refined:
    """Accelerated proximal gradient steps on ``½ ‖A x - y‖²`` with the filter as the proximal map.

    The filter's level, its threshold, falls geometrically from ``first`` to :data:`LAST` times ``error``, with the steps, or with
    the time where they would end too late: it ends where the image explains the data as well as noise and maps allow. Held-out
    samples are left aside for the first :data:`FALLING` of the steps; then the threshold falls once more from :data:`AGAIN`, with
    all samples.
    The constants were chosen on eight fully sampled scans at 4- and 8-fold acceleration, with random and with regular lines.

    Args:
        operator: Forward model A, of norm at most 1 but for the weights of its mask.
        ksp: complex ``operator.oshape``, the measurement y with the same weights; zero where not sampled.
        img: complex ``operator.ishape``, where to start.
        prior: The filter.
        error: See :func:`~untrained_recon.physics.uncertainty.uncertainty`.
        iterations: Number of steps.
        watch: Time for them, and who follows.
        held: bool ``(n_y, n_x)``, samples to hold out at first, see :func:`~untrained_recon.recon.fit.held_out.held_out`.
        first: The first threshold, in units of ``error``.
        look: Steps from call to call of whoever follows; None for :data:`~untrained_recon.recon.fit.watch.LOOK`, by the device.
    """
    start, seconds, split = time.monotonic(), max(watch.left(), LEAST_S), 1.0 if held is None else FALLING
    seen = None if held is None else ~held
    norm, energy = float(operator.mask.max()) ** 2, ksp.abs().square().sum()
    state, held_error, stop_reason, iteration = _State(img), math.nan, DISCREPANCY, 0
    done, longest, look = 0.0, 0.0, look or LOOK[ksp.device.type]
    for iteration in range(iterations):
        watch.heed()
        begun = time.monotonic()
        elapsed = (begun - start + longest) / seconds  # at the end of this step
        late = elapsed if elapsed > (iteration + 1) / iterations else 0.0  # else the same steps whatever their time
        done = min(max(done, iteration / max(iterations - 1, 1), late), 1.0)
        if seen is not None and held is not None and done >= split:
            held_error, seen = held_out_error(operator(state.img), ksp, held), None
            state = _State(state.img)
        if iteration % REGROUP == 0:
            prior.prepare(state.img)
        residual = operator(state.ahead) - ksp
        residual = residual if seen is None else residual * seen
        step = state.ahead - operator.adjoint(residual) / norm
        state.move(prior(step, error * _threshold(done, split, first)))
        if watch.followed and ((iteration + 1) % look == 0 or iteration + 1 == iterations):
            loss = float(residual.abs().square().sum() / energy)
            if watch.stops(Progress("refine", iteration + 1, iterations, loss, state.img)):
                stop_reason = CALLBACK
                break
        longest = max(longest, time.monotonic() - begun)
        if done >= 1:
            stop_reason = DISCREPANCY if elapsed < 1 else OUT_OF_TIME
            break
    return Refined(state.img, iteration + 1, stop_reason, held_error)


class _State:
    """The image and the point ahead of it, by Nesterov's momentum."""

    def __init__(self, img: Tensor) -> None:
        self.img = self.ahead = img
        self._t = 1.0

    def move(self, img: Tensor) -> None:
        t = (1 + (1 + 4 * self._t**2) ** 0.5) / 2
        self.ahead = img + min((self._t - 1) / t, MOST_MOMENTUM) * (img - self.img)
        self.img, self._t = img, t


def _threshold(done: float, split: float, first: float) -> float:
    first, part = (first, done / split) if done < split or split == 1 else (AGAIN, (done - split) / (1 - split))
    return first * (LAST / first) ** part
