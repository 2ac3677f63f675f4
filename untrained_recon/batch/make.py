"""One scan, from its file to its images, log and record: what every worker of every engine does."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import TypeVar

from untrained_recon.batch.folder import BatchFolder
from untrained_recon.batch.notes import Notes, Noting
from untrained_recon.batch.record import Record
from untrained_recon.batch.scanlog import scan_log
from untrained_recon.batch.scans import FileState
from untrained_recon.batch.task import Made, Task, is_done, is_made, is_of
from untrained_recon.errors import HostGoneError, ReconError, ServiceStoppedError
from untrained_recon.files.convert import as_raw
from untrained_recon.files.export import export
from untrained_recon.files.images import image_file
from untrained_recon.files.raw import RawFile
from untrained_recon.recon.plane import pick_device
from untrained_recon.scan.series import possible_series
from untrained_recon.serving.jobs import Jobs, LocalJobs
from untrained_recon.serving.session import Session

logger = logging.getLogger(__name__)

STOPPED = (ServiceStoppedError, HostGoneError)
"""Errors that say nothing of the scan: the batch was ended."""

EXPORTING = threading.Lock()  # matplotlib is for one thread at a time

T = TypeVar("T")
Stopping = Callable[[], None]
"""Raises one of :data:`STOPPED` when the batch ends; called between readouts."""


def make(task: Task, jobs: Jobs | None = None, stopping: Stopping = lambda: None) -> Made | None:
    """Reconstruct a scan, unless that was done.

    Args:
        task: Which, and how.
        jobs: Who reconstructs its images; None for this process, on the settings' device.
        stopping: See :data:`Stopping`.

    Returns:
        What became of it; None where another process has it in work and the task is not to wait. After waiting, what the other
        made of the same files and settings meanwhile counts, even if it failed.

    Raises:
        ServiceStoppedError, HostGoneError: The batch was ended.
        RawFileError: The folder of the results is not there, or cannot be written. Whatever else goes wrong is in the record.
    """
    folder = BatchFolder(task.folder)
    folder.require()
    name = task.scan.name
    before, claim = folder.read(name), folder.try_claim(name)
    if claim is None:
        if not task.wait:
            return None
        claim = folder.claim(name, stopping)
    with claim:
        known = folder.read(name)
        if known is not None and not task.force and (is_done(task, known) or (known != before and is_of(task, known))):
            return Made(known, False)
        if task.force or not is_made(task, known):
            folder.forget(name)
            known = None
        with scan_log(folder.log(name), name):
            record = _made(task, jobs, stopping) if known is None else _exported(task, known)
        folder.write(record)
    return Made(record, True)


def failed(task: Task, error: Exception) -> Made:
    """What is kept of a scan over which its workers died."""
    folder = BatchFolder(task.folder)
    with folder.claim(task.scan.name):
        folder.forget(task.scan.name)
        record = Notes(task).record("failed", error)
        folder.write(record)
    return Made(record, True)


def _made(task: Task, jobs: Jobs | None, stopping: Stopping) -> Record:
    notes = Notes(task)
    try:
        notes.inputs = tuple(FileState.of(path) for path in task.inputs)
        with LocalJobs(pick_device(task.config.device), task.config.compute) if jobs is None else nullcontext(jobs) as workers:
            missing = _reconstruct(task, Noting(workers, notes), stopping)
    except STOPPED:
        logger.warning("ended before it was done")
        raise
    except Exception as error:  # whatever it is, it costs this scan alone
        logger.exception("no images are made")
        return notes.record("failed", error)
    return _exported(task, notes.record("partial" if missing else "done", missing))


def _exported(task: Task, record: Record) -> Record:
    """The record, once the images are there in the formats that are wanted as well."""
    folder = BatchFolder(task.folder)
    missing = sorted(set(task.exports).difference(record.exports))
    try:
        for form in missing:
            with EXPORTING:
                export(task.image, folder.export(task.scan.name, form), form, force=True)
    except Exception as error:
        logger.exception("no %s", form)
        return replace(record, outcome="failed", error=f"--{form}: {type(error).__name__}: {error}")
    return replace(record, exports=(*record.exports, *missing))


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
        image_file(task.image, raw.header, {"the raw data": task.scan.path}) as out,
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
