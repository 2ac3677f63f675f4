"""The other side of the wire: reach a server, play a scan to it in Gadgetron's protocol, take what comes back.

Little endian, each message a uint16 id and its payload. To the gadget: CONFIG, HEADER, acquisitions and waveforms, CLOSE. From the
gadget: images, items passed through, ERROR, CLOSE.
"""

import contextlib
import logging
import math
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import ismrmrd

from untrained_recon.compression import CompressedAcquisition
from untrained_recon.errors import ProtocolError, ReplayError, UnreachableError
from untrained_recon.wire import ACQUISITION, CLOSE, CONFIG, ERROR, HEADER, IMAGE, QUERY, RESPONSE, TEXT, WAVEFORM

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 10.0
EXIT_TIMEOUT_S = 30.0
RECEIVE_TIMEOUT_S = 3600.0
CHUNK = 1 << 20
EARLY = "came while the scan was still being sent, which crashes a Gadgetron"

Item: TypeAlias = ismrmrd.Acquisition | ismrmrd.Waveform | CompressedAcquisition
Returned: TypeAlias = ismrmrd.Image | ismrmrd.Waveform


@contextlib.contextmanager
def server_connection(host: str, port: int) -> Iterator[socket.socket]:
    """A connection to a running server or service. Raises UnreachableError where nothing answers."""
    try:
        sock = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S)
    except (OSError, UnicodeError) as error:  # the latter over names that no host can have
        raise UnreachableError(f"no server answers at {host}:{port} ({error})") from error
    with sock:
        sock.settimeout(None)
        yield sock


def query(host: str, port: int) -> str:
    """Ask the resident service how it is, with Gadgetron's QUERY message.

    Returns:
        JSON: version, whether it is alive and ready, scans in progress and served, workers by state, images that wait.

    Raises:
        UnreachableError: Nothing answers.
        ReplayError: Something answers, but not that.
    """
    with server_connection(host, port) as sock:
        sock.settimeout(CONNECT_TIMEOUT_S)
        try:
            sock.sendall(struct.pack("<HQQQ", QUERY, 0, 0, 6) + b"health")
            with sock.makefile("rb") as stream:
                message_id, _, length = struct.unpack("<HQQ", stream.read(18))
                text = stream.read(min(length, 1 << 16)).decode()
        except (OSError, struct.error, UnicodeDecodeError) as error:
            raise ReplayError(f"{host}:{port} does not answer a health query ({error})") from error
    if message_id != RESPONSE:
        raise ReplayError(f"{host}:{port} answers a health query with message id {message_id}")
    return text


def exchange(
    sock: socket.socket, config: bytes, header: bytes, items: Iterable[Item], seconds: float = math.inf
) -> Iterator[Returned]:
    """Play a scan to a gadget or a server and yield what comes back, while the scan is still being sent.

    Args:
        sock: Connection to the peer.
        config: ``<configuration>`` node for a gadget, whole chain for a server.
        header: ISMRMRD XML header.
        items: Acquisitions and waveforms in their order.
        seconds: How long the peer may be silent.

    Raises:
        ReplayError: The peer reported an ERROR or a TEXT (a server's way to complain), its connection broke, or it fell silent.
        Exception: Whatever reading ``items`` raised.
    """
    sender = _Sender(sock, config, header, items)
    sender.start()
    if not math.isinf(seconds):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), int(seconds % 1 * 1e6)))
    complaint, closed = "", False
    try:
        while not closed:
            item = _receive(sock)
            if item is None:
                closed = True
            elif isinstance(item, str):
                early = isinstance(item, _Error) and not sender.closes
                complaint = complaint or (f"{item} (it {EARLY})" if early else item)
            else:
                yield item
    except BlockingIOError:
        complaint = complaint or f"nothing came for {seconds:g} s"
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # the sender may be waiting too
    except (ProtocolError, OSError) as broken:
        complaint = complaint or f"the connection broke: {broken}"
    sender.join()
    if sender.failure is not None:
        raise sender.failure
    if complaint:
        raise ReplayError(complaint)


class _Sender(threading.Thread):
    """Sends a scan; ``failure`` keeps what went wrong in reading it, ``closes`` tells that the end is being sent.

    A gadget that is gone shows on the receiving side.
    """

    def __init__(self, sock: socket.socket, config: bytes, header: bytes, items: Iterable[Item]) -> None:
        super().__init__(daemon=True)
        self.failure: Exception | None = None
        self.closes = False
        self._socket, self._config, self._header, self._items = sock, config, header, items

    def run(self) -> None:
        try:
            for message_id, payload in ((CONFIG, self._config), (HEADER, self._header)):
                self._socket.sendall(struct.pack("<HI", message_id, len(payload)) + payload)
            for item in self._items:
                message_id = WAVEFORM if isinstance(item, ismrmrd.Waveform) else ACQUISITION
                self._socket.sendall(struct.pack("<H", message_id) + item.to_bytes())
            self.closes = True
            self._socket.sendall(struct.pack("<H", CLOSE))
        except ConnectionError as error:
            logger.debug("the gadget stopped listening: %s", error)
        except Exception as error:  # handed to the receiving thread; the gadget must not wait for more
            self.failure = error
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)


class _Error(str):
    """The words of an ERROR; those of a TEXT are a plain string."""


def _receive(sock: socket.socket) -> Returned | str | None:
    """The next image or waveform, the words of an ERROR or TEXT, or None at CLOSE. Nothing beyond is read."""

    def exactly(n: int) -> bytes:
        data = bytearray()
        while len(data) < n:
            piece = sock.recv(min(n - len(data), CHUNK))
            if not piece:
                raise ProtocolError("it ended without CLOSE")
            data += piece
        return bytes(data)

    (message_id,) = struct.unpack("<H", exactly(2))
    if message_id == CLOSE:
        return None
    if message_id == IMAGE:
        return ismrmrd.Image.deserialize_from(exactly)
    if message_id == WAVEFORM:
        return ismrmrd.Waveform.deserialize_from(exactly)
    if message_id in (ERROR, TEXT):
        form = "<Q" if message_id == ERROR else "<I"
        (length,) = struct.unpack(form, exactly(struct.calcsize(form)))
        text = exactly(length).rstrip(b"\0").decode(errors="replace")
        return _Error(text) if message_id == ERROR else text
    raise ProtocolError(f"it sent message id {message_id}, which a host does not take")
