"""The connections of a service and their threads: newcomers, who have sent no header yet, and scans."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from gadgets.connection import GadgetConnection

logger = logging.getLogger(__name__)

MOST_NEWCOMERS = 64


@dataclass(eq=False)
class Visitor:
    """A connection.

    Attributes:
        sock: Its socket.
        peer: Name of its peer.
        connection: What the protocol makes of it.
        scan: Whether it counts as one.
    """

    sock: socket.socket
    peer: str
    connection: GadgetConnection | None = None
    scan: bool = False

    @property
    def newcomer(self) -> bool:
        """Whether its header has not come yet."""
        return self.connection is None or not self.connection.header_xml


class Visitors:
    """Gives each connection a thread, as long as there is room.

    Args:
        room: Connections that there is room for.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._present: dict[Visitor, threading.Thread] = {}  # in the order of their arrival
        self._change = threading.Condition()

    @property
    def scans(self) -> int:
        """Scans in progress."""
        with self._change:
            return sum(visitor.scan for visitor in self._present)

    def admit(self, sock: socket.socket, peer: str, serve: Callable[[Visitor], None]) -> None:
        """Serve a connection in a thread of its own; where there is no room, the oldest newcomer has to go, or else this one."""
        visitor = Visitor(sock, peer)
        with self._change:
            newcomers = [other for other in self._present if other.newcomer]
            full = len(self._present) >= self._room
            if newcomers and (full or len(newcomers) >= MOST_NEWCOMERS):
                logger.warning("%s has sent no header and makes room for %s", newcomers[0].peer, peer)
                _shut(newcomers[0])
            elif full:
                logger.error("%s is turned away: there is room for %d connections", peer, self._room)
                sock.close()
                return
            thread = threading.Thread(target=self._serve, args=(visitor, serve), name=peer, daemon=True)
            self._present[visitor] = thread
        try:
            thread.start()
        except RuntimeError:  # no more threads
            logger.error("%s is turned away: no thread can be started", peer)
            self._leave(visitor)

    def begin_scan(self, visitor: Visitor, most: int) -> bool:
        """Count a connection as a scan, unless there are so many already."""
        with self._change:
            visitor.scan = sum(other.scan for other in self._present) < most
            return visitor.scan

    def end_scan(self, visitor: Visitor) -> None:
        """Count a connection as a scan no longer."""
        with self._change:
            visitor.scan = False

    def dismiss_newcomers(self) -> None:
        """Close the connections that are no scans."""
        with self._change:
            for visitor in self._present:
                if visitor.newcomer:
                    _shut(visitor)

    def wait(self, seconds: float) -> bool:
        """Wait for all connections to end."""
        with self._change:
            return self._change.wait_for(lambda: not self._present, seconds)

    def dismiss(self, seconds: float) -> None:
        """End all connections within so many seconds: reading first, so that their hosts can be told, then all."""
        deadline = time.monotonic() + seconds
        self.wait(seconds / 2)
        with self._change:
            for visitor in self._present:
                if visitor.connection is not None:
                    visitor.connection.socket.stop()
        self.wait(deadline - time.monotonic())
        with self._change:
            for visitor in self._present:
                _shut(visitor)

    def _serve(self, visitor: Visitor, serve: Callable[[Visitor], None]) -> None:
        try:
            serve(visitor)
        except Exception:
            logger.exception("the connection of %s was lost", visitor.peer)
        finally:
            self._leave(visitor)

    def _leave(self, visitor: Visitor) -> None:
        visitor.sock.close()
        with self._change:
            del self._present[visitor]
            self._change.notify_all()


def _shut(visitor: Visitor) -> None:
    with contextlib.suppress(OSError):
        visitor.sock.shutdown(socket.SHUT_RDWR)
