"""A batch: scans planned, made by an engine, and followed to the end."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from untrained_recon.batch.folder import BatchFolder
from untrained_recon.batch.make import failed, make
from untrained_recon.batch.record import Record
from untrained_recon.batch.scans import Scan, find_scans
from untrained_recon.batch.task import Made, Task, is_done
from untrained_recon.config import Config, load_config
from untrained_recon.errors import ConfigError
from untrained_recon.files.export import require_format
from untrained_recon.workers.local import on_devices, slots
from untrained_recon.workers.share import Engine, Submit, share_out

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a batch is.

    Attributes:
        record: The scan that was just dealt with.
        fresh: Whether it was made now, not before.
        done: Scans dealt with so far, of :attr:`total`.
        total: All scans.
        seconds_left: Until the end, by the bytes that were read so far; None while nothing tells.
    """

    record: Record
    fresh: bool
    done: int
    total: int
    seconds_left: float | None


def reconstruct_files(
    data: Iterable[str | Path],
    output: str | Path,
    config: Config | None = None,
    engine: Engine | None = None,
    *,
    exports: Sequence[str] = (),
    group: str = "",
    force: bool = False,
    follow: Callable[[Progress], None] = lambda _: None,
) -> list[Record]:
    """Reconstruct many scans: what ``untrained-recon recon`` does.

    Several processes, on several machines, may do so at once with the same ``output``: each scan is made by one of them.

    Args:
        data: Files, patterns, folders, see :func:`untrained_recon.batch.scans.find_scans`.
        output: Folder of the results, see :class:`untrained_recon.batch.folder.BatchFolder`. What is done there, of the same files
            and with the same settings, is not done again.
        config: Settings; None for the default preset.
        engine: Where to compute; by default one worker on each GPU, or on the CPU. A script calls this under
            ``if __name__ == "__main__":``, as processes are started.
        exports: Formats in which the images are written as well, each in a folder of its own beside ``images``, see
            :data:`untrained_recon.files.export.FORMATS`.
        group: Group of the raw files.
        force: Do again what is done; take a folder in which there are other things.
        follow: Told of each scan.

    Returns:
        What became of each scan, by name. A scan that fails is no error of this function.

    Raises:
        MissingExtraError: What an export needs is not installed.
        RawFileError: What is given is not there, or the folder cannot be used.
        ConfigError: The names of scans stand for others in this folder.
        WorkerError: The workers are gone.
    """
    settings = load_config("fast") if config is None else config
    for form in exports:
        require_format(form)
    scans = find_scans(data, Path(output))
    folder = BatchFolder.take(Path(output), force)
    tasks = [Task(scan, folder.path, settings, group, tuple(exports), force, folder.read(scan.name)) for scan in scans]
    if not force:
        _require_names(folder, scans)
    batch = _Batch(tasks, follow)
    try:
        todo = []
        for task in tasks:
            if task.before is not None and not force and is_done(task, task.before):
                batch.take(task, Made(task.before, False))
            else:
                todo.append(task)
        if todo:
            for task, made in share_out(engine or _here, make, todo, lambda task: folder.claims.is_free(task.scan.name)):
                batch.take(task, _failed(task, made) if isinstance(made, Exception) else made)
    finally:
        folder.tidy(task.scan.name for task in tasks if task.scan.name not in batch.records)
        folder.write_failures()
    return [batch.records[task.scan.name] for task in tasks]


def _here() -> AbstractContextManager[Submit]:
    return on_devices(slots())


def _failed(task: Task, error: Exception) -> Made:
    """Its workers died of it, or could not keep what they had made."""
    logger.error("%s: %s", task.scan.name, error, exc_info=error)
    return failed(task, error)


class _Batch:
    """Counts what is done."""

    def __init__(self, tasks: Sequence[Task], follow: Callable[[Progress], None]) -> None:
        self.records: dict[str, Record] = {}
        self._follow = follow
        self._total = len(tasks)
        self._bytes = {task.scan.name: _size(task.scan.path) for task in tasks}
        self._left, self._made = sum(self._bytes.values()), 0
        self._start = time.monotonic()

    def take(self, task: Task, made: Made) -> None:
        size = self._bytes[task.scan.name]
        self.records[task.scan.name] = made.record
        self._left -= size
        if made.fresh and made.record.images:
            self._made += size
        left = (time.monotonic() - self._start) / self._made * self._left if self._made else None
        self._follow(Progress(made.record, made.fresh, len(self.records), self._total, left))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _require_names(folder: BatchFolder, scans: Sequence[Scan]) -> None:
    """Raise ConfigError where a scan would replace the images of another one."""
    for scan in scans:
        known = folder.read(scan.name)
        if known is not None and known.inputs[0].path != str(scan.path) and not known.inputs[0].still(scan.path):
            raise ConfigError(
                f"{folder.path}: {scan.name} is {known.inputs[0].path} there, not {scan.path}; name another folder, or say --force"
            )
