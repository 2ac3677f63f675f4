"""What the service counts: nothing, or Prometheus metrics on a port of their own."""

from typing import Any

from untrained_recon.errors import MissingExtraError


class Metrics:
    """Counts nothing."""

    def scan(self, report: dict[str, Any]) -> None:
        """Take the report of a scan that has ended, as in the log."""

    def close(self) -> None:
        """Stop serving."""


class PrometheusMetrics(Metrics):
    """Scans by outcome, images, and the seconds of scans and fits, served for Prometheus.

    Args:
        host: Where to serve.
        port: Where to serve.

    Raises:
        MissingExtraError: The client library is not installed.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            raise MissingExtraError("metrics need prometheus-client: pip install 'untrained-recon[service]'") from error
        registry = prometheus.CollectorRegistry()
        self._scans = prometheus.Counter("untrained_recon_scans", "Scans that have ended", ["outcome"], registry=registry)
        self._images = prometheus.Counter("untrained_recon_images", "Images that were reconstructed", registry=registry)
        self._fallbacks = prometheus.Counter("untrained_recon_fallbacks", "Conventional images among them", registry=registry)
        self._seconds = prometheus.Histogram("untrained_recon_scan_seconds", "Connection to CLOSE", registry=registry)
        self._fits = prometheus.Counter("untrained_recon_fit_seconds", "Seconds of reconstruction", registry=registry)
        self._waits = prometheus.Counter("untrained_recon_wait_seconds", "Seconds that images waited", registry=registry)
        self._server, self._thread = prometheus.start_http_server(port, addr=host, registry=registry)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def scan(self, report: dict[str, Any]) -> None:
        """Count a scan."""
        self._scans.labels("ok" if report["outcome"] == "ok" else report["outcome"].partition(":")[0]).inc()
        self._seconds.observe(report["seconds"])
        self._images.inc(report.get("images", 0))
        self._fallbacks.inc(report.get("fallbacks", 0))
        self._fits.inc(report.get("fit_seconds", 0.0))
        self._waits.inc(report.get("wait_seconds", 0.0))
