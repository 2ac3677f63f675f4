"""A worker process as its pool sees it: started, given images, watched, killed when it hangs."""

import logging
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from untrained_recon.config import Config
from untrained_recon.serving.glimpse import Glimpse
from untrained_recon.serving.turns import Item
from untrained_recon.serving.worker import BEAT_S, Done, Job, Life, Ready, Task, work

logger = logging.getLogger(__name__)

END_S = 5.0
Show = Callable[[str, Any, Glimpse], None]
"""Takes a glimpse of an image of a scan that is being fitted."""

BUSY_SHARE = 0.05  # of a processor; the signs of life themselves cost less


@dataclass(frozen=True)
class Watch:
    """How long a worker may take before it is replaced, in seconds.

    Attributes:
        start: Without a sign of life while it loads its libraries.
        silence: Without a sign of life afterwards; a process that runs gives one every second.
        stall: Without a step of a fit or CPU time, during an image; and beyond the time that the image was given.
        cancel: For an image that nobody wants any more.
    """

    start: float = 180.0
    silence: float = 20.0
    stall: float = 300.0
    cancel: float = 10.0


class WorkerDied(Exception):  # noqa: N818  # not an error that a person reads
    """The process ended before it answered."""


class Worker:
    """A process with its device and its warmed-up libraries; leaving the context ends it.

    Args:
        device: Device.
        threads: Threads on the CPU.
        task: What it does with an image.
        watch: When it counts as hung.
        changed: Called when it becomes ready or dies.
        show: Takes glimpses of the image at hand; None for nobody, and none are made.

    Attributes:
        ready: Whether its libraries are warm.
        was_ready: Whether they ever were.
        alive: Whether the process runs.
        hung: Why it was killed; empty where it was not.
    """

    def __init__(
        self, device: str, threads: int, task: Task, watch: Watch, changed: Callable[[], None], show: Show | None = None
    ) -> None:
        self.device = device
        self.ready = self.was_ready = False
        self.alive = True
        self.hung = ""
        self._watch, self._changed, self._show = watch, changed, show
        self._at_hand: tuple[str, object] | None = None
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._number = 0
        self._sending = threading.Lock()
        self._deadline: float | None = None  # of the image at hand
        self._life = Life(0, 0.0)
        self._seen = self._moved = time.monotonic()
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self._connection, theirs = context.Pipe()
        args = (theirs, device, threads, task, show is not None)
        try:
            self._process = context.Process(target=work, args=args, name=f"worker on {device}")
            self._process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()
        self._reader = threading.Thread(target=self._read, args=(self._connection,), name="worker's messages", daemon=True)
        try:
            self._reader.start()
        except RuntimeError:  # no more threads
            self._process.kill()
            raise

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.join(END_S)
        self._reader.join(END_S)
        self._connection.close()
        if not self._process.is_alive():
            self._process.close()

    @property
    def busy(self) -> bool:
        """Whether it has an image."""
        return self._deadline is not None

    def run(self, scan: str, data: Item, config: Config | None, seconds: float) -> Any:
        """Reconstruct an image. Raises WorkerDied, or what the reconstruction raised."""
        self._at_hand = (scan, data.index)
        self._moved = time.monotonic()
        self._deadline = self._moved + max(0.0, seconds) + self._watch.stall
        try:
            with self._sending:
                self._connection.send(Job(self._number, scan, data, config, seconds))
            result = self._answers.get()
        except OSError as error:
            raise WorkerDied(self._epitaph()) from error
        finally:
            self._deadline = None
            self._number += 1
        if isinstance(result, Exception):
            raise result
        return result

    def cancel(self) -> None:
        """Nobody wants the image at hand any more: it is given up at its next step, or the worker is killed."""
        if self._deadline is not None:
            self._deadline = min(self._deadline, time.monotonic() + self._watch.cancel)
            if self._sending.acquire(blocking=False):
                try:
                    self._connection.send(self._number)
                except OSError:
                    logger.debug("the worker on %s died before it could be told", self.device)
                finally:
                    self._sending.release()

    def kill(self) -> None:
        """End the process at once."""
        if self.alive:
            self._process.kill()

    def check(self) -> None:
        """Kill the process if it hangs."""
        now = time.monotonic()
        silence = self._watch.silence if self.ready else self._watch.start
        deadline = self._deadline
        if now - self._seen > silence:
            self.hung = f"gave no sign of life for {silence:g} s"
        elif deadline is not None and now > deadline:
            self.hung = "did not end in time"
        elif deadline is not None and now - self._moved > self._watch.stall:
            self.hung = f"did nothing for {self._watch.stall:g} s"
        else:
            return
        logger.error("the worker on %s %s and is replaced", self.device, self.hung)
        self.kill()

    def _read(self, connection: Connection) -> None:
        try:
            while True:
                self._take(connection.recv())
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("the worker on %s sent what cannot be read", self.device)
            self._process.kill()
        self.alive = self.ready = False
        self._answers.put(WorkerDied(self._epitaph()))
        self._changed()

    def _take(self, message: object) -> None:
        self._seen = time.monotonic()
        if isinstance(message, Life):
            if message.steps != self._life.steps or message.cpu > self._life.cpu + BUSY_SHARE * BEAT_S:
                self._moved = self._seen
            self._life = message
        elif isinstance(message, Done):
            self._answers.put(message.result)
        elif isinstance(message, Glimpse):
            if self._show is not None and self._at_hand is not None:
                self._show(*self._at_hand, message)
        elif isinstance(message, Ready):
            self.ready = self.was_ready = True
            self._changed()
        elif isinstance(message, logging.LogRecord) and logging.getLogger(message.name).isEnabledFor(message.levelno):
            logging.getLogger(message.name).handle(message)

    def _epitaph(self) -> str:
        return f"the worker on {self.device} {self.hung or 'died'}"
