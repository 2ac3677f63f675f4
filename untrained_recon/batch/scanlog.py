"""A log of its own for each scan."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from untrained_recon.logs import SCAN, ScanFilter, TextFormatter

OURS = logging.getLogger("untrained_recon")


class _OfScan(ScanFilter):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._scan = name

    def filter(self, record: logging.LogRecord) -> bool:
        super().filter(record)
        return bool(record.scan == self._scan)  # type: ignore[attr-defined]  # ScanFilter has set it


@contextmanager
def scan_log(path: Path, name: str, anew: bool) -> Iterator[None]:
    """What this process logs for a scan is also written to a file: a new one, or the end of the one that is there.

    Raises:
        OSError: It cannot be written.
    """
    handler = logging.FileHandler(path, "w" if anew else "a", encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(TextFormatter())
    handler.addFilter(_OfScan(name))
    token = SCAN.set(name)
    OURS.addHandler(handler)
    try:
        yield
    finally:
        OURS.removeHandler(handler)
        SCAN.reset(token)
        handler.close()
