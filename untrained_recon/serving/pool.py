"""A pool of worker processes for the fits of many scans: fair between scans, bounded, and unharmed by a worker's death."""

import atexit
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from untrained_recon.config import Config
from untrained_recon.errors import ServiceStoppedError, WorkerError
from untrained_recon.serving.slot import Slot
from untrained_recon.serving.supervision import Show, Watch, Worker
from untrained_recon.serving.turns import Job, Turns
from untrained_recon.serving.worker import Task, reconstruct_on
from untrained_recon.types import KSpace, Reconstruction

__all__ = ["FitPool", "Health", "Task", "reconstruct_on"]

logger = logging.getLogger(__name__)

CHECK_S = 1.0
FAREWELL_S = 5.0


class Health(NamedTuple):
    """How a pool is.

    Attributes:
        total: Workers that there should be.
        alive: Whether a worker is looked after and did not fail to start: a first one that starts, or one being replaced, counts.
        live: Processes that run.
        ready: Live ones that are warm.
        busy: Ready ones that have an image.
        waiting: Images that wait for a worker.
        restarts: Workers that were replaced so far.
    """

    total: int
    alive: bool
    live: int
    ready: int
    busy: int
    waiting: int
    restarts: int


class Place(NamedTuple):
    """What one worker does.

    Attributes:
        device: Where it computes.
        state: ``busy``, ``idle``, ``starting`` or ``missing``.
        restarts: Workers that were replaced there so far.
        scan: Whose image it has; empty for none.
        image: Which image that is; empty for none.
    """

    device: str
    state: str
    restarts: int
    scan: str
    image: str


class FitPool:
    """Worker processes, each with its device and its warmed-up libraries; scans take turns image by image.

    A worker that dies (killed, out of memory, a fault in a driver) or hangs is replaced, see
    :class:`untrained_recon.serving.slot.Slot`.

    Args:
        devices: Device of each worker: ``cpu``, ``cuda:0``, …; one process each.
        threads: Threads of each worker on the CPU.
        task: What a worker does with an image; to be found under its name by the worker.
        watch: When a worker counts as hung.
        show: Takes glimpses of the images that are being fitted, in the thread that hears a worker; None for nobody.
    """

    def __init__(
        self,
        devices: Sequence[str],
        threads: int,
        task: Task | None = None,
        watch: Watch | None = None,
        show: Show | None = None,
    ) -> None:
        do, limits = task or reconstruct_on, watch or Watch()

        def start(device: str) -> Worker:
            return Worker(device, threads, do, limits, self._turns.changed, show)

        self._turns = Turns()
        self._slots = [Slot(device, start, self._turns) for device in devices]
        for slot in self._slots:
            slot.start()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        atexit.register(self.close, 0.0)

    def submit(self, scan: str, data: KSpace, config: Config, seconds: float) -> "Future[Reconstruction]":
        """See :class:`untrained_recon.serving.jobs.Jobs`; the log tells the place of an image that waits."""
        if before := len(self._turns):
            logger.info("%s waits behind %d images", data.index, before)
        return self.put(Job(scan, data, config, seconds))

    def put(self, job: Job) -> "Future[Any]":
        """Queue a job for :attr:`task` to do, whatever it is."""
        self._turns.put(job)
        return job.future

    def cancel(self, scan: str) -> None:
        """See :class:`untrained_recon.serving.jobs.Jobs`."""
        self._turns.cancel(scan)
        for slot in self._slots:
            slot.cancel(scan)

    @property
    def waiting(self) -> int:
        """Images that wait for a worker."""
        return len(self._turns)

    @property
    def health(self) -> Health:
        """How it is at this moment; a worker lives where the thread that looks after it does too."""
        live = [worker for slot in self._slots if slot.is_alive() and (worker := slot.worker) is not None and worker.alive]
        ready = [worker for worker in live if worker.ready]
        busy = sum(worker.busy for worker in ready)
        restarts = sum(slot.restarts for slot in self._slots)
        alive = any(slot.is_alive() and not slot.failing for slot in self._slots)
        return Health(len(self._slots), alive, len(live), len(ready), busy, self.waiting, restarts)

    @property
    def places(self) -> list[Place]:
        """What each worker does at this moment."""
        return [_place(slot) for slot in self._slots]

    def close(self, seconds: float) -> None:
        """End the workers: images that wait fail with ServiceStoppedError, fits that run have ``seconds`` to finish."""
        atexit.unregister(self.close)
        self._turns.close(ServiceStoppedError("the service is shutting down; repeat the scan"))
        _join(self._slots, seconds)
        for slot in self._slots:
            if slot.worker is not None:
                slot.worker.kill()
        _join(self._slots, FAREWELL_S)

    def _watch(self) -> None:
        """Replace workers that hang; where none can be started, let the images that wait fail."""
        while not self._turns.closed:
            try:
                for slot in self._slots:
                    if slot.worker is not None:
                        slot.worker.check()
                if self._slots and all(slot.failing for slot in self._slots):
                    self._turns.fail(WorkerError("no worker can be started; see the service's log"))
            except Exception:
                logger.exception("the watchdog stumbled")
            self._turns.pause(CHECK_S)


def _place(slot: Slot) -> Place:
    worker, job = slot.worker, slot.job
    if worker is None or not worker.alive:
        state = "missing"
    elif not worker.ready:
        state = "starting"
    else:
        state = "busy" if worker.busy else "idle"
    scan, image = (job.scan, str(job.data.index)) if job is not None and state == "busy" else ("", "")
    return Place(slot.device, state, slot.restarts, scan, image)


def _join(threads: Sequence[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
