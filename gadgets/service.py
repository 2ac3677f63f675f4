"""The resident service: many connections, one pool of fits, nothing lost silently.

``<connect address= port=/>`` in a chain brings Gadgetron here. What kind of input a connection carries shows in its first message.
"""

import itertools
import json
import logging
import selectors
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gadgetron.external import constants

from gadgets import acquisitions, buckets, buffers
from gadgets.connection import Answer, GadgetConnection, gadget
from gadgets.metrics import Metrics
from untrained_recon import __version__
from untrained_recon.errors import ConfigError, NoImagingDataError, ServiceBusyError
from untrained_recon.pool import FitPool
from untrained_recon.stream import Session
from untrained_recon.wire import ACQUISITION, BUCKET, RECON_DATA

logger = logging.getLogger(__name__)

POLL_S = 0.2
HEALTH_TIMEOUT_S = 5.0
FAREWELL_S = 5.0


class Protocol(NamedTuple):
    """How a host speaks: the connection that understands it, and who answers each kind of input."""

    connection: type[GadgetConnection]
    answers: Mapping[int, Answer]


GADGETRON = Protocol(GadgetConnection, {ACQUISITION: acquisitions.answer, BUCKET: buckets.answer, RECON_DATA: buffers.answer})


class Service:
    """Listens until it is stopped.

    Args:
        hosts: Addresses to listen on, IPv4 and IPv6; one of them at least must work.
        port: Port; 0 takes a free one.
        pool: Who fits.
        max_scans: Connections at a time; one more is refused with an ERROR.
        metrics: Who counts, see :mod:`gadgets.metrics`.
        protocol: How the hosts speak.

    Attributes:
        addresses: Where it listens; port 0 has become a real one.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        port: int,
        pool: FitPool,
        max_scans: int,
        metrics: Metrics | None = None,
        protocol: Protocol = GADGETRON,
    ) -> None:
        self._pool = pool
        self._metrics = metrics or Metrics()
        self._protocol = protocol
        self._max_scans = max_scans
        self._stopping = threading.Event()
        self._scans: set[threading.Thread] = set()
        self._served = 0
        self._listeners = [listener for host in hosts if (listener := _listener(host, port)) is not None]
        if not self._listeners:
            raise ConfigError(f"cannot listen on port {port} of {', '.join(hosts)}; is it taken?")
        self.addresses: list[tuple[str, int]] = [listener.getsockname()[:2] for listener in self._listeners]

    def run(self, grace_s: float) -> None:
        """Accept connections until :meth:`stop`; then let running scans end, for ``grace_s`` seconds at most."""
        with selectors.DefaultSelector() as selector:
            for listener in self._listeners:
                selector.register(listener, selectors.EVENT_READ)
            while not self._stopping.is_set():
                for key, _ in selector.select(POLL_S):
                    self._accept(key.fileobj)
        for listener in self._listeners:
            listener.close()
        deadline = time.monotonic() + grace_s
        for thread in list(self._scans):
            thread.join(max(0.0, deadline - time.monotonic()))
        self._pool.close(max(0.0, deadline - time.monotonic()))
        self._metrics.close()
        for thread in list(self._scans):  # they tell their hosts that the service has stopped
            thread.join(FAREWELL_S)

    def stop(self) -> None:
        """Accept no more. May be called from a signal handler."""
        self._stopping.set()

    def _accept(self, listener: Any) -> None:
        sock, peer = listener.accept()
        thread = threading.Thread(target=self._serve, args=(sock, f"{peer[0]}:{peer[1]}"), daemon=True)
        self._scans.add(thread)
        thread.start()

    def _serve(self, sock: socket.socket, peer: str) -> None:
        try:
            if not self._is_query(sock):
                self._serve_scan(sock, peer)
        except Exception:
            logger.exception("connection of %s ended", peer)
        finally:
            sock.close()
            self._scans.discard(threading.current_thread())

    def _serve_scan(self, sock: socket.socket, peer: str) -> None:
        start = time.monotonic()
        report: dict[str, Any] = {"peer": peer, "outcome": "ok"}
        try:
            with self._protocol.connection(sock) as connection:
                gadget(lambda guarded: self._reconstruct(guarded, report))(connection)
        except Exception as error:  # the host has been told, and the log
            report["outcome"] = f"{type(error).__name__}: {error}"
        self._served += 1
        report.update(seconds=round(time.monotonic() - start, 3), bytes=connection.socket.received)
        logger.info("scan %s", json.dumps(report), extra={"fields": report})
        self._metrics.scan(report)

    def _reconstruct(self, connection: GadgetConnection, report: dict[str, Any]) -> None:
        if len(self._scans) > self._max_scans:
            raise ServiceBusyError(f"the service has {self._max_scans} scans already; repeat this one later")
        session = Session(connection.header_xml, connection.properties)
        report.update(scan=session.name, config=session.config.name)
        connection.accept(*self._protocol.answers)
        first = next(connection.iter_with_mids(), None)
        if first is None:
            raise NoImagingDataError("the scan ended without data")
        message_id, item = first
        connection.accept(message_id)
        try:
            self._protocol.answers[message_id](connection, session, itertools.chain([item], connection), self._pool)
        finally:
            report.update(session.totals)

    def _is_query(self, sock: socket.socket) -> bool:
        """Answer a health query, the only message that may come instead of a scan."""
        sock.settimeout(HEALTH_TIMEOUT_S)
        try:
            head = sock.recv(2, socket.MSG_PEEK | socket.MSG_WAITALL)
        except TimeoutError:  # a scanner may take its time
            return False
        finally:
            sock.settimeout(None)
        if head != struct.pack("<H", constants.GADGET_MESSAGE_QUERY):
            return False
        _, _, correlation, length = struct.unpack("<HQQQ", sock.recv(26, socket.MSG_WAITALL))
        sock.recv(min(length, 1 << 16), socket.MSG_WAITALL)
        status = {"version": __version__, "scans": len(self._scans) - 1, "served": self._served, "waiting": self._pool.waiting}
        text = json.dumps(status).encode()
        sock.sendall(struct.pack("<HQQ", constants.GADGET_MESSAGE_RESPONSE, correlation, len(text)) + text)
        return True


def _listener(host: str, port: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:  # one of IPv4 and IPv6 is enough
        logger.warning("not listening on %s:%d: %s", host, port, error)
        return None
