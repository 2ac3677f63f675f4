"""What handlers show, and that they are left as they were."""

import logging

import pytest

from untrained_recon.logs import only


def test_unwanted_records_are_left_out_while_the_context_lasts(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(__name__)
    with only(lambda record: record.getMessage() != "noise"):
        for text in ("noise", "signal"):
            logger.warning(text)
    logger.warning("noise")
    assert caplog.messages == ["signal", "noise"]
