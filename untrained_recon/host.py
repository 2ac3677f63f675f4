"""The other side of the wire: start a gadget or reach a server, play a scan to it in Gadgetron's protocol, take what comes back.

Little endian, each message a uint16 id and its payload. To the gadget: CONFIG, HEADER, acquisitions and waveforms, CLOSE. From the
gadget: images, items passed through, ERROR, CLOSE.
"""

import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeAlias

import ismrmrd

from untrained_recon.errors import ProtocolError, ReplayError, UnreachableError
from untrained_recon.wire import ACQUISITION, CLOSE, CONFIG, ERROR, HEADER, IMAGE, QUERY, RESPONSE, TEXT, WAVEFORM

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 10.0
EXIT_TIMEOUT_S = 30.0
CHUNK = 1 << 20

Item: TypeAlias = ismrmrd.Acquisition | ismrmrd.Waveform
Returned: TypeAlias = ismrmrd.Image | ismrmrd.Waveform


class GadgetProcess:
    """A gadget in a process of its own, connected over a local socket as Gadgetron connects it.

    Args:
        module: Module of the gadget.
        target: Function in it.
        on_log: Takes every line that the gadget writes to its log.

    Raises:
        ReplayError: The gadget did not connect back.
    """

    def __init__(self, module: str, target: str, on_log: Callable[[str], None]) -> None:
        with socket.create_server(("localhost", 0)) as server:
            port = server.getsockname()[1]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gadgets", str(port), module, target],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            self._log_reader = threading.Thread(target=self._read_log, args=(on_log,), daemon=True)
            self._log_reader.start()
            try:
                self._socket = self._accept(server)
            except ReplayError:
                self._end()
                raise

    def __enter__(self) -> "GadgetProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()
        self._end()

    def exchange(self, config: bytes, header: bytes, items: Iterable[Item]) -> Iterator[Returned]:
        """See :func:`exchange`; the exit status of the process counts too. Raises ReplayError when it is not 0."""
        failure = None
        try:
            yield from exchange(self._socket, config, header, items)
        except ReplayError as error:
            failure = error
        status = self._wait()
        if failure is not None:
            killed = f" (the gadget was killed by {signal.Signals(-status).name})" if status < 0 else ""
            raise ReplayError(f"{failure}{killed}") from failure
        if status != 0:
            raise ReplayError(f"the gadget ended with exit status {status} without saying why; see its log")

    def _accept(self, server: socket.socket) -> socket.socket:
        server.settimeout(0.2)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                return server.accept()[0]
            if self._process.poll() is not None:
                raise ReplayError(f"the gadget ended with exit status {self._process.returncode} before it connected back")
        raise ReplayError(f"the gadget did not connect back within {START_TIMEOUT_S:.0f} s")

    def _wait(self) -> int:
        try:
            return self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ReplayError(f"the gadget did not end within {EXIT_TIMEOUT_S:.0f} s after CLOSE") from error

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._log_reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read_log(self, on_log: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._show(line.rstrip("\n"), on_log)

    def _show(self, line: str, on_log: Callable[[str], None]) -> None:
        try:
            on_log(line)
        except Exception:  # the log must be read on, or the gadget would wait for it
            logger.exception("a line of the gadget's log could not be shown: %r", line)


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
        JSON: version, scans in progress, scans served, images that wait.

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


def exchange(sock: socket.socket, config: bytes, header: bytes, items: Iterable[Item]) -> Iterator[Returned]:
    """Play a scan to a gadget or a server and yield what comes back, while the scan is still being sent.

    Args:
        sock: Connection to the peer.
        config: ``<configuration>`` node for a gadget, whole chain for a server.
        header: ISMRMRD XML header.
        items: Acquisitions and waveforms in their order.

    Raises:
        ReplayError: The peer reported an ERROR or a TEXT (a server's way to complain), or its connection broke.
        Exception: Whatever reading ``items`` raised.
    """
    sender = _Sender(sock, config, header, items)
    sender.start()
    complaint, closed = "", False
    try:
        while not closed:
            item = _receive(sock)
            if item is None:
                closed = True
            elif isinstance(item, str):
                complaint = complaint or item
            else:
                yield item
    except (ProtocolError, OSError) as broken:
        complaint = complaint or f"the connection broke: {broken}"
    sender.join()
    if sender.failure is not None:
        raise sender.failure
    if complaint:
        raise ReplayError(complaint)


class _Sender(threading.Thread):
    """Sends a scan; ``failure`` keeps what went wrong in reading it. A gadget that is gone shows on the receiving side."""

    def __init__(self, sock: socket.socket, config: bytes, header: bytes, items: Iterable[Item]) -> None:
        super().__init__(daemon=True)
        self.failure: Exception | None = None
        self._socket, self._config, self._header, self._items = sock, config, header, items

    def run(self) -> None:
        try:
            for message_id, payload in ((CONFIG, self._config), (HEADER, self._header)):
                self._socket.sendall(struct.pack("<HI", message_id, len(payload)) + payload)
            for item in self._items:
                message_id = WAVEFORM if isinstance(item, ismrmrd.Waveform) else ACQUISITION
                self._socket.sendall(struct.pack("<H", message_id) + item.to_bytes())
            self._socket.sendall(struct.pack("<H", CLOSE))
        except ConnectionError as error:
            logger.debug("the gadget stopped listening: %s", error)
        except Exception as error:  # handed to the receiving thread; the gadget must not wait for more
            self.failure = error
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)


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
        return exactly(length).rstrip(b"\0").decode(errors="replace")
    raise ProtocolError(f"it sent message id {message_id}, which a host does not take")
