"""What is noted of a scan while it is made, until it becomes its record."""

import json
import math
import socket
import time
from collections import Counter
from concurrent.futures import Future
from datetime import datetime, timezone
from typing import Any

from untrained_recon import __version__
from untrained_recon.batch.record import Outcome, Record
from untrained_recon.batch.scans import FileState
from untrained_recon.batch.task import Task
from untrained_recon.config import Config
from untrained_recon.encoding import ImageIndex
from untrained_recon.serving.jobs import Jobs
from untrained_recon.types import KSpace, Reconstruction


class Notes:
    """What there is to be kept of a scan.

    Args:
        task: The scan.
        earlier: The record with images that stay where none come in their place.
    """

    def __init__(self, task: Task, earlier: Record | None = None) -> None:
        self.inputs: tuple[FileState, ...] = earlier.inputs if earlier is not None else ()
        self._earlier = earlier
        self._task = task
        self._images: list[dict[str, Any]] = []
        self._cautions: Counter[str] = Counter()
        self._started, self._start = datetime.now(timezone.utc), time.monotonic()

    def image(self, index: ImageIndex, recon: Reconstruction) -> None:
        """Note an image."""
        cautions = {caution.code: str(caution) for caution in recon.cautions}
        self._cautions.update(cautions.keys())
        self._images.append(
            {
                "image": str(index),
                "counters": index._asdict(),
                "fallback": bool(recon.account.fallback_reason),
                "account": {name: _number(value) for name, value in vars(recon.account).items()},
                "cautions": cautions,
            }
        )

    def record(self, outcome: Outcome, error: Exception | None) -> Record:
        """All of it."""
        config, kept = self._task.config, self._earlier if outcome == "failed" else None
        images = tuple(sorted(self._images, key=lambda image: tuple(image["counters"].values())))
        return Record(
            name=self._task.scan.name,
            outcome=outcome,
            error="" if error is None else f"{type(error).__name__}: {error}",
            inputs=self.inputs or (FileState(str(self._task.scan.path), 0, 0, ""),),
            group=self._task.group,
            settings=self._task.settings,
            config=config.name,
            changes=json.loads(config.changes()),
            version=__version__,
            images=images if kept is None else kept.images,
            fallbacks=sum(image["fallback"] for image in images) if kept is None else kept.fallbacks,
            cautions=dict(self._cautions) if kept is None else kept.cautions,
            exports=() if kept is None else kept.exports,
            started=self._started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._start, 3),
            host=socket.gethostname(),
            kept="" if kept is None else kept.kept or kept.started,
        )


class Noting:
    """Jobs, each noted when it is done."""

    def __init__(self, jobs: Jobs, notes: Notes) -> None:
        self._jobs, self._notes = jobs, notes

    def submit(self, scan: str, data: KSpace, config: Config, seconds: float) -> "Future[Reconstruction]":
        """See :class:`untrained_recon.serving.jobs.Jobs`."""
        future, index = self._jobs.submit(scan, data, config, seconds), data.index
        future.add_done_callback(lambda done: self._note(index, done))
        return future

    def cancel(self, scan: str) -> None:
        """See :class:`untrained_recon.serving.jobs.Jobs`."""
        self._jobs.cancel(scan)

    def _note(self, index: ImageIndex, done: "Future[Reconstruction]") -> None:
        if not done.cancelled() and done.exception() is None:
            self._notes.image(index, done.result())


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
