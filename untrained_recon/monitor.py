"""Following a replay: a progress bar on a terminal, plain log lines elsewhere."""

import json
import logging
import time
from types import TracebackType
from typing import Any

import ismrmrd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from untrained_recon.brief import brief

logger = logging.getLogger("gadget")

LINE_INTERVAL_S = 10.0


class Monitor:
    """Turns the gadget's log into log lines of this process, and its progress into what a person wants to see.

    Args:
        console: Where to show it (stderr).
    """

    def __init__(self, console: Console) -> None:
        self._bar = _bar(console) if console.is_terminal else None
        self._images = self._fit = None
        self._last_line = time.monotonic()
        if self._bar is not None:
            self._images = self._bar.add_task("images", total=None, note="")
            self._fit = self._bar.add_task("fit", total=None, note="starting")

    def __enter__(self) -> "Monitor":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def log(self, line: str) -> None:
        """Take a line of the gadget's log: JSON of :class:`untrained_recon.progress.JsonFormatter`, or any text."""
        record = _parse(line)
        if record is None:
            logger.warning("%s", line)
        elif "iteration" in record["fields"]:
            self._progress(record["message"], record["fields"])
        else:
            logger.log(logging.getLevelName(record["level"]), "%s", brief(record["message"]))

    def image_done(self, image: ismrmrd.Image, done: int, known: int) -> None:
        """Count an image."""
        if self._bar is not None and self._images is not None:
            self._bar.update(self._images, completed=done, total=known)
        else:
            logger.info("image %d of %d known so far: slice %d", done, known, image.slice)

    def _progress(self, message: str, fields: dict[str, Any]) -> None:
        if self._bar is not None and self._fit is not None:
            note = f"{fields['image']}, loss {fields['loss']:.4g}, {fields['seconds_left']:.0f} s left"
            self._bar.update(self._fit, completed=fields["iteration"], total=fields["iterations"], note=note)
        elif time.monotonic() - self._last_line > LINE_INTERVAL_S:
            self._last_line = time.monotonic()
            logger.info("%s", message)


def _bar(console: Console) -> Progress:
    note = TextColumn("{task.fields[note]}")
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), note, console=console, transient=True)


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and {"level", "message", "fields"} <= record.keys() else None
