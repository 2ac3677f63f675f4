"""What accompanies a reconstruction on its way down to the fits: its time, who follows it, and what it may start from."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from untrained_recon.errors import HostGoneError
from untrained_recon.recon.fit.warm_start import Neighbour

LOOK = {"cpu": 1, "cuda": 10}  # iterations from look to look whether to end, and at who follows; to look is to wait for a GPU


@dataclass(frozen=True)
class Progress:
    """State of a running reconstruction.

    Attributes:
        stage: ``fit`` or ``refine``.
        iteration: Iterations of the stage done.
        iterations: Most that the stage may take.
        loss: Squared residual relative to the data.
        img: complex ``operator.ishape`` without gradients, the present image in the units of the data.
    """

    stage: str
    iteration: int
    iterations: int
    loss: float
    img: Tensor


Callback = Callable[[Progress], bool | None]
"""Called after every iteration, on a GPU after every few; returning False ends the stage with the image at hand."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Watch:
    """Time, progress and stop of a reconstruction or of a part of it.

    Attributes:
        deadline: When it is to end, by the monotonic clock; infinite for whenever it is ready.
        follow: Follows and may stop the fits and refinements.
        warm_start: The networks of the plane before, to start from; takes those of this one.
        given_up: Whether nobody wants the result any more; asked where the time is, so that nothing waits for a GPU.
    """

    deadline: float = math.inf
    follow: Callback | None = None
    warm_start: Neighbour | None = None
    given_up: Callable[[], bool] = _never

    @classmethod
    def of(cls, seconds: float | None, follow: Callback | None = None) -> "Watch":
        """From now on for so many seconds; None or infinite for no limit, and none are left where it is not positive."""
        return cls(math.inf if seconds is None else time.monotonic() + seconds, follow)

    @property
    def limited(self) -> bool:
        """Whether there is a deadline."""
        return math.isfinite(self.deadline)

    def heed(self) -> None:
        """Raise HostGoneError where it was given up."""
        if self.given_up():
            raise HostGoneError("given up, as nobody waits for it any more")

    def left(self) -> float:
        """Seconds to the deadline; negative after it. Raises HostGoneError where it was given up."""
        self.heed()
        return self.deadline - time.monotonic()

    def unhurried(self) -> "Watch":
        """The same without a deadline, and nobody follows: it may be given up, and that is all."""
        return Watch(given_up=self.given_up)

    def passed(self) -> bool:
        """Whether no time is left."""
        return self.left() <= 0

    def within(self, seconds: float | None) -> "Watch":
        """The same with so many seconds at most."""
        return self if seconds is None else replace(self, deadline=min(self.deadline, time.monotonic() + seconds))

    def part(self, share: float) -> "Watch":
        """The same for a share of the time that is left."""
        return self.within(share * self.left()) if self.limited else self

    def parts(self, n: int, at_once: int = 1) -> Iterator["Watch"]:
        """One for each of several parts in turn: each may take its share of the time left, and progress is that of all parts.

        Where several of them are done at once, each has as many shares.
        """
        for done in range(n):
            yield self.nth(done, n, at_once)

    def nth(self, done: int, n: int, at_once: int = 1) -> "Watch":
        """The next of :meth:`parts`, where so many of them have been begun."""
        return replace(self.part(min(1.0, at_once / (n - done))), follow=self._among(done, n))

    @property
    def followed(self) -> bool:
        """Whether anybody wants to know of the progress."""
        return self.follow is not None

    def stops(self, progress: Progress) -> bool:
        """Tell the follower, and whether it asks to stop. Raises HostGoneError where it was given up."""
        self.heed()
        return self.follow is not None and self.follow(progress) is False

    def _among(self, done: int, n: int) -> Callback | None:
        follow = self.follow
        if follow is None or n == 1:
            return follow
        return lambda p: follow(replace(p, iteration=done * p.iterations + p.iteration, iterations=n * p.iterations))


UNWATCHED = Watch()
"""All the time there is, and nobody follows."""
