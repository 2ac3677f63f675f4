"""The resident service: many connections, one pool of fits, nothing lost silently.

``<connect address= port=/>`` in a chain brings Gadgetron here. What kind of input a connection carries shows in its first message.
A connection is a scan from the end of its header on; before, it may be anybody's, and has to make room for others.
"""

import itertools
import json
import logging
import selectors
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gadgets import acquisitions, buckets, buffers
from gadgets.connection import Answer, GadgetConnection, gadget, message_of
from gadgets.departure import Departures
from gadgets.door import Door, Network, room
from gadgets.metrics import Metrics
from gadgets.query import answer_query, is_query
from gadgets.visitors import Visitor, Visitors
from untrained_recon import __version__
from untrained_recon.errors import HostSilentError, NoImagingDataError, ReconError, ServiceBusyError
from untrained_recon.logs import SCAN
from untrained_recon.serving.history import Unread
from untrained_recon.serving.memory import Budget
from untrained_recon.serving.pool import FitPool
from untrained_recon.serving.rules import Rules
from untrained_recon.serving.session import Session
from untrained_recon.text.printable import printable
from untrained_recon.wire import ACQUISITION, BUCKET, RECON_DATA

logger = logging.getLogger(__name__)

POLL_S = 0.2
HEALTH_TIMEOUT_S = 5.0
FAREWELL_S = 2.0


class Protocol(NamedTuple):
    """How a host speaks: the connection that understands it, and who answers each kind of input."""

    connection: type[GadgetConnection]
    answers: Mapping[int, Answer]


GADGETRON = Protocol(GadgetConnection, {ACQUISITION: acquisitions.answer, BUCKET: buckets.answer, RECON_DATA: buffers.answer})


@dataclass(frozen=True)
class Policy:
    """What a service grants its hosts.

    Attributes:
        rules: Settings and files that a scan may choose.
        budget: Memory for all scans and for each.
        header_s: Seconds until a connection must have sent its header.
        idle_s: Seconds that a host may send, or take, nothing.
        allow: Networks that may connect; without, all may.
    """

    rules: Rules = field(default_factory=Rules)
    budget: Budget = field(default_factory=Budget)
    header_s: float = 60.0
    idle_s: float = 900.0
    allow: Sequence[Network] = ()


