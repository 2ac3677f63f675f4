"""Log lines for a person at the command line: a foreseen error is its name and text, without a traceback."""

import copy
import logging
import re

from untrained_recon.errors import ReconError

TRACEBACK = "Traceback (most recent call last):\n"
FORESEEN = re.compile(rf"{re.escape(ReconError.__module__)}\.(\w+: .*)")


class BriefFormatter(logging.Formatter):
    """Log lines in which a foreseen error is its name and text; others keep their traceback, which tells where the fault is."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ReconError):
            record = copy.copy(record)
            record.msg, record.args = f"{record.getMessage()}: {type(error).__name__}: {error}", None
            record.exc_info = record.exc_text = None
        return super().format(record)


def brief(message: str) -> str:
    """A message of another process likewise, whose traceback has become part of it."""
    text, mark, trace = message.partition("\n" + TRACEBACK)
    if not mark:
        return message
    last = [line for line in trace.splitlines() if line and not line.startswith(" ")][-1:]
    found = FORESEEN.fullmatch(last[0]) if last else None
    return f"{text}: {found[1]}" if found else message
