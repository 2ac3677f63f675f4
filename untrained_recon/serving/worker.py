"""What runs in a worker process of the pool: fits, one after the other, with signs of life; it ends when its parent has ended."""

import contextlib
import contextvars
import logging
import logging.handlers
import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from untrained_recon.config import Config
from untrained_recon.errors import WorkerError
from untrained_recon.logs import SCAN, ScanFilter
from untrained_recon.serving.glimpse import Glimpses
from untrained_recon.serving.stack import Result, Stack
from untrained_recon.types import KSpace, Reconstruction

logger = logging.getLogger(__name__)

BEAT_S = 1.0
MOST_SCANS = 256  # of which it is known that their memory was told
OOM_SCORE = "800"
WATCH: contextvars.ContextVar[Any] = contextvars.ContextVar("watch")
"""The :class:`~untrained_recon.recon.fit.watch.Watch` of the image at hand: who follows, and whether nobody wants it any more."""

Task = Callable[[KSpace, Config, str, float], Reconstruction]


class Job(NamedTuple):
    """What the parent sends: an image of a scan (or several of them to be made side by side), and the seconds for its fit. A bare
    number instead cancels the job that has it.
    """

    number: int
    scan: str
    data: KSpace | Stack
    config: Config
    seconds: float


class Life(NamedTuple):
    """A sign of life: steps of fits so far, and seconds of CPU time."""

    steps: int
    cpu: float


class Ready(NamedTuple):
    """The libraries are loaded and warm."""


class Done(NamedTuple):
    """How a job ended."""

    result: Result


def reconstruct_on(data: KSpace, config: Config, device: str, seconds: float) -> Reconstruction:
    """:func:`untrained_recon.recon.volume.reconstruct_image` in a worker."""
    import torch

    from untrained_recon.recon.fit.watch import UNWATCHED
    from untrained_recon.recon.volume import reconstruct_image

    recon = reconstruct_image(data, config, torch.device(device), WATCH.get(UNWATCHED).within(seconds))
    return replace(recon, maps=None)  # they are large, and images do not take them along


def work(connection: Connection, device: str, threads: int, task: Task, shown: bool = False) -> None:
    """Main function of the process.

    Args:
        connection: To the parent; takes :class:`Job` and numbers of jobs to cancel, gives the other messages of this module and
            log records.
        device: Where to compute.
        threads: Threads on the CPU.
        task: What to do with an image.
        shown: Whether somebody wants to see the images while they are fitted: a :class:`Glimpse` every second.
    """
    _Worker(connection, shown).run(device, threads, task)


class _Worker:
    def __init__(self, connection: Connection, shown: bool) -> None:
        self._connection = connection
        self._shown = shown
        self._sending = threading.Lock()
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._cancelled = -1
        self._herald = lru_cache(MOST_SCANS)(_herald)
        self._steps = 0

    def run(self, device: str, threads: int, task: Task) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the service decides when its workers end
        with contextlib.suppress(OSError):  # where memory runs out, a worker is replaced sooner than the service
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
        handler = _Forward(self.send)
        handler.addFilter(ScanFilter())
        logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(message)s", force=True)
        logging.captureWarnings(True)
        for target in (self._listen, self._beat):
            threading.Thread(target=target, daemon=True).start()
        _prepare(threads)
        logging.disable(logging.WARNING)  # what is said of an image of noise is of no interest
        try:
            warm_up(device)
        except Exception:  # the images will tell
            logger.exception("the worker on %s could not be warmed up", device)
        finally:
            logging.disable(logging.NOTSET)
        self.send(Ready())
        while True:
            self._do(self._jobs.get(), device, task)

    def send(self, message: Any) -> None:
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        with self._sending:
            self._connection.send_bytes(data)

    def _do(self, job: Job, device: str, task: Task) -> None:
        from untrained_recon.recon.fit.watch import Watch

        glimpses, shown = Glimpses(), self._shown and not isinstance(job.data, Stack)  # side by side, they would be mixed up

        def step(progress: Any) -> None:
            self._steps += 1
            if shown and (glimpse := glimpses.of(progress)) is not None:
                self.send(glimpse)

        SCAN.set(job.scan)
        WATCH.set(Watch(follow=step, given_up=lambda: self._cancelled == job.number))
        result: Result
        try:
            for data in job.data.images if isinstance(job.data, Stack) else [job.data]:
                if isinstance(data, KSpace):  # a pool may do other things
                    self._herald(job.scan, device).tell(data, job.config)
            if isinstance(job.data, Stack):
                result = _side_by_side(job.data.images, job.config, device, job.seconds, task)
            else:
                result = task(job.data, job.config, device, job.seconds)
        except Exception as error:
            result = _portable(error)
        finally:
            SCAN.set("")
        self.send(Done(result))

    def _listen(self) -> None:
        """Take jobs and cancellations; without a parent, end, whatever is being computed."""
        try:
            while True:
                message = self._connection.recv()
                if isinstance(message, Job):
                    self._jobs.put(message)
                else:
                    self._cancelled = message
        except BaseException:
            os._exit(1)

    def _beat(self) -> None:
        try:
            while True:
                self.send(Life(self._steps, time.process_time()))
                time.sleep(BEAT_S)
        except OSError:
            os._exit(1)


