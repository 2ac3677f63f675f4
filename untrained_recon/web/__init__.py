"""A page for the technologist: what the service does and did, read-only."""

import ipaddress
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from untrained_recon.extras import WEB, require_modules
from untrained_recon.scan.person import person_of
from untrained_recon.serving.history import History
from untrained_recon.serving.pool import Place

if TYPE_CHECKING:
    from untrained_recon.web.app import Answer

logger = logging.getLogger(__name__)

MOST_SCANS = 1000


class Web:
    """The page of a service, listening at once; :meth:`start` has it answer.

    Args:
        host: Where to listen.
        port: Where to listen; 0 takes a free one.
        names: Names of this machine in browsers, beside ``host``, ``localhost`` and addresses.
        patient_data: Whether to show whose scan it is.
        downloads: Whether images and records may be downloaded.

    Attributes:
        history: Takes notes of the scans.
        address: Where it listens.

    Raises:
        MissingExtraError: The extra ``web`` is not installed.
        ConfigError: It cannot listen there.
    """

    def __init__(
        self, host: str, port: int, names: Sequence[str] = (), patient_data: bool = False, downloads: bool = False
    ) -> None:
        require_modules(WEB, "web", "the page")
        from untrained_recon.web.server import WebServer

        self._server = WebServer(host, port)
        self._names, self._downloads = (host, *names), downloads
        self.address = self._server.address
        self.history = History(MOST_SCANS, person_of if patient_data else None, downloads)
        if not ipaddress.ip_address(self.address[0]).is_loopback:
            logger.warning("the page on %s shows images to everyone who can reach it; there is no authentication", self.address[0])

    def start(
        self,
        status: Callable[[], Mapping[str, Any]],
        places: Callable[[], Sequence[Place]],
        machines: Mapping[str, Callable[[], "Answer"]],
    ) -> None:
        """Answer.

        Args:
            status: How the service is, see ``Service.status``.
            places: What the workers do.
            machines: Pages for machines, by their path.
        """
        from untrained_recon.web.app import Sight, make_app

        self._server.start(make_app(Sight(self.history, status, places, machines, self._downloads), self._names))
        host, port = self.address
        logger.info("the page is on http://%s:%d", f"[{host}]" if ":" in host else host, port)

    def close(self) -> None:
        """Stop answering."""
        self._server.close()
