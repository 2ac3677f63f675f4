"""Several images of a scan side by side on one device.

Each has a lane: a thread, and on a GPU a stream of its own, so that one image uses what another leaves idle, and waits for the host
while another computes. Nothing of an image depends on who is beside it, and whatever becomes of one costs no other.
"""

import contextlib
import contextvars
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from types import TracebackType
from typing import TypeVar

import torch

from untrained_recon.config import ComputeConfig
from untrained_recon.recon.demand import available
from untrained_recon.recon.fit.watch import Callback, Progress, Watch
from untrained_recon.recon.networks.compute import arithmetic

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Made = TypeVar("Made")

IN_LANE: contextvars.ContextVar[bool] = contextvars.ContextVar("in lane", default=False)
"""Whether what runs is in a lane already: planes and runs of an image beside others come one after the other."""


class Lanes:
    """As many as ``compute.at_once``; with one, what is to be done is done one after the other, as without lanes.

    Args:
        device: Where to compute.
        compute: How; while the context lasts, its arithmetic is that of the whole process.
    """

    def __init__(self, device: torch.device, compute: ComputeConfig) -> None:
        self._device, self._alone = device, compute.at_once == 1
        self.room = Room(device)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(compute.at_once):
            self._free.put(number)
        self._before = None if self._alone or device.type != "cuda" else torch.cuda.current_stream(device)
        self._arithmetic = contextlib.nullcontext() if self._alone else arithmetic(compute, device)
        self._executor = ThreadPoolExecutor(compute.at_once, thread_name_prefix="lane")

    def __enter__(self) -> "Lanes":
        self._arithmetic.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._executor.shutdown(cancel_futures=True)
        self._arithmetic.__exit__(kind, error, trace)

    def submit(self, work: Callable[[], Made], needed: Callable[[], int]) -> "Future[Made]":
        """Have something done as soon as a lane is free, and memory for it.

        Args:
            work: What is to be done.
            needed: Bytes that it takes, see :func:`~untrained_recon.recon.demand.demand_of`.
        """
        context = contextvars.copy_context()  # for the log, whose scan it is
        return self._executor.submit(context.run, work if self._alone else partial(self._beside, work, needed))

    def _beside(self, work: Callable[[], Made], needed: Callable[[], int]) -> Made:
        IN_LANE.set(True)
        with self.room.taken(needed()), self._own_stream():
            return work()

    @contextlib.contextmanager
    def _own_stream(self) -> Iterator[None]:
        """On a GPU, the stream of a lane: it begins after what was begun before, and has ended when the context is left."""
        if self._before is None:
            yield
            return
        number = self._free.get()
        stream = _stream(self._device, number)
        stream.wait_stream(self._before)
        try:
            with torch.cuda.stream(stream):
                yield
            _wait_for(stream)
        finally:
            self._free.put(number)


class Room:
    """Memory of a device that is promised before it is taken: who does not fit in waits, but for the first."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._free = device, 0
        self._promised: list[int] = []
        self._change = threading.Condition()

    def abreast(self) -> int:
        """How many like the largest of those that have room now there is room for."""
        with self._change:
            return max(len(self._promised), self._free // max(1, *self._promised, 1))

    @contextlib.contextmanager
    def taken(self, nbytes: int) -> Iterator[None]:
        """Wait for so much memory, and give it back on leaving the context."""
        with self._change:
            self._change.wait_for(lambda: not self._promised or sum(self._promised) + nbytes <= self._free)
            if not self._promised:
                self._free = _available(self._device)
            self._promised.append(nbytes)
        try:
            yield
        finally:
            with self._change:
                self._promised.remove(nbytes)
                self._change.notify_all()


def _available(device: torch.device) -> int:
    """No memory where the device fails: one after the other, each finds out what can still be made of it."""
    try:
        return available(device)
    except RuntimeError as error:
        logger.warning("the free memory of %s is not known: %s", device, error)
        return 0


def _wait_for(stream: torch.cuda.Stream) -> None:
    """What was made is on the host by now, and outlives a device that fails."""
    try:
        stream.synchronize()
    except RuntimeError as error:
        logger.warning("a lane ended with: %s", error)


def side_by_side(
    work: Callable[[Item, Watch], Made],
    items: Sequence[Item],
    watch: Watch,
    device: torch.device,
    compute: ComputeConfig,
    needed: Callable[[Item], int],
) -> list[Made]:
    """What becomes of each item, in their order: by ``compute.at_once`` lanes, or one after the other.

    Args:
        work: Makes something of an item, in its part of the time.
        items: Of what something is to be made.
        watch: Of all of them. In lanes, progress of one comes between that of others.
        device: Where.
        compute: How.
        needed: Bytes that an item takes.

    Raises:
        Exception: The first that ``work`` raised, by the order of the items; those that were not begun then are not.
    """
    at_once = 1 if IN_LANE.get() else min(compute.at_once, len(items))
    if at_once == 1:
        return [work(item, part) for item, part in zip(items, watch.parts(len(items)), strict=True)]
    stopped = threading.Event()
    whole = replace(watch, follow=_one_at_a_time(watch.follow), given_up=lambda: stopped.is_set() or watch.given_up())
    numbers, sharing = iter(range(len(items))), threading.Lock()

    def begun(item: Item) -> Made:
        whole.heed()  # it may have waited for memory
        with sharing:  # no more shares than there is room for, or those that wait for it would find no time left
            part = whole.nth(next(numbers), len(items), min(at_once, lanes.room.abreast()))
        return work(item, part)

    with Lanes(device, compute) as lanes:
        try:
            done = [lanes.submit(partial(begun, item), partial(needed, item)) for item in items]
            return [each.result() for each in done]
        except BaseException:  # Ctrl-C among them: what is in work is given up at its next step
            stopped.set()
            raise


def _one_at_a_time(follow: Callback | None) -> Callback | None:
    if follow is None:
        return None
    lock, told = threading.Lock(), follow

    def follow_one(progress: Progress) -> bool | None:
        with lock:
            return told(progress)

    return follow_one


@lru_cache
def _stream(device: torch.device, number: int) -> torch.cuda.Stream:
    """Kept: PyTorch keeps memory for every stream that was ever used."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
