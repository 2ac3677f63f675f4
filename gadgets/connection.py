"""A Gadgetron connection that never fails silently.

A Python gadget that raises looks like success to the scanner: the connection says CLOSE and no image comes. Here every failure is
in the log at once, becomes an ERROR message when the host has sent all of its data, and goes on as the exception to the launcher,
whose exit status is not 0. An ERROR that reaches a Gadgetron while it still sends crashes the process of its connection, and the
text is lost; so the order is: the input to its CLOSE, a moment's wait, ERROR, CLOSE. Images that are ready leave before. Under
``python -m gadgetron`` this holds from the moment the target is called (that launcher reads the header itself, before), under
``python -m gadgets`` from the first byte.
"""

import contextlib
import functools
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gadgetron.external import constants
from gadgetron.external.connection import Connection

from gadgets.readers import READERS, skip_text
from gadgets.source import MESSAGE_LIMIT, GuardedSocket
from untrained_recon.errors import ProtocolError, ReconError
from untrained_recon.printable import LONGEST, printable
from untrained_recon.wire import configuration_xml
from untrained_recon.xmltext import LARGEST, parse_xml

if TYPE_CHECKING:
    from untrained_recon.jobs import Jobs
    from untrained_recon.stream import Session

logger = logging.getLogger(__name__)

FILENAME_BYTES = 1024
LARGEST_CONFIGURATION = 1 << 18
SILENCE_S = 30.0  # a host that sends nothing for so long after a failure is not waited for any more
CLOSE_BYTES = struct.pack("<H", constants.GADGET_MESSAGE_CLOSE)
SETTLE_S = 0.1  # Gadgetron closes its side of the channel after its CLOSE was read; an ERROR must not come sooner

Body = Callable[["GadgetConnection"], None]
Answer = Callable[["GadgetConnection", "Session", Iterable[Any], "Jobs"], None]


