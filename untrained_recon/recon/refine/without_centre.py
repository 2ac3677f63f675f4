"""Refinement where no centre of k-space was sampled fully, so that coils alone tell what the image is.

Neither a short fit nor the refinement's gradient steps come to all that they tell: conjugate gradients do, and what noise these
bring goes by the filter. So they correct the image before the refinement, and once more after it, when little is left to correct.
"""

import math
from dataclasses import replace

from torch import Tensor

from untrained_recon.physics.conjugate import cg_sense
from untrained_recon.physics.operators import Sense
from untrained_recon.recon.fit.loop import CALLBACK
from untrained_recon.recon.fit.watch import Watch
from untrained_recon.recon.refine.prior import Prior
from untrained_recon.recon.refine.steps import Refined, refine

BEFORE, AFTER = (1e-4, 60), (3e-4, 30)  # weight λ and iterations of the two corrections
FIRST = 3.0  # threshold after the second one, in units of the uncertainty
MORE = 2 / 3  # steps after it, relative to those before


def refine_without_centre(
    operator: Sense, ksp: Tensor, img: Tensor, prior: Prior, error: float, iterations: int, watch: Watch, held: Tensor | None
) -> Refined:
    """As :func:`~untrained_recon.recon.refine.steps.refine`, with two corrections and :data:`MORE` steps more."""
    seen = operator if held is None else Sense(operator.mps, operator.mask * ~held)
    start = _corrected(seen, ksp * (seen.mask > 0), img, *BEFORE)
    found = refine(operator, ksp, start, prior, error, iterations, watch.part(1 / (1 + MORE)), held)
    if found.stop_reason == CALLBACK or watch.passed():
        return found
    again = _corrected(operator, ksp, found.img, *AFTER)
    last = refine(operator, ksp, again, prior, error, math.ceil(MORE * iterations), watch, first=FIRST)
    return replace(last, iterations=found.iterations + last.iterations, held_out=found.held_out)


def _corrected(operator: Sense, ksp: Tensor, img: Tensor, lamda: float, iterations: int) -> Tensor:
    return img + cg_sense(operator, ksp - operator(img), lamda, iterations)
