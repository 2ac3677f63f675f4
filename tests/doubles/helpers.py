"""Checks and doubles that several tests share."""

import contextlib
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import torch

from untrained_recon.files.raw import RawFile
from untrained_recon.phantom.simulation import Simulation, header
from untrained_recon.physics.operators import LinearOperator
from untrained_recon.scan.document import write_document
from untrained_recon.types import ComplexArray
from untrained_recon.wire import ACQUISITION, CLOSE, CONFIG, ERROR, HEADER, IMAGE, WAVEFORM, configuration_xml

TIMEOUT_S = 60.0
CLOSE_BYTES = struct.pack("<H", CLOSE)
HELD_S = 0.05  # between a scan and its CLOSE, for an ERROR that comes too early
ERROR_S = 0.1  # a real Gadgetron is sometimes killed by an ERROR that comes sooner after its CLOSE


def random_complex(shape: Iterable[int], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tuple(shape), dtype=torch.complex128, generator=generator)


def assert_adjoint(operator: LinearOperator) -> None:
    """``<A x, y> = <x, A^H y>`` for random x and y."""
    x, y = random_complex(operator.ishape, 1), random_complex(operator.oshape, 2)
    left, right = torch.vdot(operator(x).flatten(), y.flatten()), torch.vdot(x.flatten(), operator.adjoint(y).flatten())
    torch.testing.assert_close(left, right)


def header_xml(settings: Simulation) -> bytes:
    return write_document(header(settings))


def acquisition(data: ComplexArray, line: int = 0, flags: Iterable[int] = (), **header: Any) -> ismrmrd.Acquisition:
    """A readout with its centre in the middle; counters by their name in ``idx``, other header fields by theirs."""
    acq = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data, np.complex64))
    acq.center_sample = data.shape[1] // 2
    acq.idx.kspace_encode_step_1 = line
    for flag in flags:
        acq.set_flag(flag)
    for name, value in header.items():
        setattr(acq.idx if hasattr(acq.idx, name) else acq, name, value)
    return acq


def read_raw(path: Path) -> tuple[bytes, list[ismrmrd.Acquisition]]:
    with RawFile(path) as raw:
        return raw.header, list(raw.acquisitions())


@dataclass
class Answer:
    """What a gadget sent back, and the exception with which its target ended."""

    images: list[ismrmrd.Image] = field(default_factory=list)
    acquisitions: list[ismrmrd.Acquisition] = field(default_factory=list)
    waveforms: list[ismrmrd.Waveform] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    closed: bool = False
    failure: BaseException | None = None


def stream(properties: dict[str, str], header: bytes, items: Iterable[Any], close: bool = True) -> bytes:
    """The bytes that Gadgetron sends to a gadget."""
    parts = [_text(CONFIG, configuration_xml(properties)), _text(HEADER, header)]
    for item in items:
        message_id = WAVEFORM if isinstance(item, ismrmrd.Waveform) else ACQUISITION
        parts.append(struct.pack("<H", message_id) + item.to_bytes())
    return b"".join(parts) + (struct.pack("<H", CLOSE) if close else b"")


def play(data: bytes, serve: Callable[[socket.socket], None], pace_s: float = 0.0, ends: bool = False) -> Answer:
    """Feed bytes to ``serve``, which talks to its end of a socket pair in a thread, and decode what comes back: :func:`host`."""
    ours, theirs = socket.socketpair()
    failures: list[Exception] = []

    def run() -> None:
        try:
            serve(theirs)
        except Exception as error:  # the test looks at it
            failures.append(error)
        finally:
            theirs.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    answer = host(ours, data, pace_s, ends)
    thread.join(TIMEOUT_S)
    assert not thread.is_alive(), "the gadget hangs"
    answer.failure = failures[0] if failures else None
    return answer


