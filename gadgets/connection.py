"""A Gadgetron connection that never fails silently.

A Python gadget that raises looks like success to the scanner: the connection says CLOSE and no image comes. Here every failure
becomes an ERROR message, the rest of the input is read so that the message is not lost, and the exception goes on to the launcher,
whose exit status is not 0.
"""

import functools
import logging
import socket
import struct
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from gadgetron.external import constants
from gadgetron.external.connection import Connection

from untrained_recon.errors import ProtocolError, ReconError

logger = logging.getLogger(__name__)

ERROR_ID = 8
SILENCE_S = 2.0

Body = Callable[["GadgetConnection"], None]


class GuardedSocket(Connection.SocketWrapper):  # type: ignore[misc]  # gadgetron has no types
    """Reads exactly what is asked for, or raises where the peer is gone (the original spins forever)."""

    def read(self, nbytes: int) -> bytearray:
        """Exactly ``nbytes`` bytes, writable. Raises ProtocolError at the end of the stream."""
        data = bytearray(nbytes)
        view, got = memoryview(data), 0
        while got < nbytes:
            n = self.socket.recv_into(view[got:])
            if n == 0:
                raise ProtocolError(f"the host closed the connection {nbytes - got} bytes before the end of a message")
            got += n
        return data

    def close(self) -> None:
        """Say CLOSE, if the peer is still there to hear it, and close the socket."""
        try:
            super().close()
        except OSError as error:
            logger.warning("the host was gone before CLOSE: %s", error)
            self.socket.close()


class GadgetConnection(Connection):  # type: ignore[misc]  # gadgetron has no types
    """Gadgetron's connection with guarded reads, and with errors that reach the host.

    Unlike the original it does not read anything when it is made: :meth:`open` does, so that a broken header can be reported.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = GuardedSocket(sock)
        self.readers = {**Connection._default_readers(), constants.GADGET_MESSAGE_CLOSE: self._end_of_input}
        self._input_ended = False
        self.writers = Connection._default_writers()
        self.filters: list[Callable[[Any], bool]] = []
        self.config_xml: bytes | None = None
        self.header_xml = b""

    @classmethod
    def adopt(cls, connection: Connection) -> "GadgetConnection":
        """The connection that ``python -m gadgetron`` hands to a target, guarded; its config and header are read already."""
        if isinstance(connection, cls):
            return connection
        adopted = cls(connection.socket.socket)
        adopted.config_xml = connection.raw_bytes.config
        adopted.header_xml = connection.raw_bytes.header
        return adopted

    def open(self) -> None:
        """Read configuration and header, unless that is done. Raises ProtocolError when other messages come first."""
        if self.config_xml is None:
            self.config_xml = self._expect(constants.GADGET_MESSAGE_CONFIG, "configuration")
            self.header_xml = self._expect(constants.GADGET_MESSAGE_HEADER, "header")

    @property
    def properties(self) -> dict[str, str]:
        """The ``<property>`` values of the chain. Raises ProtocolError when they cannot be read."""
        return properties_of(self.config_xml or b"")

    def send_error(self, text: str) -> None:
        """Tell the host in an ERROR message; a host that is gone is logged, not raised."""
        payload = text.encode()
        try:
            self.socket.write(struct.pack("<HQ", ERROR_ID, len(payload)) + payload)
        except OSError as error:
            logger.warning("the host was gone before it could be told: %s", error)

    def fail(self, error: Exception) -> None:
        """Report a failure: log with traceback, ERROR to the host, and the rest of the input read."""
        logger.error("the scan failed", exc_info=error)
        self.send_error(message_of(error))
        self.drain()

    def drain(self) -> None:
        """Read on until the host says CLOSE; where the stream cannot be followed any more, until it falls silent."""
        self.filters.clear()
        try:
            while not self._input_ended:
                next(self, None)
        except (ProtocolError, OSError, ValueError, TypeError, MemoryError) as error:
            logger.warning("the rest of the input cannot be followed: %s", error)
            self._discard()

    def _discard(self) -> None:
        self.socket.socket.settimeout(SILENCE_S)
        try:
            while self.socket.socket.recv(1 << 20):
                pass
        except OSError:  # silence, or the host is gone: either way nothing is left to read
            pass
        finally:
            self.socket.socket.settimeout(None)

    def _end_of_input(self, _: object) -> None:
        self._input_ended = True
        raise StopIteration

    def _expect(self, message_id: int, what: str) -> bytes:
        got = self._read_message_identifier()
        if got != message_id:
            raise ProtocolError(f"expected the {what} (message id {message_id}), got message id {got}")
        (length,) = struct.unpack("<I", self.socket.read(4))
        return bytes(self.socket.read(length)).rstrip(b"\0")

    def _read_item(self) -> tuple[int, Any]:
        message_id = self._read_message_identifier()
        reader = self.readers.get(message_id)
        if reader is None:
            raise ProtocolError(f"message id {message_id} is not known; is another gadget's output connected here?")
        return message_id, reader(self.socket)


def properties_of(config: bytes) -> dict[str, str]:
    """Names and values of the ``<property>`` elements of a ``<configuration>`` node; none where the node is missing.

    Raises:
        ProtocolError: The node is not XML, or a property has no name.
    """
    text = config.rstrip(b"\0").strip()
    if not text or text.endswith(b"?>"):  # Gadgetron sends the bare XML declaration for a missing node
        return {}
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ProtocolError(f"the <configuration> of the gadget is not XML: {error}") from error
    properties = {}
    for element in root.iter("property"):
        name = element.get("name")
        if not name:
            raise ProtocolError("a <property> of the gadget's <configuration> has no name")
        properties[name] = element.get("value", "")
    return properties


def gadget(body: Body) -> Callable[[Connection], None]:
    """Make a function of a :class:`GadgetConnection` a target for ``<execute>``, with errors reported as the module says."""

    @functools.wraps(body)
    def target(connection: Connection) -> None:
        guarded = GadgetConnection.adopt(connection)
        try:
            guarded.open()
            body(guarded)
        except Exception as error:
            guarded.fail(error)
            raise
        guarded.drain()

    return target


def message_of(error: Exception) -> str:
    """One line for the person at the host."""
    if isinstance(error, ReconError):
        return f"{type(error).__name__}: {error}"
    return f"internal error, see the gadget's log ({type(error).__name__}: {error})"
