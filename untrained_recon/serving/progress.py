"""Progress of a fit as log records with ``fields``, which :class:`untrained_recon.logs.JsonFormatter` keeps."""

import logging
import time

from untrained_recon.recon.fit.watch import Callback, Progress

logger = logging.getLogger(__name__)

INTERVAL_S = 0.5


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
