"""Hosts that leave while their images are being made."""

import logging
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

LOOK_S = 0.2
GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


class Departures:
    """Looks after the connections of all scans, in one thread.

    A host keeps its connection open in both directions until it has its images, so one that has closed either has left.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._left: dict[int, Callable[[], None]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._look, name="departures", daemon=True).start()

    @contextmanager
    def watched(self, sock: socket.socket, left: Callable[[], None]) -> Iterator[None]:
        """Call ``left`` once if the peer leaves within the context."""
        number = sock.fileno()
        with self._lock:
            self._left[number] = left
            self._poll.register(number, GONE)
        try:
            yield
        finally:
            with self._lock:
                self._forget(number)

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _forget(self, number: int) -> Callable[[], None] | None:
        left = self._left.pop(number, None)
        if left is not None:
            self._poll.unregister(number)
        return left

    def _of_gone(self, number: int) -> Callable[[], None] | None:
        """Who is to be told; looks again, as the number may have become another connection's meanwhile."""
        with self._lock:
            look = select.poll()
            look.register(number, GONE)
            return self._forget(number) if look.poll(0) else None

    def _look(self) -> None:
        while not self._closed.is_set():
            if not self._left:
                self._closed.wait(LOOK_S)
                continue
            try:
                for number, _ in self._poll.poll(1000 * LOOK_S):
                    left = self._of_gone(number)
                    if left is not None:
                        left()
            except Exception:
                logger.exception("the look-out for departures stumbled")
                self._closed.wait(LOOK_S)
