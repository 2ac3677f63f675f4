"""A pool of worker processes for the fits of many scans: fair between scans, bounded, and unharmed by a worker's death."""

import logging
import multiprocessing
import signal
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

from untrained_recon.config import Config
from untrained_recon.errors import ServiceStoppedError, WorkerError
from untrained_recon.types import KSpace, Reconstruction

logger = logging.getLogger(__name__)

NO_TIME = 0.0

Task = Callable[[KSpace, Config, str, float], Reconstruction]


@dataclass(frozen=True)
class _Job:
    scan: str
    data: KSpace
    config: Config
    seconds: float
    future: "Future[Reconstruction]"


class FitPool:
    """Worker processes, each with its device and its warmed-up libraries; scans take turns image by image.

    A worker that dies (killed, out of memory, a fault in a driver) is replaced and its image tried once more; if that dies too, a
    conventional reconstruction is made of it.

    Args:
        devices: Device of each worker: ``cpu``, ``cuda:0``, …; one process each.
        threads: Threads of each worker on the CPU.
        task: What a worker does with an image; to be found under its name by the worker.
    """

    def __init__(self, devices: Sequence[str], threads: int, task: Task | None = None) -> None:
        self._task = task or reconstruct_on
        self._scans: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._change = threading.Condition()
        self._closing = False
        self._threads = threads
        self._workers = [threading.Thread(target=self._work, args=(device,), daemon=True) for device in devices]
        for worker in self._workers:
            worker.start()

    def submit(self, scan: str, data: KSpace, config: Config, seconds: float) -> "Future[Reconstruction]":
        """See :class:`untrained_recon.jobs.Jobs`; the log tells the place of an image that waits."""
        job = _Job(scan, data, config, seconds, Future())
        with self._change:
            if self._closing:
                job.future.set_exception(ServiceStoppedError("the service is shutting down; repeat the scan"))
                return job.future
            before = self.waiting
            self._scans.setdefault(scan, deque()).append(job)
            self._change.notify()
        if before:
            logger.info("scan %s: %s waits behind %d images of %d scans", scan, data.index, before, len(self._scans))
        return job.future

    def cancel(self, scan: str) -> None:
        """See :class:`untrained_recon.jobs.Jobs`."""
        with self._change:
            for job in self._scans.pop(scan, ()):
                job.future.cancel()

    @property
    def waiting(self) -> int:
        """Images that wait for a worker."""
        return sum(len(jobs) for jobs in self._scans.values())

    def close(self, seconds: float) -> None:
        """End the workers: images that wait fail with ServiceStoppedError, fits that run have ``seconds`` to finish."""
        with self._change:
            self._closing = True
            waiting = [job for jobs in self._scans.values() for job in jobs]
            self._scans.clear()
            self._change.notify_all()
        for job in waiting:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(ServiceStoppedError("the service is shutting down; repeat the scan"))
        deadline = time.monotonic() + seconds
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        if any(worker.is_alive() for worker in self._workers):
            for process in multiprocessing.active_children():
                process.kill()

    def _work(self, device: str) -> None:
        executor = self._executor(device)
        while (job := self._next()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            for seconds in (job.seconds, job.seconds, NO_TIME):
                if self._attempt(executor, job, device, seconds):
                    break
                logger.error("the worker on %s died while fitting %s of scan %s", device, job.data.index, job.scan)
                executor.shutdown()
                executor = self._executor(device)
            else:
                job.future.set_exception(WorkerError(f"three workers died of {job.data.index}; see the service's log"))
        executor.shutdown()

    def _attempt(self, executor: ProcessPoolExecutor, job: _Job, device: str, seconds: float) -> bool:
        """Whether the worker lived to answer, be it with an error of the image's own."""
        try:
            job.future.set_result(executor.submit(self._task, job.data, job.config, device, seconds).result())
        except BrokenProcessPool:
            return self._closing_now(job)
        except Exception as error:
            job.future.set_exception(error)
        return True

    def _closing_now(self, job: _Job) -> bool:
        """Whether the worker died because the pool ended it; its image fails then."""
        if self._closing:
            job.future.set_exception(ServiceStoppedError("the service was shut down during the fit; repeat the scan"))
        return self._closing

    def _next(self) -> _Job | None:
        """The next image, one scan after the other; None at the end."""
        with self._change:
            self._change.wait_for(lambda: self._closing or self._scans)
            if self._closing:
                return None
            scan, jobs = next(iter(self._scans.items()))
            job = jobs.popleft()
            if jobs:
                self._scans.move_to_end(scan)
            else:
                del self._scans[scan]
            return job

    def _executor(self, device: str) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        executor = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_prepare, initargs=(self._threads,))
        executor.submit(_warm_up, device)  # starts the process now, not with the first scan
        return executor


def reconstruct_on(data: KSpace, config: Config, device: str, seconds: float) -> Reconstruction:
    """:func:`untrained_recon.volume.reconstruct_image` in a worker."""
    import torch

    from untrained_recon.volume import reconstruct_image

    recon = reconstruct_image(data, config, torch.device(device), seconds=seconds)
    return replace(recon, maps=None)  # images are made without, and they are as large as k-space


def _prepare(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service decides when its workers end
    import torch

    torch.set_num_threads(threads)


def _warm_up(device: str) -> None:
    """Load the libraries, and on a GPU the context and the kernels, by one step of a small fit."""
    import torch

    from untrained_recon.config import FitConfig
    from untrained_recon.fit import fit
    from untrained_recon.networks import ConvDecoder
    from untrained_recon.operators import CoilFourier

    mask = torch.ones(32, 32, dtype=torch.bool, device=device)
    network = ConvDecoder(2, (32, 32), in_size=(4, 4), layers=4, channels=64, generator=torch.Generator()).to(device)
    fit(network, CoilFourier(mask, 1), torch.ones(1, 32, 32, dtype=torch.complex64, device=device), FitConfig(iterations=1))
