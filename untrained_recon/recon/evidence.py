"""Evidence for the reader of an image: how much of it hangs on the random start of the network, how much on the noise, and which
part of it is not in the samples at all.

The noise map is a pseudo multiple replica [Robson et al., MRM 60:895, 2008]: fresh noise of the known level is added to the
samples, again and again, and the standard deviation of what is delivered is taken. An image of a network need not be fitted again
for each: its refinement ends at nearly the same image wherever it starts, so replicas start from the image at hand and repeat the
refinement's last thresholds. Maps of the coils, phase and thresholds stay those of the measurement. The map holds no bias: an error
that noise does not cause (aliasing that stays, detail that is filtered away) is not in it.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from untrained_recon.config import FEWEST_REPLICAS, Config
from untrained_recon.physics.conjugate import cg_sense
from untrained_recon.physics.operators import CoilFourier, fft2, ifft2, rss
from untrained_recon.physics.uncertainty import noise_sd
from untrained_recon.recon.demand import replica_demand
from untrained_recon.recon.fit.watch import Watch
from untrained_recon.recon.lanes import side_by_side
from untrained_recon.recon.networks.compute import arithmetic
from untrained_recon.recon.refine.steps import AGAIN, FIRST_PASS, refine
from untrained_recon.recon.run import Problem
from untrained_recon.types import EvidenceMap, KSpace

DETERMINED = 10  # steps; with 5 and 30 the map ranks the true errors alike at 8-fold acceleration
AROUND = 2  # pixels, standard deviation of a Gaussian
PART = 0.5  # of the steps of the refinement's first pass; with a third of them the map was 12 % too low at threefold acceleration

Again = Callable[[Tensor, Watch], Tensor]
"""Other samples ``(n_coils, n_y, n_x)`` to what the same reconstruction makes of them, unless it is given up; without randomness of
its own.
"""


def refined_again(problem: Problem, img: Tensor, config: Config, ksp: Tensor, watch: Watch) -> Tensor:
    """The last part of a refinement, with other samples.

    Args:
        problem: What was solved; its calibration and the uncertainty of its samples stay.
        img: complex ``operator.ishape``, the refined image.
        config: Steps of the refinement, and how they are computed.
        ksp: complex ``operator.oshape``, the samples without weights.
        watch: Without a deadline, which would change what is repeated.
    """
    if not problem.ksp.any():  # a dead coil of its own
        return img
    weighted, steps = ksp * problem.operator.mask, math.ceil(PART * min(config.refine.iterations, FIRST_PASS))
    with arithmetic(config.compute, ksp.device):
        return refine(problem.operator, weighted, img, problem.prior(), problem.error, steps, watch, first=AGAIN).img


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

    It is the root mean square over :data:`AROUND`: how much of it there is thereabouts ranks errors better than each pixel does.

    Args:
        make: Computes its coil images ``(n_coils, *recon_shape)``; None where the method has no model of the samples.
    """
    if make is None:
        return EvidenceMap(None, "the method does not say which part of the image its samples determine")
    magnitude = rss(make())
    if not torch.isfinite(magnitude).all():
        return EvidenceMap(None, "the map holds pixels that are not finite")
    mean_square = gaussian_filter(magnitude.double().square().cpu().numpy(), AROUND)
    note = f"what {DETERMINED} steps of conjugate gradients do not find in the samples, root mean square within {AROUND} pixels"
    return EvidenceMap(np.sqrt(mean_square).astype(np.float32), note)


def spread(magnitudes: list[Tensor]) -> EvidenceMap:
    """Standard deviation of the magnitudes that the runs of a network would deliver, each alone.

    Args:
        magnitudes: ``(n_y, n_x)`` each; none where the image is not by a network.
    """
    if not magnitudes:
        return EvidenceMap(None, "no network was fitted")
    return _map(magnitudes, f"{len(magnitudes)} runs from different seeds")


def noise_map(again: Again | None, data: KSpace, ksp: Tensor, config: Config, watch: Watch) -> EvidenceMap:
    """Standard deviation of the magnitude under fresh noise in the samples; ``compute.at_once`` replicas are made at once.

    Args:
        again: Samples to coil images ``(n_coils, *recon_shape)``; None where that takes the whole fit of a network.
        data: Noise level, mask and weights.
        ksp: complex ``(n_coils, n_y, n_x)``, its samples on the device.
        config: How many replicas to make, the seed that draws their noise, and how they are computed.
        watch: Time for them; fewer are made where it does not suffice, and none where not even :data:`FEWEST_REPLICAS`.
    """
    if again is None:
        return EvidenceMap(None, "each replica would take a fit of the network, as the image was not refined after it")
    sigma = noise_sd(data, ksp)
    if sigma == 0:
        return EvidenceMap(None, "the noise level is not known: no noise scan, and no samples in the corners of k-space")
    sampling = torch.from_numpy(data.sampling).to(ksp.device)
    scale = torch.where(sampling > 0, sigma / sampling, 0) * ksp.abs().amax(dim=(1, 2), keepdim=True).sign()  # dead coils stay dead
    replicas, pace = config.evidence.replicas, _Pace(watch.left())
    seeds = torch.randint(1 << 62, (replicas,), generator=torch.Generator().manual_seed(config.seed)).tolist()

    def replica(seed: int, part: Watch) -> Tensor | None:
        part.heed()
        with pace.taken() as enough:
            if not enough:
                return None
            noise = torch.randn(*ksp.shape, 2, generator=torch.Generator().manual_seed(seed)).to(ksp.device)
            return rss(again(ksp + scale * torch.view_as_complex(noise), part.unhurried()))

    def needed(_: int) -> int:
        return replica_demand(config, len(ksp), (ksp.shape[1], ksp.shape[2]), ksp.device)

    made = side_by_side(replica, seeds, watch, ksp.device, config.compute, needed)
    magnitudes = [one for one in made if one is not None]
    if len(magnitudes) < FEWEST_REPLICAS:
        each = f" of {pace.each:.2g} s" if pace.each else ""  # none was begun
        return EvidenceMap(None, f"the time left allows fewer than {FEWEST_REPLICAS} replicas{each}")
    level = f"known, {sigma:.3g}" if data.prewhitened else f"estimated in the corners of k-space, {sigma:.3g}"
    count = len(magnitudes) if len(magnitudes) == replicas else f"{len(magnitudes)} (of {replicas}, for want of time)"
    return _map(magnitudes, f"{count} replicas, noise level {level}")


class _Pace:
    """Whether time allows another replica, and the fewest that make a map.

    Args:
        seconds: For all of them.

    Attributes:
        each: Seconds of a replica, the mean of those that have ended.
    """

    def __init__(self, seconds: float) -> None:
        self.each = 0.0
        self._until = time.monotonic() + seconds
        self._begun = self._ended = self._abreast = 0
        self._spent, self._change = 0.0, threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Whether to make one in this context."""
        with self._change:
            begun = time.monotonic()
            self._abreast = max(self._abreast, self._begun - self._ended + 1)
            rounds = math.ceil(max(FEWEST_REPLICAS - self._begun, 1) / self._abreast)
            enough = rounds * self.each <= self._until - begun
            self._begun += enough
        yield enough
        with self._change:
            self._ended += enough
            self._spent += enough * (time.monotonic() - begun)
            self.each = self._spent / max(self._ended, 1)


def _map(magnitudes: list[Tensor], note: str) -> EvidenceMap:
    sd = torch.stack(magnitudes).std(dim=0)
    if not torch.isfinite(sd).all():
        return EvidenceMap(None, "the map holds pixels that are not finite")
    return EvidenceMap(sd.cpu().numpy(), note)
