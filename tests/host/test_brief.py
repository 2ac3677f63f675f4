"""A foreseen error is a line; any other keeps its traceback."""

import logging
import sys

import pytest

from untrained_recon.errors import HeaderError, ReplayError
from untrained_recon.host.brief import BriefFormatter, brief


def raised(error: Exception, cause: Exception | None = None) -> logging.LogRecord:
    try:
        if cause is None:
            raise error
        try:
            raise cause
        except type(cause) as inner:
            raise error from inner
    except type(error):
        return logging.LogRecord("x", logging.ERROR, __file__, 1, "scan %s failed", ("7",), sys.exc_info())


@pytest.mark.parametrize("cause", [None, KeyError("x"), HeaderError("deeper")])
def test_foreseen_errors_are_one_line(cause: Exception | None) -> None:
    record = raised(ReplayError("no image"), cause)
    assert BriefFormatter().format(record) == "scan 7 failed: ReplayError: no image"
    assert brief(logging.Formatter().format(record)) == "scan 7 failed: ReplayError: no image"
    assert "Traceback" in logging.Formatter().format(record)  # the record itself is as it was


@pytest.mark.parametrize("error", [ValueError("HeaderError: no"), KeyError("untrained_recon.errors.HeaderError: no")])
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    record = raised(error, HeaderError("deeper"))
    text = logging.Formatter().format(record)
    assert text.count("Traceback") == 2
    assert BriefFormatter().format(record) == text
    assert brief(text) == text


@pytest.mark.parametrize("text", ["nothing wrong", "", "two\nlines", "scan\nTraceback (most recent call last):\n"])
def test_other_lines_stay_as_they_are(text: str) -> None:
    assert brief(text) == text
