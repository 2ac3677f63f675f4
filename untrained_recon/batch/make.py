"""One scan, from its file to its images, log and record: what every worker of every engine does."""

import dataclasses
import json
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from untrained_recon import __version__
from untrained_recon.batch.folder import BatchFolder
from untrained_recon.batch.record import Outcome, Record
from untrained_recon.batch.scanlog import scan_log
from untrained_recon.batch.scans import FileState, Scan, inputs_of
from untrained_recon.config import Config
from untrained_recon.encoding import ImageIndex
from untrained_recon.errors import HostGoneError, ReconError, ServiceStoppedError
from untrained_recon.files.convert import as_raw
from untrained_recon.files.images import image_file
from untrained_recon.files.raw import RawFile
from untrained_recon.recon.plane import pick_device
from untrained_recon.scan.series import possible_series
from untrained_recon.serving.jobs import Jobs, LocalJobs
from untrained_recon.serving.session import Session
from untrained_recon.types import KSpace, Reconstruction

logger = logging.getLogger(__name__)

STOPPED = (ServiceStoppedError, HostGoneError)
"""Errors that say nothing of the scan: the batch was ended."""

T = TypeVar("T")
Stopping = Callable[[], None]
"""Raises one of :data:`STOPPED` when the batch ends; called between readouts."""


@dataclass(frozen=True)
class Task:
    """What is to be done with a scan.

    Attributes:
        scan: The scan.
        folder: Of the results.
        config: Settings.
        group: Group of a raw file; empty for the usual one.
        force: Make it even if it is done.
        wait: Wait where another process has it in work.
    """

    scan: Scan
    folder: Path
    config: Config
    group: str = ""
    force: bool = False
    wait: bool = False

    @property
    def settings(self) -> str:
        """Hash of what decides the results; on which device does not."""
        return self.config.digest({"name", "device"})

    @property
    def inputs(self) -> list[Path]:
        """The files that the results depend on."""
        weights = [Path(self.config.unet.weights)] if self.config.recon.method == "unet" else []
        return [*inputs_of(self.scan.path), *weights]


@dataclass(frozen=True)
class Made:
    """How a scan was dealt with.

    Attributes:
        record: What became of it.
        fresh: Whether it was made by this task, not before.
    """

    record: Record
    fresh: bool


def is_done(task: Task, record: Record | None) -> bool:
    """Whether a record is of the task's files and settings, all images were made, and they are there."""
    return record is not None and record.outcome == "done" and _is_of(task, record) and _image(task).exists()


def make(task: Task, jobs: Jobs | None = None, stopping: Stopping = lambda: None) -> Made | None:
    """Reconstruct a scan, unless that was done.

    Args:
        task: Which, and how.
        jobs: Who reconstructs its images; None for this process, on the settings' device.
        stopping: See :data:`Stopping`.

    Returns:
        What became of it; None where another process has it in work and the task is not to wait. After waiting, what the other
        made of the same files and settings counts, even if it failed.

    Raises:
        ServiceStoppedError, HostGoneError: The batch was ended.
        RawFileError: The folder of the results is not there, or cannot be written. Whatever else goes wrong is in the record.
    """
    folder = BatchFolder(task.folder)
    folder.require()
    name = task.scan.name
    claim = folder.try_claim(name)
    if waited := claim is None:
        if not task.wait:
            return None
        claim = folder.claim(name, stopping)
    with claim:
        known = folder.read(name)
        if not task.force and known is not None and (is_done(task, known) or (waited and _is_of(task, known))):
            return Made(known, False)
        with scan_log(folder.log(name), name):
            record = _made(task, jobs, stopping)
        folder.write(record)
    return Made(record, True)


def failed(task: Task, error: Exception) -> Made:
    """What is kept of a scan over which its workers died."""
    folder = BatchFolder(task.folder)
    with folder.claim(task.scan.name):
        record = _Notes(task).record("failed", error)
        folder.write(record)
    return Made(record, True)


def _is_of(task: Task, record: Record) -> bool:
    """Whether a record is of the files and settings of a task."""
    inputs = task.inputs
    same = (record.settings, record.group, len(record.inputs)) == (task.settings, task.group, len(inputs))
    return same and all(state.still(path) for state, path in zip(record.inputs, inputs, strict=True))


def _image(task: Task) -> Path:
    return BatchFolder(task.folder).image(task.scan.name)


def _made(task: Task, jobs: Jobs | None, stopping: Stopping) -> Record:
    notes = _Notes(task)
    try:
        notes.inputs = tuple(FileState.of(path) for path in task.inputs)
        with LocalJobs(pick_device(task.config.device)) if jobs is None else nullcontext(jobs) as workers:
            missing = _reconstruct(task, _Noting(workers, notes), stopping)
    except STOPPED:
        logger.warning("ended before it was done")
        raise
    except Exception as error:  # whatever it is, it costs this scan alone
        logger.exception("no images are made")
        _image(task).unlink(missing_ok=True)  # of other settings, or of what the file was before
        return notes.record("failed", error)
    return notes.record("partial" if missing else "done", missing)


def _reconstruct(task: Task, jobs: Jobs, stopping: Stopping) -> ReconError | None:
    """Write the image file of a scan.

    Returns:
        Why some of its images are missing, if they are.

    Raises:
        ReconError: There is none.
    """
    missing = None
    with (
        as_raw(task.scan.path) as path,
        RawFile(path, task.group) as raw,
        image_file(_image(task), raw.header, {"the raw data": task.scan.path}) as out,
    ):
        session = Session(raw.header, task.config.assignments())
        scan = session.assemble([acq] for acq in _until(stopping, raw.acquisitions()))
        count = 0
        try:
            with closing(session.images(scan, possible_series(session.config), jobs)) as images:
                for image in images:
                    out.append_image(image.image_series_index - 1, image)
                    count += 1
        except ReconError as error:
            if not count or isinstance(error, STOPPED):
                raise
            missing = error
        for waveform in raw.waveforms():
            out.append_waveform(waveform)
    return missing


def _until(stopping: Stopping, items: Iterable[T]) -> Iterator[T]:
    for item in items:
        stopping()
        yield item


class _Notes:
    """What there is to be kept of a scan."""

    def __init__(self, task: Task) -> None:
        self.inputs: tuple[FileState, ...] = ()
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
                "account": dataclasses.asdict(recon.account),
                "cautions": cautions,
            }
        )

    def record(self, outcome: Outcome, error: Exception | None) -> Record:
        """All of it."""
        config = self._task.config
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
            images=tuple(sorted(self._images, key=lambda image: tuple(image["counters"].values()))),
            fallbacks=sum(image["fallback"] for image in self._images),
            cautions=dict(self._cautions),
            exports=(),
            started=self._started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._start, 3),
            host=socket.gethostname(),
        )


class _Noting:
    """Jobs, each noted when it is done."""

    def __init__(self, jobs: Jobs, notes: _Notes) -> None:
        self._jobs, self._notes = jobs, notes

    def submit(self, scan: str, data: KSpace, config: Config, seconds: float) -> "Future[Reconstruction]":
        future, index = self._jobs.submit(scan, data, config, seconds), data.index
        future.add_done_callback(lambda done: self._note(index, done))
        return future

    def cancel(self, scan: str) -> None:
        self._jobs.cancel(scan)

    def _note(self, index: ImageIndex, done: "Future[Reconstruction]") -> None:
        if not done.cancelled() and done.exception() is None:
            self._notes.image(index, done.result())
