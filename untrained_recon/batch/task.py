"""What is to be done with a scan, and whether it was."""

from dataclasses import dataclass
from pathlib import Path

from untrained_recon.batch.folder import BatchFolder
from untrained_recon.batch.record import Record
from untrained_recon.batch.scans import Scan, inputs_of
from untrained_recon.config import Config


@dataclass(frozen=True)
class Task:
    """What is to be done with a scan.

    Attributes:
        scan: The scan.
        folder: Of the results.
        config: Settings.
        group: Group of a raw file; empty for the usual one.
        exports: Formats in which its images are wanted as well, see :data:`untrained_recon.files.export.FORMATS`.
        force: Make it even if it is done.
        before: The record of the scan when the batch began. Another one is of a command that runs at the same time.
    """

    scan: Scan
    folder: Path
    config: Config
    group: str = ""
    exports: tuple[str, ...] = ()
    force: bool = False
    before: Record | None = None

    def __str__(self) -> str:
        return self.scan.name

    @property
    def settings(self) -> str:
        """Hash of what decides the results; on which device does not."""
        return self.config.digest({"name", "device"})

    @property
    def image(self) -> Path:
        """The image file."""
        return BatchFolder(self.folder).image(self.scan.name)

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


def is_made(task: Task, record: Record | None) -> bool:
    """Whether a record is of the task's files and settings, all images were made, and they are there."""
    return record is not None and record.outcome == "done" and is_of(task, record) and task.image.exists()


def is_done(task: Task, record: Record | None) -> bool:
    """Whether, besides, they are there in all formats that are wanted."""
    return record is not None and set(task.exports) <= set(record.exports) and is_made(task, record)


def is_settled(task: Task, record: Record | None) -> bool:
    """Whether nothing is left to be done: it is done, or was tried in vain since the batch began."""
    in_vain = record is not None and record != task.before and record.outcome != "done" and is_of(task, record)
    return not task.force and (in_vain or is_done(task, record))


def is_of(task: Task, record: Record) -> bool:
    """Whether a record is of the files and settings of a task."""
    inputs = task.inputs
    same = (record.settings, record.group, len(record.inputs)) == (task.settings, task.group, len(inputs))
    return same and all(state.still(path) for state, path in zip(record.inputs, inputs, strict=True))
