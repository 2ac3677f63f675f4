"""Reading and writing a socket with bounds: of length, of memory, of time; and a peer that is gone is noticed."""

import contextlib
import select
import socket
import struct
import time

from gadgetron.external import constants
from gadgetron.external.connection import Connection

from untrained_recon.errors import HostSilentError, ProtocolError, ServiceStoppedError
from untrained_recon.memory import Account

MESSAGE_LIMIT = 8 << 30
CHUNK = 1 << 22
COPIES = 2  # of a message while it is read
PEEK_S = 0.02
FAREWELL_S = 5.0


class GuardedSocket(Connection.SocketWrapper):  # type: ignore[misc]  # gadgetron has no types
    """Gadgetron's socket, but it reads exactly what is asked for or raises (the original spins forever at the end of a stream).

    Args:
        sock: Connected socket.
        limit: Bytes that one message may hold.

    Attributes:
        received: Bytes so far.
        idle_s: Seconds without a byte in or out after which the peer is given up; None for no limit.
        deadline: Monotonic time until which reading goes on; None for no limit.
        account: Takes note of the memory of the message that is being read; None for no limit but the message's.
    """

    def __init__(self, sock: socket.socket, limit: int = MESSAGE_LIMIT) -> None:
        super().__init__(sock)
        self._limit = self._left = limit
        self._record: list[bytes] | None = None
        self._stopped = False
        self._charged = 0
        self.received = 0
        self.idle_s: float | None = None
        self.deadline: float | None = None
        self.account: Account | None = None

    def begin_message(self) -> None:
        """Start to count the bytes of a message."""
        self._left = self._limit
        if self.account is not None:
            self._left = int(min(self._limit, self.account.limit // COPIES))
            self.account.give(self._charged)
            self._charged = 0

    def start_recording(self) -> None:
        """Keep a copy of what is read from now on."""
        self._record = []

    def stop_recording(self) -> bytes:
        """Everything read since :meth:`start_recording`."""
        recorded, self._record = b"".join(self._record or []), None
        return recorded

    def expect(self, nbytes: int) -> int:
        """Check that so much more may belong to this message, and return it. Raises ProtocolError when it may not."""
        if not 0 <= nbytes <= self._left:
            raise ProtocolError(f"a message announces {nbytes} more bytes; the limit of {self._limit} leaves {self._left}")
        return nbytes

    def read(self, nbytes: int) -> bytes:
        """Exactly ``nbytes`` bytes.

        Raises:
            ProtocolError: Past the limit, or at the end of the stream.
            HostSilentError: Nothing came in time.
            ScanTooLargeError, ServiceBusyError: There is no memory for it.
            ServiceStoppedError: See :meth:`stop`.
        """
        self._left -= self.expect(nbytes)
        data = bytearray()
        while len(data) < nbytes:  # memory grows with what arrives, not with what was announced
            self._wait(select.POLLIN)
            piece = self.socket.recv(min(nbytes - len(data), CHUNK))
            if self._stopped:
                raise ServiceStoppedError("the service was shut down; repeat the scan")
            if not piece:
                raise ProtocolError(f"the host closed the connection in the middle of a scan ({nbytes - len(data)} bytes missing)")
            self._charge(len(piece))
            data += piece
            self.received += len(piece)
        if self._record is not None:
            self._record.append(bytes(data))
        return bytes(data)

    def peek(self, nbytes: int) -> bytes:
        """The next ``nbytes`` bytes, which stay to be read; fewer at the end of the stream. Raises HostSilentError."""
        before = b""
        while True:
            self._wait(select.POLLIN)
            data: bytes = self.socket.recv(nbytes, socket.MSG_PEEK)
            if len(data) >= nbytes or not data or (data == before and self._has_ended()):
                return data
            before = data
            time.sleep(PEEK_S)

    def write(self, byte_array: bytes) -> None:
        """Send everything. Raises HostSilentError when the peer takes nothing for too long."""
        if self.idle_s is None:
            self.socket.sendall(byte_array)
            return
        view = memoryview(bytes(byte_array))  # an array, or a structure of ctypes
        while view:
            self._wait(select.POLLOUT)
            with contextlib.suppress(BlockingIOError):
                view = view[self.socket.send(view[:CHUNK], socket.MSG_DONTWAIT) :]

    def stop(self) -> None:
        """Have whoever reads, or will, end with ServiceStoppedError. From any thread."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Say CLOSE, to a peer that still listens, and close."""
        try:
            if self.idle_s is not None:
                self.idle_s = min(self.idle_s, FAREWELL_S)
            self.write(struct.pack("<H", constants.GADGET_MESSAGE_CLOSE))
        except (OSError, HostSilentError):  # nobody is there to be told
            pass
        finally:
            self.socket.close()

    def _charge(self, nbytes: int) -> None:
        if self.account is not None:
            self.account.take(COPIES * nbytes, "a message")
            self._charged += COPIES * nbytes

    def _wait(self, event: int) -> None:
        limits = [limit for limit in (self.idle_s, self.deadline and self.deadline - time.monotonic()) if limit is not None]
        if not limits:
            return
        poll = select.poll()
        poll.register(self.socket, event)
        if not poll.poll(1000 * max(0.0, min(limits))):
            what = "sent" if event == select.POLLIN else "took"
            raise HostSilentError(f"the host {what} nothing in time; the connection is given up")

    def _has_ended(self) -> bool:
        poll = select.poll()
        poll.register(self.socket, getattr(select, "POLLRDHUP", 0))
        return bool(poll.poll(0))