def _herald(_scan: str, device: str) -> Any:
    import torch

    from untrained_recon.recon.outlook import Herald

    return Herald(torch.device(device))


def _side_by_side(images: Sequence[KSpace], config: Config, device: str, seconds: float, task: Task) -> list[Any]:
    """What becomes of each image; the seconds are for all of them."""
    import torch

    from untrained_recon.recon.demand import demand_of
    from untrained_recon.recon.fit.watch import Watch
    from untrained_recon.recon.lanes import side_by_side

    where = torch.device(device)

    def work(data: KSpace, part: Watch) -> Reconstruction | Exception:
        WATCH.set(part)  # in the context of its lane
        try:
            return task(data, config, device, part.left())
        except Exception as error:  # whatever it is, it costs this image alone
            return _portable(error)

    return side_by_side(
        work, images, WATCH.get().within(seconds), where, config.compute, lambda data: demand_of(data, config, where)
    )


def _portable(error: Exception) -> Exception:
    """The error, or its words where it cannot travel between processes."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkerError(f"{type(error).__name__}: {error}")
    return error


class _Forward(logging.handlers.QueueHandler):
    """Sends records to the parent, which has the log."""

    def __init__(self, send: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(queue=None)  # type: ignore[arg-type]  # enqueue is ours
        self._send = send

    def enqueue(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            self._send(record)


def _prepare(threads: int) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch is loaded, see gadgets
    import torch

    torch.set_num_threads(threads)


def warm_up(device: str) -> None:
    """Load the libraries, and on a GPU the context and the kernels, by a small reconstruction."""
    import numpy as np

    from untrained_recon.config import DEFAULT_PRESET, load_config
    from untrained_recon.encoding import Encoding, ImageIndex

    n_coils, n = (8, 256) if device.startswith("cuda") else (4, 32)  # a GPU's kernels are chosen by size
    shape, index = (n, n), ImageIndex(0, 0, 0, 0, 0, 0, 0)
    mask = np.zeros(shape, bool)
    mask[::2] = mask[n // 4 : n - n // 4] = True
    noise = np.random.default_rng(0).standard_normal((2, n_coils, *shape)) / np.hypot(*np.indices(shape) - n / 2 + 0.5)
    ksp = ((noise[0] + 1j * noise[1]) * mask).astype(np.complex64)
    config = load_config(DEFAULT_PRESET, {"fit.iterations": "2", "refine.iterations": "1"})
    reconstruct_on(KSpace(ksp, mask, ksp, mask, index, Encoding.of(shape), None, False), config, device, 60.0)
