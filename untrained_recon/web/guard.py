"""What keeps a browser, or what poses as one, from doing harm: bounds on connections, the name it asks for, headers."""

import ipaddress
from collections.abc import Collection
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 256
LIFE_S = 60.0  # of a connection; browsers open the next one by themselves
FAREWELL_S = 10.0
FOR_MACHINES = ("/healthz", "/readyz", "/metrics")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 with so many connections at most, each for so long at most, whatever its peer sends or does not take."""

    def connection_made(self, transport: Any) -> None:
        """Take the connection, or end it where there are too many."""
        super().connection_made(transport)
        self._end = self.loop.call_later(LIFE_S, self._retire)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._end.cancel()
        super().connection_lost(exc)

    def _retire(self) -> None:
        """Close the connection after the answer at hand, or else soon."""
        self.shutdown()
        self._end = self.loop.call_later(FAREWELL_S, self.transport.abort)


class Guard:
    """Answers who asks for an address, for ``localhost`` or for a name that is known, and puts :data:`HEADERS` on all answers.

    A page elsewhere can have its own name lead here (DNS rebinding) and would read what is shown; its name gives it away. Paths
    that machines ask for are answered under any name: they tell nothing of a scan.

    Args:
        app: What is guarded.
        names: Names of this machine.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app: ASGIApp = self._app
        if scope["path"] not in FOR_MACHINES and not self._is_ours(Headers(scope=scope).get("host", "")):
            app = PlainTextResponse("this name is not known here; allow it by `serve --web-name`\n", 421)
        await app(scope, receive, send_with_headers)

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if name.lower().rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True
