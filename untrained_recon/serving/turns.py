"""Images, or other things to be done, that wait for a worker: scans take turns."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from untrained_recon.config import Config


class Item(Protocol):
    """What a worker is given, such as an image's k-space; it is pickled."""

    @property
    def index(self) -> object:
        """What it is called where something is said of it."""


@dataclass
class Job:
    """An image to be reconstructed, or something else to be done.

    Attributes:
        scan: Whose.
        data: Its k-space.
        config: Settings.
        seconds: Time for its fit.
        future: Takes what becomes of it.
        tries: Workers that it has outlived.
        unwanted: Whether its host has left.
    """

    scan: str
    data: Item
    config: Config | None
    seconds: float
    future: "Future[Any]" = field(default_factory=Future)
    tries: int = 0
    unwanted: bool = False

    def end(self, result: Any) -> None:
        """Hand over what became of it."""
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Turns:
    """A queue that is fair between scans; all methods may be called from any thread."""

    def __init__(self) -> None:
        self._scans: OrderedDict[str, deque[Job]] = OrderedDict()
        self._change = threading.Condition()
        self._closed: Exception | None = None

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
        """The next image as soon as the taker is ready; None when the taker is gone or the queue closed."""
        with self._change:
            while True:
                self._change.wait_for(lambda: self._closed or gone() or (ready() and self._scans))
                if self._closed or gone():
                    return None
                scan, jobs = self._scans.popitem(last=False)
                job = jobs.popleft()
                if jobs:
                    self._scans[scan] = jobs  # its turn comes again after all others
                if job.future.set_running_or_notify_cancel():
                    return job

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
