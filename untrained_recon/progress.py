"""Progress and log lines that a machine can read: log records may carry ``fields``, which :class:`JsonFormatter` keeps."""

import json
import logging
import time

from untrained_recon.fit import Callback, Progress

logger = logging.getLogger(__name__)

INTERVAL_S = 0.5


class JsonFormatter(logging.Formatter):
    """One JSON object a line: level, logger, message, and the record's ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON; a traceback is part of the message."""
        return json.dumps(
            {
                "level": record.levelname,
                "logger": record.name,
                "message": super().format(record),
                "fields": getattr(record, "fields", {}),
            }
        )


def fit_logger(image: str) -> Callback:
    """A callback that logs stage, iteration, loss and time left in the stage, at most twice a second and at its end.

    Args:
        image: Which image is being fitted, for people.
    """
    start = last = time.monotonic()

    def log(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < INTERVAL_S and progress.iteration < progress.iterations:
            return
        last = now
        left = (now - start) / progress.iteration * (progress.iterations - progress.iteration)
        fields = {
            "image": image,
            "stage": progress.stage,
            "iteration": progress.iteration,
            "iterations": progress.iterations,
            "loss": progress.loss,
            "seconds_left": left,
        }
        logger.debug(
            "%s: %s, iteration %d of %d, loss %.4g, %.0f s left",
            image,
            progress.stage,
            progress.iteration,
            progress.iterations,
            progress.loss,
            left,
            extra={"fields": fields},
        )

    return log
