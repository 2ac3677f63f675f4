"""Reading a socket with bounds: a length is checked before memory is taken, and a peer that is gone is noticed."""

import socket

from gadgetron.external.connection import Connection

from untrained_recon.errors import ProtocolError

MESSAGE_LIMIT = 8 << 30
CHUNK = 1 << 22


class GuardedSocket(Connection.SocketWrapper):  # type: ignore[misc]  # gadgetron has no types
    """Gadgetron's socket, but it reads exactly what is asked for or raises (the original spins forever at the end of a stream).

    Args:
        sock: Connected socket.
        limit: Bytes that one message may hold.
    """

    def __init__(self, sock: socket.socket, limit: int = MESSAGE_LIMIT) -> None:
        super().__init__(sock)
        self._limit = self._left = limit
        self._record: list[bytes] | None = None
        self.received = 0

    def begin_message(self) -> None:
        """Start to count the bytes of a message."""
        self._left = self._limit

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
        """Exactly ``nbytes`` bytes. Raises ProtocolError past the limit, or at the end of the stream."""
        self._left -= self.expect(nbytes)
        data = bytearray()
        while len(data) < nbytes:  # memory grows with what arrives, not with what was announced
            piece = self.socket.recv(min(nbytes - len(data), CHUNK))
            if not piece:
                raise ProtocolError(f"the host closed the connection in the middle of a scan ({nbytes - len(data)} bytes missing)")
            data += piece
            self.received += len(piece)
        if self._record is not None:
            self._record.append(bytes(data))
        return bytes(data)
