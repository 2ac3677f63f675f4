"""One scan, from its file to its images, log and record: what every worker of every engine does."""

import logging
import threading
from contextlib import closing
from dataclasses import replace

from untrained_recon.batch.folder import BatchFolder
from untrained_recon.batch.notes import Notes, Noting
from untrained_recon.batch.record import Record
from untrained_recon.batch.scanlog import scan_log
from untrained_recon.batch.scans import FileState
from untrained_recon.batch.task import Made, Task, is_made, is_settled
from untrained_recon.errors import ReconError
from untrained_recon.files.convert import as_raw
from untrained_recon.files.export import export
from untrained_recon.files.images import image_file
from untrained_recon.files.raw import RawFile
from untrained_recon.recon.plane import pick_device
from untrained_recon.scan.series import possible_series
from untrained_recon.serving.jobs import Jobs, LocalJobs
from untrained_recon.serving.session import Session

logger = logging.getLogger(__name__)

EXPORTING = threading.Lock()  # matplotlib is for one thread at a time


def make(task: Task, device: str = "") -> Made | None:
    """Reconstruct a scan, unless that was done.

    Images of the same file stay until the new ones are complete. Where these fail, or some are missing of them while nothing was
    missing before, the earlier ones stay for good, and the record says so. Those of another file of this name go at once.

    Args:
        task: Which, and how.
        device: Where to compute; empty for the settings' device.

    Returns:
        What became of it; None where another process has it in work. What another one has made of the same files and settings
        since the batch began counts, even if it failed.

    Raises:
        RawFileError: The folder of the results is not there, or cannot be written. Whatever else goes wrong is in the record.
    """
    folder = BatchFolder(task.folder)
    folder.require()
    name = task.scan.name
    if (claim := folder.claims.attempt(name)) is None:
        return None
    with claim:
        known = folder.settled(name)
        if known is not None and is_settled(task, known):
            return Made(known, False)
        folder.remove_parts(name)
        anew = task.force or not is_made(task, known)
        with scan_log(folder.log(name), name, anew):
            record = _made(task, known, device) if anew or known is None else _exported(task, known)
        folder.write(record)
    return Made(record, True)


def failed(task: Task, error: Exception) -> Made:
    """What is kept of a scan over which its workers died."""
    folder = BatchFolder(task.folder)
    with folder.claims.take(task.scan.name):
        known = folder.settled(task.scan.name)
        if known is not None and known != task.before and is_made(task, known):
            return Made(known, False)  # another process had more luck
        folder.remove_parts(task.scan.name)
        record = Notes(task, _earlier(task, known)).record("failed", error)
        folder.write(record)
    return Made(record, True)


def _earlier(task: Task, known: Record | None) -> Record | None:
    """The record, where there are images of this scan; those of another one, or that no record tells of, are taken away."""
    path = task.scan.path
    if known is None or (path.exists() and not known.inputs[0].still(path)):
        BatchFolder(task.folder).forget_record(task.scan.name)
        task.image.unlink(missing_ok=True)
        BatchFolder(task.folder).forget_exports(task.scan.name)
    return known if task.image.exists() else None


def _made(task: Task, known: Record | None, device: str) -> Record:
    earlier = _earlier(task, known)
    notes = Notes(task, earlier)
    whole = earlier is not None and earlier.outcome != "partial"
    try:
        notes.inputs = tuple(FileState.of(path) for path in task.inputs)
        with LocalJobs(pick_device(device or task.config.device), task.config.compute) as jobs:
            missing = _reconstruct(task, Noting(jobs, notes), whole)
    except Exception as error:  # whatever it is, it costs this scan alone
        logger.exception("no images are made")
        return notes.record("failed", error)
    BatchFolder(task.folder).forget_exports(task.scan.name)
    return _exported(task, notes.record("partial" if missing else "done", missing))


def _exported(task: Task, record: Record) -> Record:
    """The record, once the images are there in the formats that are wanted as well."""
    folder = BatchFolder(task.folder)
    missing = sorted(set(task.exports).difference(record.exports))
    try:
        for form in missing:
            with EXPORTING, folder.exporting(task.scan.name, form) as target:
                export(task.image, target, form, force=True)
    except Exception as error:
        logger.exception("no %s", form)
        return replace(record, outcome="failed", error=f"--{form}: {type(error).__name__}: {error}")
    return replace(record, exports=(*record.exports, *missing))


def _reconstruct(task: Task, jobs: Jobs, whole: bool) -> ReconError | None:
    """Write the image file of a scan.

    Args:
        task: Which, and how.
        jobs: Who makes the images.
        whole: Raise it if some of the images are missing.

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
        scan = session.assemble([acq] for acq in raw.acquisitions())
        count = 0
        try:
            with closing(session.images(scan, possible_series(session.config), jobs)) as images:
                for image in images:
                    out.append_image(image.image_series_index - 1, image)
                    count += 1
        except ReconError as error:
            if not count or whole:
                raise
            missing = error
        for waveform in raw.waveforms():
            out.append_waveform(waveform)
        BatchFolder(task.folder).forget_record(task.scan.name)  # the images are about to be others
    return missing
