"""A few pages over HTTP, for those who look after the service."""

import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from untrained_recon.errors import ConfigError

logger = logging.getLogger(__name__)

REQUEST_S = 10.0
MOST_REQUESTS = 16


class Page(NamedTuple):
    """An answer."""

    code: int
    kind: str
    text: bytes

    @classmethod
    def of_json(cls, code: int, value: object) -> "Page":
        """A page of JSON."""
        return cls(code, "application/json", json.dumps(value).encode() + b"\n")


class Pages:
    """Serves pages until it is closed; a request has ``REQUEST_S`` seconds, and so many at a time are answered.

    Args:
        host: Where to listen.
        port: Where to listen.
        pages: Path → what makes the page.

    Raises:
        ConfigError: It cannot listen there.
    """

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[], Page]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_S

            def do_GET(self) -> None:
                make = pages.get(self.path.partition("?")[0])
                page = make() if make is not None else Page(404, "text/plain", b"no such page\n")
                self.send_response(page.code)
                self.send_header("Content-Type", page.kind)
                self.send_header("Content-Length", str(len(page.text)))
                self.end_headers()
                self.wfile.write(page.text)

            def log_message(self, *args: Any) -> None:
                logger.debug(*args)

        family = _V6Server if ":" in host else _Server
        try:
            self._server = family((host, port), Handler)
        except OSError as error:
            raise ConfigError(f"cannot serve metrics on port {port} of {host}: {error}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="pages", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *args: Any) -> None:
        self._places = threading.BoundedSemaphore(MOST_REQUESTS)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self._places.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a request of %s was lost", client_address, exc_info=True)


class _V6Server(_Server):
    address_family = socket.AF_INET6