class Service:
    """Listens until it is stopped.

    Args:
        hosts: Addresses to listen on, IPv4 and IPv6; one of them at least must work.
        port: Port; 0 takes a free one.
        pool: Who fits.
        max_scans: Scans at a time; one more is refused with an ERROR.
        metrics: Who counts, see :mod:`gadgets.metrics`.
        protocol: How the hosts speak.
        policy: What they are granted.
        history: Who takes notes of the scans, see :mod:`untrained_recon.serving.history`.

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
        policy: Policy | None = None,
        history: Unread | None = None,
    ) -> None:
        self._pool = pool
        self._metrics = metrics or Metrics()
        self._history = history or Unread()
        self._protocol = protocol
        self._policy = policy or Policy()
        self._max_scans = max_scans
        self._stopping = threading.Event()
        self._door = Door(hosts, port, self._policy.allow)
        self._visitors = Visitors(room(pool.health.total))
        self._departures = Departures()
        self._served = 0
        self.addresses = self._door.addresses
        self._metrics.watch(self.status)

    def run(self, grace_s: float) -> None:
        """Accept connections until :meth:`stop`; then let running scans end, for ``grace_s`` seconds at most."""
        with selectors.DefaultSelector() as selector:
            for listener in self._door.listeners:
                selector.register(listener, selectors.EVENT_READ)
            while not self._stopping.is_set():
                for key, _ in selector.select(POLL_S):
                    self._accept(key.fileobj)
        self._door.close()
        deadline = time.monotonic() + grace_s
        self._visitors.dismiss_newcomers()
        self._visitors.wait(grace_s)
        self._pool.close(max(0.0, deadline - time.monotonic()))
        self._visitors.dismiss(FAREWELL_S)  # they tell their hosts that the service has stopped
        self._departures.close()
        self._metrics.close()

    def stop(self) -> None:
        """Accept no more. May be called from a signal handler."""
        self._stopping.set()

    def status(self) -> dict[str, object]:
        """How the service is: alive where a worker lives or is being started, ready where one is warm."""
        health = self._pool.health
        return {
            "version": __version__,
            "alive": health.alive,
            "ready": health.ready > 0 and not self._stopping.is_set(),
            "scans": self._visitors.scans,
            "served": self._served,
            "waiting": health.waiting,
            "workers": {name: getattr(health, name) for name in ("total", "live", "ready", "busy", "restarts")},
        }

    def _accept(self, listener: Any) -> None:
        try:
            entered = self._door.accept(listener)
            if entered is not None:
                self._visitors.admit(*entered, self._serve)
        except Exception:  # one connection less
            logger.exception("a connection was lost")

    def _serve(self, visitor: Visitor) -> None:
        SCAN.set(uuid.uuid4().hex[:8])
        connection = visitor.connection = self._protocol.connection(visitor.sock)
        source = connection.socket
        source.idle_s, source.deadline = self._policy.idle_s, time.monotonic() + self._policy.header_s
        try:
            if not source.peek(1):
                logger.debug("%s connected and left", visitor.peer)
            elif is_query(source):
                answer_query(source, self.status(), HEALTH_TIMEOUT_S)
            elif self._has_header(connection, visitor):
                self._serve_scan(connection, visitor)
                return
        except (ReconError, OSError) as error:
            logger.info("%s: %s", visitor.peer, message_of(error))
        visitor.sock.close()

    def _has_header(self, connection: GadgetConnection, visitor: Visitor) -> bool:
        """Read the header; a peer that sends something else is told so, and is no scan."""
        try:
            connection.open()
        except ReconError as error:
            logger.warning("%s sent no scan: %s", visitor.peer, message_of(error))
            self._metrics.turned_away()
            if isinstance(error, HostSilentError):
                connection.send_error(message_of(error))
            else:
                connection.report(message_of(error))
            connection.socket.close()
            return False
        connection.socket.deadline = None
        return True

    def _serve_scan(self, connection: GadgetConnection, visitor: Visitor) -> None:
        start = time.monotonic()
        report: dict[str, Any] = {"peer": visitor.peer, "scan": SCAN.get(), "outcome": "ok"}
        self._history.begin(SCAN.get(), visitor.peer)
        try:
            with connection, self._policy.budget.account() as account:
                connection.socket.account = account
                try:
                    gadget(lambda guarded: self._reconstruct(guarded, visitor, report))(connection)
                finally:
                    self._visitors.end_scan(visitor)  # before its host is told that it may send the next
        except Exception as error:  # the host has been told, and the log
            report["outcome"] = printable(f"{type(error).__name__}: {error}")
        self._served += 1
        report.update(seconds=round(time.monotonic() - start, 3), bytes=connection.socket.received)
        logger.info("scan %s", json.dumps(report), extra={"fields": report})
        self._metrics.scan(report)
        self._history.end(report["scan"], report["outcome"], report["seconds"])

    def _reconstruct(self, connection: GadgetConnection, visitor: Visitor, report: dict[str, Any]) -> None:
        if not self._visitors.begin_scan(visitor, self._max_scans):
            raise ServiceBusyError(f"the service has {self._max_scans} scans already; repeat this one later")
        session = Session(connection.header_xml, connection.properties, connection.socket.account, self._policy.rules)
        report.update(config=session.config.name)
        self._history.describe(session.name, session.config, connection.header_xml)
        jobs = self._history.following(self._pool)
        with self._departures.watched(visitor.sock, lambda: session.abandon(self._pool)):
            connection.accept(*self._protocol.answers)
            first = next(connection.iter_with_mids(), None)
            if first is None:
                raise NoImagingDataError("the scan ended without data")
            message_id, item = first
            connection.accept(message_id)
            try:
                self._protocol.answers[message_id](connection, session, itertools.chain([item], connection), jobs)
            finally:
                report.update(session.totals)
