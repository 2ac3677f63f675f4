"""What happened to the last scans, within bounds, for a page that shows it."""

import functools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import ParamSpec

from untrained_recon.config import Config
from untrained_recon.encoding import ImageIndex
from untrained_recon.serving.entries import ImageEntry, ScanEntry, done, ended, failed, glimpsed, submitted
from untrained_recon.serving.glimpse import Glimpse, picture_of
from untrained_recon.serving.jobs import Jobs
from untrained_recon.text.printable import printable
from untrained_recon.types import KSpace, Reconstruction

logger = logging.getLogger(__name__)

P = ParamSpec("P")

DETAIL_BYTES = 64 << 20
PIXEL_BYTES = 512 << 20


def harmless(note: Callable[P, None]) -> Callable[P, None]:
    """A fault in the notes is logged, and costs no scan."""

    @functools.wraps(note)
    def noted(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            note(*args, **kwargs)
        except Exception:
            logger.exception("no notes were taken")

    return noted


class Unread:
    """Nobody reads: no notes are taken."""

    def begin(self, name: str, peer: str) -> None:
        """A scan has begun."""

    def describe(self, name: str, config: Config, header_xml: bytes) -> None:
        """What a scan asks for."""

    def end(self, name: str, outcome: str, seconds: float) -> None:
        """A scan has ended."""

    def following(self, jobs: Jobs) -> Jobs:
        """The jobs, with notes taken of the images that pass."""
        return jobs


class History(Unread):
    """Takes notes of scans; all methods may be called from any thread, and no reader keeps a scan waiting.

    Args:
        most: Ended scans that are kept.
        person: Finds in a header whose scan it is; None where that must not be kept.
        pixels: Whether images are kept at full size too, as long as they fit into ``PIXEL_BYTES``.

    Attributes:
        version: Grows with every change.
    """

    def __init__(self, most: int, person: Callable[[bytes], Mapping[str, str]] | None = None, pixels: bool = False) -> None:
        self._most, self._person, self._keeps_pixels = most, person, pixels
        self._scans: OrderedDict[str, ScanEntry] = OrderedDict()  # in the order of their begin
        self._changing = threading.Lock()
        self._detail_bytes = self._pixel_bytes = 0
        self.version = 0

    def scans(self) -> list[ScanEntry]:
        """All that are known, the newest first."""
        with self._changing:
            return list(self._scans.values())[::-1]

    def scan(self, name: str) -> ScanEntry | None:
        """The scan of this id, while it is known."""
        return self._scans.get(name)

    @harmless
    def begin(self, name: str, peer: str) -> None:
        """A scan has begun."""
        with self._changing:
            self._put(ScanEntry(name, peer, time.time()))

    @harmless
    def describe(self, name: str, config: Config, header_xml: bytes) -> None:
        """What a scan asks for."""
        person = {} if self._person is None else self._person(header_xml)
        self._change(name, lambda scan: replace(scan, config=config, person=person))

    @harmless
    def end(self, name: str, outcome: str, seconds: float) -> None:
        """A scan has ended; the oldest one may have to go."""
        self._change(name, lambda scan: ended(scan, outcome, seconds))
        with self._changing:
            past = [other for other in self._scans.values() if not other.running]
            for old in past[: max(0, len(past) - self._most)]:
                self._count(self._scans.pop(old.name), -1)

    def following(self, jobs: Jobs) -> Jobs:
        """The same jobs, with notes taken of the images that pass."""
        return _Followed(self, jobs)

    @harmless
    def submit(self, scan: str, data: KSpace, seconds: float) -> None:
        """An image waits for a worker."""
        entry = ImageEntry(data.index, data.ksp.shape[0], data.acceleration, seconds)
        self._change(scan, lambda scan: submitted(scan, entry))

    @harmless
    def glimpse(self, scan: str, index: ImageIndex, glimpse: Glimpse) -> None:
        """An image is being fitted."""
        self._change(scan, lambda scan: glimpsed(scan, index, glimpse))

    @harmless
    def finish(self, scan: str, index: ImageIndex, future: "Future[Reconstruction]") -> None:
        """An image is ready, or never will be."""
        try:
            recon = future.result()
        except Exception as error:
            text = printable(f"{type(error).__name__}: {error}")
            self._change(scan, lambda scan: failed(scan, index, text))
            return
        made = {kind: found.pixels for kind, found in recon.evidence.items() if found.pixels is not None}
        pixels = {"magnitude": recon.magnitude, **made}
        pictures = {kind: picture_of(img) for kind, img in pixels.items()}
        kept = pixels if self._keeps_pixels else {}
        self._change(scan, lambda scan: done(scan, index, recon, pictures, kept))

    def _change(self, name: str, change: Callable[[ScanEntry], ScanEntry]) -> None:
        with self._changing:
            if name in self._scans:
                self._put(change(self._scans[name]))
                self._forget()

    def _put(self, scan: ScanEntry) -> None:
        if scan.name in self._scans:
            self._count(self._scans[scan.name], -1)
        self._count(scan, 1)
        self._scans[scan.name] = scan
        self.version += 1

    def _count(self, scan: ScanEntry, sign: int) -> None:
        self._detail_bytes += sign * scan.detail_bytes
        self._pixel_bytes += sign * scan.pixel_bytes

    def _forget(self) -> None:
        """Take pixels and details from the oldest scans while they are too many."""
        for scan in list(self._scans.values()) if self._pixel_bytes > PIXEL_BYTES else ():
            if self._pixel_bytes > PIXEL_BYTES and scan.pixel_bytes:
                self._put(scan.without_pixels())
        for scan in list(self._scans.values()) if self._detail_bytes > DETAIL_BYTES else ():
            if self._detail_bytes > DETAIL_BYTES and scan.detail_bytes:
                self._put(scan.without_details())


class _Followed:
    """Jobs of which notes are taken."""

    def __init__(self, history: History, jobs: Jobs) -> None:
        self._history, self._jobs = history, jobs

    def submit(self, scan: str, data: KSpace, config: Config, seconds: float) -> "Future[Reconstruction]":
        """See :class:`untrained_recon.serving.jobs.Jobs`."""
        self._history.submit(scan, data, seconds)
        index = data.index  # the samples must not be kept
        future = self._jobs.submit(scan, data, config, seconds)
        future.add_done_callback(lambda done: self._history.finish(scan, index, done))
        return future

    def cancel(self, scan: str) -> None:
        """See :class:`untrained_recon.serving.jobs.Jobs`."""
        self._jobs.cancel(scan)