class GadgetConnection(Connection):  # type: ignore[misc]  # gadgetron has no types
    """Gadgetron's connection with guarded reads, and with errors that reach the host.

    Unlike the original it does not read anything when it is made: :meth:`open` does, so that a broken header can be reported.
    """

    def __init__(self, sock: socket.socket, limit: int = MESSAGE_LIMIT) -> None:
        self.socket = GuardedSocket(sock, limit)
        self.readers = {**READERS, constants.GADGET_MESSAGE_CLOSE: self._end_of_input}
        self.writers = Connection._default_writers()
        self.config_xml: bytes | None = None
        self.header_xml = b""
        self._accepted: frozenset[int] | None = None
        self._input_ended = threading.Event()
        self._drained = False
        self._noted: Exception | None = None
        self._sending = threading.Lock()

    def accept(self, *message_ids: int) -> None:
        """Hand out only these kinds of message; all others pass through to the host, byte for byte and in order."""
        self._accepted = frozenset(message_ids)

    def next(self) -> tuple[int, Any]:
        """The next accepted message and its id. Raises StopIteration at CLOSE, ProtocolError when the stream is broken."""
        while True:
            self.socket.begin_message()
            message_id = self._read_message_identifier()
            reader = self.readers.get(message_id)
            if reader is None:
                raise ProtocolError(f"message id {message_id} is not known; is another gadget's output connected here?")
            if message_id == constants.GADGET_MESSAGE_CLOSE or self._accepted is None or message_id in self._accepted:
                return message_id, reader(self.socket)
            self.socket.start_recording()
            reader(self.socket)
            self.pass_on(message_id, self.socket.stop_recording())

    def pass_on(self, message_id: int, payload: bytes) -> None:
        """What becomes of a message that is not accepted: the host gets it back."""
        self.send_bytes(struct.pack("<H", message_id) + payload)

    def send(self, item: Any) -> None:
        """Send an item as one message, whole even if another thread passes messages through meanwhile."""
        with self._sending:
            super().send(item)

    def send_bytes(self, message: bytes) -> None:
        """Send a message that is ready in bytes, likewise."""
        with self._sending:
            self.socket.write(message)

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
            self.config_xml = self._expect("configuration", constants.GADGET_MESSAGE_CONFIG, constants.GADGET_MESSAGE_FILENAME)
            self.header_xml = self._expect("header", constants.GADGET_MESSAGE_HEADER)

    @property
    def properties(self) -> dict[str, str]:
        """The ``<property>`` values of the chain. Raises ProtocolError when they cannot be read."""
        return properties_of(self.config_xml or b"")

    def send_error(self, text: str) -> None:
        """Tell the host in an ERROR message; a host that is gone is logged, not raised."""
        payload = text.encode()
        try:
            self.send_bytes(struct.pack("<HQ", constants.GADGET_MESSAGE_ERROR, len(payload)) + payload)
        except OSError as error:
            logger.warning("the host was gone before it could be told: %s", error)

    def note(self, error: Exception) -> None:
        """Log a failure, the first time that it is seen; from now on a silent host is not waited for."""
        if error is self._noted:
            return
        logger.error("the scan failed", exc_info=error)
        if self._noted is None:
            threading.Thread(target=self._end_silence, name="silence", daemon=True).start()
        self._noted = error

    def fail(self, error: Exception) -> None:
        """Report a failure: to the log at once, to the host in its turn."""
        self.note(error)
        self.report(message_of(error))
        self._input_ended.set()

    def report(self, text: str) -> None:
        """Tell the host: ERROR, but only when it has sent everything, see the module."""
        self.drain()
        time.sleep(SETTLE_S)
        self.send_error(text)
        if not self._input_ended.is_set():  # it had fallen silent; to the ERROR it answers with CLOSE
            time.sleep(SETTLE_S)
            self._discard()

    def drain(self) -> None:
        """Read on until the host says CLOSE; where the stream cannot be followed any more, until it falls silent."""
        if self._drained:
            return
        self._drained, self._accepted = True, None
        for message_id in (constants.GADGET_MESSAGE_CONFIG, constants.GADGET_MESSAGE_HEADER, constants.GADGET_MESSAGE_TEXT):
            self.readers[message_id] = skip_text  # a failure may come before they are read
        self.readers[constants.GADGET_MESSAGE_FILENAME] = lambda source: source.read(FILENAME_BYTES)
        try:
            while not self._input_ended.is_set():
                next(self, None)
        except (ReconError, OSError) as error:
            logger.warning("the rest of the input cannot be followed: %s", error)
            self._discard()

    def _discard(self) -> None:
        """Read until silence; a short one is enough behind what may be a CLOSE."""
        end = b""
        try:
            self.socket.socket.settimeout(SILENCE_S)
            while piece := self.socket.socket.recv(1 << 20):
                self.socket.received += len(piece)
                end = (end + piece)[-2:]
                self.socket.socket.settimeout(min(1.0, SILENCE_S) if end == CLOSE_BYTES else SILENCE_S)
        except OSError:  # silence, or the host is gone: either way nothing is left to read
            pass
        finally:
            self.socket.socket.settimeout(None)
        if end == CLOSE_BYTES:
            self._input_ended.set()

    def _end_silence(self) -> None:
        """End the input of a host that neither sends nor says CLOSE, so that whoever reads it goes on."""
        received = -1
        while received != self.socket.received:
            received = self.socket.received
            if self._input_ended.wait(SILENCE_S):
                return
        logger.warning("the host has sent nothing for %.0f s; its CLOSE is not waited for", SILENCE_S)
        with contextlib.suppress(OSError):  # it may be closed by now
            self.socket.socket.shutdown(socket.SHUT_RD)

    def _end_of_input(self, _: object) -> None:
        self._input_ended.set()
        raise StopIteration

    def _expect(self, what: str, *message_ids: int) -> bytes:
        self.socket.begin_message()
        got = self._read_message_identifier()
        if got not in message_ids:
            if got == constants.GADGET_MESSAGE_CLOSE:
                self._input_ended.set()
            raise ProtocolError(f"expected the {what} (message id {message_ids[0]}), got message id {got}")
        if got == constants.GADGET_MESSAGE_FILENAME:  # a configuration by its name
            name = self.socket.read(FILENAME_BYTES).partition(b"\0")[0].decode(errors="replace")
            return configuration_xml({"config": name})
        (length,) = struct.unpack("<I", self.socket.read(4))
        if length > (most := LARGEST if what == "header" else LARGEST_CONFIGURATION):
            raise ProtocolError(f"the {what} has {length} bytes; {most} are the most that is read")
        return self.socket.read(length).rstrip(b"\0")


def properties_of(config: bytes) -> dict[str, str]:
    """Settings of a ``<configuration>`` node, ``<property name= value=/>`` or ``<name>value</name>``; none where it is missing.

    Raises:
        ProtocolError: The node is not XML, a property has no name, or a name comes twice.
    """
    text = config.rstrip(b"\0").strip()
    if not text or text.endswith(b"?>"):  # Gadgetron sends the bare XML declaration for a missing node
        return {}
    try:
        root = parse_xml(text)
    except ValueError as error:
        raise ProtocolError(f"the <configuration> of the gadget is not XML: {printable(str(error))}") from error
    properties: dict[str, str] = {}
    for element in root:
        is_property = element.tag == "property"
        name = element.get("name", "") if is_property else element.tag
        if not name or name in properties:
            what = f"twice: {printable(name, LONGEST)}" if name else "without a name"
            raise ProtocolError(f"the gadget's <configuration> has a setting {what}")
        properties[name] = element.get("value", "") if is_property else (element.text or "").strip()
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
    text = printable(f"{type(error).__name__}: {error}")
    return text if isinstance(error, ReconError) else f"internal error, see the gadget's log ({text})"
