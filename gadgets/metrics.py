"""What the service counts: nothing, or Prometheus metrics on a port of their own, beside how it is."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gadgets.pages import Page, Pages
from untrained_recon import __version__
from untrained_recon.errors import MissingExtraError

Status = Callable[[], dict[str, object]]
SECONDS = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600)


class Metrics:
    """Counts nothing."""

    def watch(self, status: Status) -> None:
        """Take who tells how the service is."""

    def scan(self, report: dict[str, Any]) -> None:
        """Take the report of a scan that has ended, as in the log."""

    def turned_away(self) -> None:
        """Take notice of a connection that was no scan."""

    def close(self) -> None:
        """Stop serving."""


class PrometheusMetrics(Metrics):
    """Scans by outcome, images, seconds of scans and fits, what is going on; and ``/healthz`` and ``/readyz``.

    Args:
        host: Where to serve.
        port: Where to serve; None where others serve the pages.

    Attributes:
        pages: What makes each page, by its path.

    Raises:
        MissingExtraError: The client library is not installed.
    """

    def __init__(self, host: str, port: int | None) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            raise MissingExtraError("metrics need prometheus-client: pip install 'untrained-recon[service]'") from error
        registry = prometheus.CollectorRegistry()
        counter, self._gauge = prometheus.Counter, prometheus.Gauge
        self._registry = registry
        self._status: Status | None = None
        prometheus.Info("untrained_recon_build", "What runs", registry=registry).info({"version": __version__})
        self._scans = counter("untrained_recon_scans", "Scans that have ended", ["outcome"], registry=registry)
        self._images = counter("untrained_recon_images", "Images that were reconstructed", registry=registry)
        self._fallbacks = counter("untrained_recon_fallbacks", "Conventional images among them", registry=registry)
        self._turned_away = counter("untrained_recon_connections_turned_away", "Connections without a scan", registry=registry)
        self._fits = counter("untrained_recon_fit_seconds", "Seconds of reconstruction", registry=registry)
        self._waits = counter("untrained_recon_wait_seconds", "Seconds that images waited", registry=registry)
        self._seconds = prometheus.Histogram(
            "untrained_recon_scan_seconds", "Connection to CLOSE", buckets=SECONDS, registry=registry
        )
        self.pages: Mapping[str, Callable[[], Page]] = {
            "/metrics": lambda: Page(200, prometheus.CONTENT_TYPE_LATEST, prometheus.generate_latest(registry)),
            "/healthz": lambda: self._page("alive"),
            "/readyz": lambda: self._page("ready"),
        }
        self._server = None if port is None else Pages(host, port, self.pages)

    def watch(self, status: Status) -> None:
        """Take who tells how the service is, for gauges and pages."""
        self._status = status
        gauges = {
            "scans_in_progress": ("Scans in progress", lambda s: s["scans"]),
            "images_waiting": ("Images that wait for a worker", lambda s: s["waiting"]),
        }
        for name, (text, value) in gauges.items():
            self._gauge(f"untrained_recon_{name}", text, registry=self._registry).set_function(_told(status, value))
        workers = self._gauge("untrained_recon_workers", "Workers by state", ["state"], registry=self._registry)
        states: dict[str, Callable[[dict[str, Any]], int]] = {
            "busy": lambda s: s["workers"]["busy"],
            "idle": lambda s: s["workers"]["ready"] - s["workers"]["busy"],
            "starting": lambda s: s["workers"]["live"] - s["workers"]["ready"],
            "missing": lambda s: s["workers"]["total"] - s["workers"]["live"],
        }
        for state, count in states.items():
            workers.labels(state).set_function(_told(status, count))
        restarts = _told(status, lambda s: s["workers"]["restarts"])
        self._registry.register(_ToldCounter("untrained_recon_worker_restarts", "Workers that were replaced", restarts))

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.close()

    def scan(self, report: dict[str, Any]) -> None:
        """Count a scan."""
        self._scans.labels("ok" if report["outcome"] == "ok" else report["outcome"].partition(":")[0]).inc()
        self._seconds.observe(report["seconds"])
        self._images.inc(report.get("images", 0))
        self._fallbacks.inc(report.get("fallbacks", 0))
        self._fits.inc(report.get("fit_seconds", 0.0))
        self._waits.inc(report.get("wait_seconds", 0.0))

    def turned_away(self) -> None:
        """Count a connection that was no scan."""
        self._turned_away.inc()

    def _page(self, what: str) -> Page:
        status = self._status() if self._status is not None else {}
        return Page.of_json(200 if status.get(what) else 503, status)


class _ToldCounter:
    """A counter that somebody else counts."""

    def __init__(self, name: str, text: str, value: Callable[[], float]) -> None:
        self._name, self._text, self._value = name, text, value

    def collect(self) -> Iterator[Any]:
        """What Prometheus asks for."""
        from prometheus_client.metrics_core import CounterMetricFamily

        yield CounterMetricFamily(self._name, self._text, value=self._value())


def _told(status: Status, value: Callable[[dict[str, Any]], int]) -> Callable[[], float]:
    return lambda: float(value(status()))
