"""Notes → HTML, by templates that escape whatever comes from outside."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from untrained_recon import __version__
from untrained_recon.serving.entries import ImageEntry, ScanEntry
from untrained_recon.serving.pool import Place
from untrained_recon.text.printable import printable
from untrained_recon.web.pictures import HEIGHT, WIDTH, curve_of, data_uri

Pager = tuple[int, int, int]
"""Page from 1, number of all items, items a page."""

TITLES = {"magnitude": "image", "spread": "spread over the runs", "noise": "noise map", "undetermined": "not determined by samples"}


class Renderer:
    """Makes pages.

    Args:
        downloads: Whether to offer downloads.
    """

    def __init__(self, downloads: bool) -> None:
        self._environment = Environment(
            loader=PackageLoader("untrained_recon.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(clock=_clock, seconds=_seconds, number=_number, line=printable)
        self._environment.globals.update(
            version=__version__,
            since=_clock(time.time()),
            downloads=downloads,
            data_uri=data_uri,
            curve_of=curve_of,
            facts_of=_facts,
            middle=_middle,
            elapsed=lambda scan: time.time() - scan.started if scan.running else scan.seconds,
            fitted=lambda scan: [image for image in scan.images.values() if image.state == "fitted"],
            titles=TITLES,
            box=(WIDTH, HEIGHT),
        )

    def scans(
        self,
        running: Sequence[ScanEntry],
        past: Sequence[ScanEntry],
        pager: Pager,
        status: Mapping[str, Any],
        places: Sequence[Place],
    ) -> str:
        """The page of all scans: those that run, the workers, and those that have ended."""
        return self._make("scans.html.j2", running=running, past=past, pager=pager, status=status, places=places)

    def scan(self, scan: ScanEntry, images: Sequence[tuple[int, ImageEntry]], pager: Pager) -> str:
        """The page of a scan."""
        return self._make("scan.html.j2", scan=scan, images=images, pager=pager)

    def missing(self, reason: str) -> str:
        """The page that stands for one that is not there."""
        return self._make("missing.html.j2", reason=reason)

    def _make(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(values)


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def _seconds(value: float) -> str:
    if value >= 100:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _facts(image: ImageEntry) -> dict[str, str]:
    """What is known of how an image came about."""
    facts = {"coils": str(image.coils), "acceleration": _number(image.acceleration)}
    if image.account is not None:
        account = {name.replace("_", " "): value for name, value in asdict(image.account).items()}
        facts.update({name: _number(value) if isinstance(value, float) else str(value) for name, value in account.items()})
    facts.update({f"{kind} map": note for kind, note in image.notes.items()})
    return {name: text for name, text in facts.items() if text}


def _middle(scan: ScanEntry) -> tuple[int, ImageEntry] | None:
    """Number and notes of the image that stands for a scan in a list."""
    ready = [(number, image) for number, image in enumerate(scan.images.values()) if "magnitude" in image.pictures]
    return ready[len(ready) // 2] if ready else None
