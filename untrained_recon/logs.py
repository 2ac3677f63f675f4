"""Logs of a process that must never wait for whoever reads them: through a bounded queue, each record with its scan's id."""

import contextlib
import contextvars
import json
import logging
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Literal

from untrained_recon.text.printable import printable

SCAN: contextvars.ContextVar[str] = contextvars.ContextVar("scan", default="")
"""Id of the scan that is being served; a thread that works for a scan runs in a copy of its context."""

LONGEST_QUEUE = 10_000
FAREWELL_S = 1.0

Form = Literal["json", "text"]


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, scan, and the record's ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON; a traceback is part of the message."""
        return json.dumps(
            {
                "time": _time(record),
                "level": record.levelname,
                "logger": record.name,
                "message": super().format(record),
                "scan": getattr(record, "scan", ""),
                "fields": getattr(record, "fields", {}),
            }
        )


class TextFormatter(logging.Formatter):
    """A line for people; what comes from outside can neither break it nor colour it. Tracebacks follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, or several with its traceback."""
        scan = getattr(record, "scan", "")
        scan = f" [{scan}]" if scan else ""
        lines = [f"{_time(record)} {record.levelname}{scan} {printable(record.getMessage(), LONGEST_QUEUE)}"]
        text = record.exc_text or ("".join(traceback.format_exception(*record.exc_info)) if record.exc_info else "")
        return "\n".join(lines + [f"    | {printable(line, LONGEST_QUEUE)}" for line in text.splitlines()])


FORMATTERS: dict[Form, type[logging.Formatter]] = {"json": JsonFormatter, "text": TextFormatter}


class ScanFilter(logging.Filter):
    """Gives each record the id of the scan in whose context it was made, unless it has one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        record.scan = getattr(record, "scan", "") or SCAN.get()
        return True


class QueuedHandler(logging.Handler):
    """Formats records where they are made and writes them in a thread of its own; what does not fit its queue is counted and lost.

    Args:
        descriptor: File descriptor to write to; it is duplicated.
        form: A key of :data:`FORMATTERS`.
    """

    def __init__(self, descriptor: int, form: Form) -> None:
        super().__init__()
        self.setFormatter(FORMATTERS[form]())
        self.addFilter(ScanFilter())
        self._descriptor = os.dup(descriptor)
        self._queue: queue.Queue[str | None] = queue.Queue(LONGEST_QUEUE)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record."""
        try:
            self._queue.put_nowait(self.format(record))
        except queue.Full:
            self._lost += 1
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Write what is queued, unless nobody reads it."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(FAREWELL_S)
        super().close()

    def _write(self) -> None:
        while (line := self._queue.get()) is not None:
            lost, self._lost = self._lost, 0
            if lost:
                line = f"{line}\n{self.format(_note(f'{lost} records were lost: the log was not read'))}"
            data = (line + "\n").encode(errors="backslashreplace")
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:  # nobody is there to be told
                continue


@contextlib.contextmanager
def logging_to(descriptor: int, form: Form, level: str) -> Iterator[None]:
    """All logs of the process, and its warnings, through a :class:`QueuedHandler` instead of the handlers before."""
    root = logging.getLogger()
    before, level_before = root.handlers[:], root.level
    handler = QueuedHandler(descriptor, form)
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(level_before)
        handler.close()


@contextlib.contextmanager
def only(wanted: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """While the context lasts, the handlers of the process show what is wanted alone."""
    handlers = logging.getLogger().handlers[:]
    for handler in handlers:
        handler.addFilter(wanted)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(wanted)


def _note(text: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"
