"""Who may connect: allowed networks, as many as there is room for; never the end of the service."""

import contextlib
import errno
import ipaddress
import logging
import os
import resource
import socket
import time
from collections.abc import Sequence
from typing import Any

from untrained_recon.errors import ConfigError

logger = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
RESERVED_FILES = 24
FILES_OF_A_WORKER = 6
PAUSE_S = 0.1
REMINDER_S = 10.0
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


class Door:
    """Accepts connections.

    Args:
        hosts: Addresses to listen on, IPv4 and IPv6; one of them at least must work.
        port: Port; 0 takes a free one.
        allow: Networks that may connect; without, all may.

    Raises:
        ConfigError: It can listen nowhere.
    """

    def __init__(self, hosts: Sequence[str], port: int, allow: Sequence[Network] = ()) -> None:
        self.listeners = [listener for host in hosts if (listener := _listener(host, port)) is not None]
        if not self.listeners:
            raise ConfigError(f"cannot listen on port {port} of {', '.join(hosts)}; is it taken?")
        self.addresses: list[tuple[str, int]] = [listener.getsockname()[:2] for listener in self.listeners]
        self._allow = allow
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY)
        self._reminded = -REMINDER_S

    def accept(self, listener: Any) -> tuple[socket.socket, str] | None:
        """The next connection and the name of its peer; None where there is none, it may not connect, or there is no room."""
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in FULL:
                self._turn_away(listener, error)
            return None
        peer = f"{address[0]}:{address[1]}"
        if not self._may_enter(address[0]):
            logger.warning("%s may not connect (serve --allow)", peer)
            sock.close()
            return None
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE.items():
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return sock, peer

    def close(self) -> None:
        """Listen no more."""
        for listener in self.listeners:
            listener.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _may_enter(self, host: str) -> bool:
        if not self._allow:
            return True
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._allow)

    def _turn_away(self, listener: Any, error: OSError) -> None:
        """Close the next connection, with a file that was kept for it; its peer would wait for ever."""
        if time.monotonic() - self._reminded > REMINDER_S:
            self._reminded = time.monotonic()
            logger.error("connections are turned away: %s", error)
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        with contextlib.suppress(OSError):
            listener.accept()[0].close()
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            time.sleep(PAUSE_S)


def room(workers: int) -> int:
    """Connections that the limit of open files leaves room for, beside what the service itself needs."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError:
        used = RESERVED_FILES
    return max(1, soft - used - RESERVED_FILES - FILES_OF_A_WORKER * workers)


def _listener(host: str, port: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:  # one of IPv4 and IPv6 is enough
        logger.warning("not listening on %s:%d: %s", host, port, error)
        return None
    listener.setblocking(False)
    return listener
