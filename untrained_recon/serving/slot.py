"""The place of one worker in a pool: whatever becomes of a worker, there is a next one."""

import logging
import threading
from collections.abc import Callable

from untrained_recon.errors import HostGoneError, ServiceStoppedError, WorkerError
from untrained_recon.serving.stack import Result
from untrained_recon.serving.supervision import Worker, WorkerDied
from untrained_recon.serving.turns import Batch, Job, Turns

logger = logging.getLogger(__name__)

NO_TIME = 0.0
MOST_TRIES = 3
GONE = "the host left before its images were made"
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


class Slot(threading.Thread):
    """Starts a worker, gives it images, and starts the next when it dies or hangs.

    An image whose worker dies is tried once more; if that dies too, or the worker hung, it gets no time: a conventional image comes
    instead. Images that were side by side are tried one by one.

    Args:
        device: Where its workers compute.
        start: Makes a worker on a device.
        turns: Where the images come from.

    Attributes:
        worker: The present one; None between two.
        job: The image at hand.
        restarts: Workers that were replaced.
    """

    def __init__(self, device: str, start: Callable[[str], Worker], turns: Turns) -> None:
        super().__init__(name=f"slot on {device}", daemon=True)
        self.device = device
        self.worker: Worker | None = None
        self.job: Job | None = None
        self.restarts = 0
        self._again: list[Job] = []  # images that were side by side when their worker died
        self._pause = 0.0
        self._start, self._turns = start, turns

    @property
    def failing(self) -> bool:
        """Whether the last workers died before they were ready, and there is no other yet."""
        worker = self.worker
        return self._pause > SHORTEST_PAUSE_S and not (worker is not None and worker.was_ready)

    def run(self) -> None:
        """Until the queue is closed."""
        while not self._turns.closed:
            warm = False
            try:
                with self._start(self.device) as self.worker:
                    self._serve(self.worker)
                    warm = self.worker.was_ready
            except Exception:
                logger.exception("no worker can be started on %s", self.device)
            self._pause = 0.0 if warm else min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, 2 * self._pause))
            self.worker = None  # after the pause: between the two it would count as failing
            if self._turns.closed:
                break
            self.restarts += 1
            if self.job is not None and not warm:
                self._outlived(self.job, "")
            self._turns.pause(self._pause)
        for job in filter(None, (self.job, *self._again)):
            job.end(ServiceStoppedError("the service was shut down during the fit; repeat the scan"))

    def cancel(self, scan: str) -> None:
        """Give up the image at hand, and those that are to be tried again, if they are the scan's."""
        job, worker, again = self.job, self.worker, list(self._again)
        for one in filter(None, (job, *again)):
            one.unwanted |= one.scan == scan
        if job is not None and job.scan == scan and worker is not None:
            worker.cancel()

    def _serve(self, worker: Worker) -> None:
        """Give a worker images while it lives and the queue is open."""
        while (job := self._next(worker)) is not None:
            seconds = job.seconds if job.tries < MOST_TRIES - 1 else NO_TIME
            if job.unwanted:
                self._end(HostGoneError(GONE))
                continue
            try:
                self._end(worker.run(job.scan, job.data, job.config, seconds))
            except WorkerDied as death:
                if not self._turns.closed:  # else it was ended
                    logger.error("%s over %s of scan %s", death, job.data.index, job.scan)
                self._outlived(job, worker.hung)
                return
            except Exception as error:
                self._end(error)

    def _next(self, worker: Worker) -> Job | None:
        """The image whose worker died, or the next one; None where the worker is dead or the queue closed."""
        if self.job is None:
            self.job = self._turns.take(lambda: worker.ready, lambda: not worker.alive)
        else:
            self._turns.wait(lambda: worker.ready or not worker.alive)
        return self.job if worker.alive and not self._turns.closed else None

    def _outlived(self, job: Job, hung: str) -> None:
        """What becomes of an image whose worker died."""
        if isinstance(job, Batch):
            self.job, *self._again = job.jobs
            for one in job.jobs:
                one.unwanted = job.unwanted
            return
        job.tries = MOST_TRIES - 1 if hung and job.tries < MOST_TRIES - 1 else job.tries + 1
        if job.unwanted:
            self._end(HostGoneError(GONE))
        elif job.tries == MOST_TRIES:
            self._end(WorkerError(f"every worker died of {job.data.index}; see the service's log"))

    def _end(self, result: Result) -> None:
        job, self.job = self.job, self._again.pop(0) if self._again else None
        assert job is not None
        job.end(result)
