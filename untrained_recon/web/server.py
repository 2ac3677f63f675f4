"""The server of the page: in a thread of its own, on a port of its own."""

import asyncio
import logging
import socket
import threading

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from starlette.types import ASGIApp

from untrained_recon.errors import ConfigError
from untrained_recon.web.guard import BoundedProtocol

logger = logging.getLogger(__name__)

LONGEST_HEADERS = 16 << 10
END_S = 5.0
MOST_THREADS = 2  # that make answers: they take their time from the threads that serve scans


class WebServer:
    """Listens at once and serves from :meth:`start` until :meth:`close`.

    Args:
        host: Where to listen.
        port: Where to listen; 0 takes a free one.

    Attributes:
        address: Where it listens.

    Raises:
        ConfigError: It cannot listen there.
    """

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise ConfigError(f"cannot serve the page on port {port} of {host}: {error}") from error
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, app: ASGIApp) -> None:
        """Serve an application."""
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=LONGEST_HEADERS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=(self._server,), name="page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(END_S)
        self._socket.close()

    def _run(self, server: uvicorn.Server) -> None:
        try:
            asyncio.run(self._serve(server))
        except Exception:  # scans go on without a page
            logger.exception("the page is not served any more")

    async def _serve(self, server: uvicorn.Server) -> None:
        current_default_thread_limiter().total_tokens = MOST_THREADS
        await server.serve([self._socket])
