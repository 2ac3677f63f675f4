"""Images that wait for a worker: scans take turns."""

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from untrained_recon.config import Config
from untrained_recon.serving.stack import Result, Stack
from untrained_recon.types import KSpace, Reconstruction


@dataclass
class Job:
    """An image to be reconstructed.

    Attributes:
        scan: Whose.
        data: Its k-space; of a :class:`Batch` that of several.
        config: Settings.
        seconds: Time for its fit.
        future: Takes what becomes of it.
        tries: Workers that it has outlived.
        unwanted: Whether its host has left.
    """

    scan: str
    data: KSpace | Stack
    config: Config
    seconds: float
    future: "Future[Reconstruction]" = field(default_factory=Future)
    tries: int = 0
    unwanted: bool = False

    @property
    def at_once(self) -> int:
        """How many images like it may be made together."""
        return self.config.compute.at_once

    def end(self, result: Result) -> None:
        """Hand over what became of it."""
        assert not isinstance(result, list)
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Batch(Job):
    """Images of one scan that are made side by side, in one turn."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        stack = Stack([job.data for job in jobs if isinstance(job.data, KSpace)])
        super().__init__(jobs[0].scan, stack, jobs[0].config, sum(job.seconds for job in jobs))
        self.jobs = jobs

    def end(self, result: Result) -> None:
        """Hand over what became of each image."""
        results = result if isinstance(result, list) else [result] * len(self.jobs)
        for job, one in zip(self.jobs, results, strict=True):
            job.end(one)


class Turns:
    """A queue that is fair between scans; all methods may be called from any thread."""

    def __init__(self) -> None:
        self._scans: OrderedDict[str, deque[Job]] = OrderedDict()
        self._change = threading.Condition()
        self._closed: Exception | None = None
        self._takers: list[Callable[[], bool]] = []  # whether each of those in `take` is ready

    def __len__(self) -> int:
        with self._change:
            return sum(len(jobs) for jobs in self._scans.values())

    def put(self, job: Job) -> None:
        """Queue an image behind those of its scan; after :meth:`close` it fails."""
        with self._change:
            if self._closed is None:
                self._scans.setdefault(job.scan, deque()).append(job)
                self._change.notify_all()
                return
        job.end(self._closed)

    def take(self, ready: Callable[[], bool], gone: Callable[[], bool]) -> Job | None:
        """The next image as soon as the taker is ready; None when the taker is gone or the queue closed.

        Where ``compute.at_once`` allows it, those that wait behind it in its scan come along, as a :class:`Batch`; no more than
        leaves as many to the other takers that are ready, each of which has a scan of its own where there are several.
        """
        with self._change:
            self._takers.append(ready)
            try:
                while True:
                    self._change.wait_for(lambda: self._closed or gone() or (ready() and self._scans))
                    if self._closed or gone():
                        return None
                    if taken := [job for job in self._turn() if job.future.set_running_or_notify_cancel()]:
                        return taken[0] if len(taken) == 1 else Batch(taken)
            finally:
                self._takers.remove(ready)

    def _turn(self) -> list[Job]:
        """What the next turn takes."""
        scan, jobs = self._scans.popitem(last=False)
        takers = max(1, sum(ready() for ready in self._takers) - len(self._scans))
        most, taken = math.ceil(len(jobs) / takers), [jobs.popleft()]
        while jobs and jobs[0].config == taken[0].config and len(taken) < min(most, taken[0].at_once):
            taken.append(jobs.popleft())
        if jobs:
            self._scans[scan] = jobs  # its turn comes again after all others
        return taken

    def changed(self) -> None:
        """Have takers look again whether they are ready or gone."""
        with self._change:
            self._change.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition of which :meth:`changed` tells, unless the queue is or gets closed."""
        with self._change:
            self._change.wait_for(lambda: self._closed or condition())

    def pause(self, seconds: float) -> None:
        """Wait so long, unless the queue is or gets closed."""
        with self._change:
            self._change.wait_for(lambda: self._closed, seconds)

    @property
    def closed(self) -> bool:
        """Whether it takes no more."""
        return self._closed is not None

    def cancel(self, scan: str) -> None:
        """Forget what a scan has queued."""
        with self._change:
            jobs = self._scans.pop(scan, deque())
        for job in jobs:
            job.future.cancel()

    def fail(self, error: Exception) -> None:
        """End all images that wait."""
        with self._change:
            waiting = [job for jobs in self._scans.values() for job in jobs]
            self._scans.clear()
        for job in waiting:
            if job.future.set_running_or_notify_cancel():
                job.end(error)

    def close(self, error: Exception) -> None:
        """Take no more; all images that wait, or come later, fail with ``error``."""
        with self._change:
            self._closed = error
            self._change.notify_all()
        self.fail(error)
