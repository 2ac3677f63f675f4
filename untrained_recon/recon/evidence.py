"""Evidence for the reader of an image: how much of it hangs on the random start of the network, how much on the noise, and which
part of it is not in the samples at all.

The noise map is a pseudo multiple replica [Robson et al., MRM 60:895, 2008]: fresh noise of the known level is added to the
samples, again and again, and the standard deviation of what is delivered is taken. An image of a network need not be fitted again
for each: its refinement ends at nearly the same image wherever it starts, so replicas start from the image at hand and repeat the
refinement's last thresholds. Maps of the coils, phase and thresholds stay those of the measurement. The map holds no bias: an error
that noise does not cause (aliasing that stays, detail that is filtered away) is not in it.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from untrained_recon.config import FEWEST_REPLICAS
from untrained_recon.physics.conjugate import cg_sense
from untrained_recon.physics.operators import CoilFourier, fft2, ifft2, rss
from untrained_recon.physics.uncertainty import noise_sd
from untrained_recon.recon.fit.watch import Watch
from untrained_recon.recon.refine.steps import AGAIN, FIRST_PASS, refine
from untrained_recon.recon.run import Problem
from untrained_recon.types import EvidenceMap, KSpace

DETERMINED = 10  # steps; with 5 and 30 the map ranks the true errors alike at 8-fold acceleration
PART = 0.5  # of the steps of the refinement's first pass; with a third of them the map was 12 % too low at threefold acceleration

Again = Callable[[Tensor], Tensor]
"""Other samples ``(n_coils, n_y, n_x)`` to what the same reconstruction makes of them; without randomness of its own."""


def refined_again(problem: Problem, img: Tensor, iterations: int, ksp: Tensor) -> Tensor:
    """The last part of a refinement, with other samples.

    Args:
        problem: What was solved; its calibration and the uncertainty of its samples stay.
        img: complex ``operator.ishape``, the refined image.
        iterations: Steps of the refinement.
        ksp: complex ``operator.oshape``, the samples without weights.
    """
    if not problem.ksp.any():  # a dead coil of its own
        return img
    weighted, steps = ksp * problem.operator.mask, math.ceil(PART * min(iterations, FIRST_PASS))
    return refine(problem.operator, weighted, img, problem.prior(), problem.error, steps, first=AGAIN).img


def undetermined_part(problem: Problem, img: Tensor) -> Tensor:
    """What of an image its samples do not determine, ``x - A⁺ A x``: complex ``operator.ishape``.

    Directions of which the samples hold little come out of it last; those that a few steps do not reach count as undetermined.

    Args:
        problem: With the operator A.
        img: complex ``operator.ishape``, x.
    """
    operator = problem.operator
    if isinstance(operator, CoilFourier):
        return ifft2(fft2(img) * (operator.mask == 0))
    return img - cg_sense(operator, operator(img), 0.0, DETERMINED)


def undetermined_map(make: Callable[[], Tensor] | None) -> EvidenceMap:
    """Magnitude of the part of the image that the prior supplied [Bhadra et al., IEEE TMI 40:3249, 2021].

    Args:
        make: Computes its coil images ``(n_coils, *recon_shape)``; None where the method has no model of the samples.
    """
    if make is None:
        return EvidenceMap(None, "the method does not say which part of the image its samples determine")
    magnitude = rss(make())
    if not torch.isfinite(magnitude).all():
        return EvidenceMap(None, "the map holds pixels that are not finite")
    return EvidenceMap(magnitude.cpu().numpy(), f"what {DETERMINED} steps of conjugate gradients do not find in the samples")


def spread(magnitudes: list[Tensor]) -> EvidenceMap:
    """Standard deviation of the magnitudes that the runs of a network would deliver, each alone.

    Args:
        magnitudes: ``(n_y, n_x)`` each; none where the image is not by a network.
    """
    if not magnitudes:
        return EvidenceMap(None, "no network was fitted")
    return _map(magnitudes, f"{len(magnitudes)} runs from different seeds")


def noise_map(again: Again | None, data: KSpace, ksp: Tensor, replicas: int, seed: int, watch: Watch) -> EvidenceMap:
    """Standard deviation of the magnitude under fresh noise in the samples.

    Args:
        again: Samples to coil images ``(n_coils, *recon_shape)``; None where that takes the whole fit of a network.
        data: Noise level, mask and weights.
        ksp: complex ``(n_coils, n_y, n_x)``, its samples on the device.
        replicas: How many to make.
        seed: Draws the noise.
        watch: Time for them; fewer are made where it does not suffice, and none where not even :data:`FEWEST_REPLICAS`.
    """
    if again is None:
        return EvidenceMap(None, "each replica would take a fit of the network, as the image was not refined after it")
    sigma = noise_sd(data, ksp)
    if sigma == 0:
        return EvidenceMap(None, "the noise level is not known: no noise scan, and no samples in the corners of k-space")
    start, seconds = time.monotonic(), watch.left()
    sampling = torch.from_numpy(data.sampling).to(ksp.device)
    scale = torch.where(sampling > 0, sigma / sampling, 0) * ksp.abs().amax(dim=(1, 2), keepdim=True).sign()  # dead coils stay dead
    generator = torch.Generator().manual_seed(seed)
    magnitudes: list[Tensor] = []
    each = 0.0
    while len(magnitudes) < replicas and max(FEWEST_REPLICAS, len(magnitudes) + 1) * each <= seconds:
        noise = torch.randn(*ksp.shape, 2, generator=generator).to(ksp.device)
        magnitudes.append(rss(again(ksp + scale * torch.view_as_complex(noise))))
        each = (time.monotonic() - start) / len(magnitudes)
    if len(magnitudes) < FEWEST_REPLICAS:
        return EvidenceMap(None, f"the time left allows fewer than {FEWEST_REPLICAS} replicas of {each:.2g} s")
    level = f"known, {sigma:.3g}" if data.prewhitened else f"estimated in the corners of k-space, {sigma:.3g}"
    count = len(magnitudes) if len(magnitudes) == replicas else f"{len(magnitudes)} (of {replicas}, for want of time)"
    return _map(magnitudes, f"{count} replicas, noise level {level}")


def _map(magnitudes: list[Tensor], note: str) -> EvidenceMap:
    sd = torch.stack(magnitudes).std(dim=0)
    if not torch.isfinite(sd).all():
        return EvidenceMap(None, "the map holds pixels that are not finite")
    return EvidenceMap(sd.cpu().numpy(), note)