def host(sock: socket.socket, data: bytes, pace_s: float = 0.0, ends: bool = False) -> Answer:
    """Send bytes as Gadgetron does, and decode what comes back.

    The sending end stays open until the answer has ended: a gadget that waits for more hangs here. A last CLOSE is held back a
    little: as an ERROR before it, or too soon after it, would crash a Gadgetron, it fails the test.

    Args:
        sock: The host's end; closed afterwards.
        data: What is sent. Without a CLOSE at its end the host is one that has died or idles, which cannot be crashed.
        pace_s: Seconds between its tenths.
        ends: Whether the sending end is shut after the last byte, as that of a host which goes, and cannot be crashed either.
    """
    sock.settimeout(TIMEOUT_S)
    sender, answer = _Sender(sock, data, pace_s, ends), Answer()
    sender.start()
    with sock:
        _receive_all(sock, answer, sender.check)
        sender.join(TIMEOUT_S)
        assert not sender.is_alive(), "the gadget does not read on"
    return answer


class _Sender(threading.Thread):
    """Sends bytes; where they end in CLOSE, this comes a little after the rest."""

    def __init__(self, sock: socket.socket, data: bytes, pace_s: float, ends: bool) -> None:
        super().__init__(daemon=True)
        self._socket, self._data, self._pace_s, self._ends = sock, data, pace_s, ends
        stays = data.endswith(CLOSE_BYTES) and not ends
        self._closed_at = math.inf if stays else -math.inf  # a host that has died or goes cannot be crashed

    def run(self) -> None:
        with contextlib.suppress(OSError):  # a gadget that gave up early: what it said is what the test checks
            data = self._data.removesuffix(CLOSE_BYTES)
            tenth = len(data) if self._pace_s == 0 else 1 + len(data) // 10
            for start in range(0, len(data), tenth):
                self._socket.sendall(data[start : start + tenth])
                time.sleep(self._pace_s)
            if self._data.endswith(CLOSE_BYTES):
                time.sleep(HELD_S)
                self._closed_at = time.monotonic()
                self._socket.sendall(CLOSE_BYTES)
            if self._ends:
                self._socket.shutdown(socket.SHUT_WR)

    def check(self) -> None:
        """Called when an ERROR has come: it must not be sooner than a Gadgetron can bear."""
        assert time.monotonic() - self._closed_at >= ERROR_S, "an ERROR came before the host had closed its side of the channel"


def _receive_all(sock: socket.socket, answer: Answer, on_error: Callable[[], None] = lambda: None) -> None:
    read = sock.makefile("rb").read
    readers = {
        IMAGE: (ismrmrd.Image, answer.images),
        ACQUISITION: (ismrmrd.Acquisition, answer.acquisitions),
        WAVEFORM: (ismrmrd.Waveform, answer.waveforms),
    }
    while head := read(2):
        assert not answer.closed, "something came after CLOSE"
        (message_id,) = struct.unpack("<H", head)
        if message_id == CLOSE:
            answer.closed = True
        elif message_id == ERROR:
            on_error()
            answer.errors.append(read(struct.unpack("<Q", read(8))[0]).decode())
        else:
            kind, items = readers[message_id]
            items.append(kind.deserialize_from(read))


def _text(message_id: int, payload: bytes) -> bytes:
    return struct.pack("<HI", message_id, len(payload)) + payload


class Server:
    """A stand-in for a running Gadgetron: it takes clients in turn and answers with what ``answer`` makes of the whole input."""

    def __init__(self, answer: Callable[[bytes], bytes], clients: int = 1) -> None:
        self._answer, self._clients = answer, clients
        self._listener = socket.create_server(("localhost", 0))
        self.address = f"localhost:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(TIMEOUT_S)
        self._listener.close()

    def _serve(self) -> None:
        for _ in range(self._clients):
            client, _ = self._listener.accept()
            with client:
                data = bytearray()
                while not data.endswith(struct.pack("<H", CLOSE)):
                    data += client.recv(1 << 16)
                client.sendall(self._answer(bytes(data)))
