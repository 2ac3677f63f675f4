"""The folder of a batch: where what is kept, and how several processes share it."""

import csv
import fcntl
import glob
import io
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from untrained_recon.batch.record import Record
from untrained_recon.errors import RawFileError
from untrained_recon.files.export import FORMATS
from untrained_recon.output import make_folder, write_text

logger = logging.getLogger(__name__)

MARK = "batch.json"
FAILURES = "failures.csv"
POLL_S = 0.5


class BatchFolder:
    """A folder of results: ``images/``, ``logs/``, ``records/``, one of each export, and ``failures.csv``.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def take(cls, path: Path, force: bool = False) -> "BatchFolder":
        """Make a folder, or take one that was made here.

        Args:
            path: The folder.
            force: Take any.

        Raises:
            RawFileError: There are other things in it, or it cannot be written.
        """
        make_folder(path)
        folder = cls(path.resolve())
        mark = folder.path / MARK
        if not mark.exists():
            strangers = sorted(found.name for found in folder.path.iterdir() if not found.name.startswith(f".{MARK}."))
            if strangers and not force and not mark.exists():
                raise RawFileError(f"{path}: holds {strangers[0]} and is no folder of `recon`; name another, or say --force")
            write_text(mark, '{"untrained-recon": "recon"}\n')
        for name in ("images", "logs", "records", "claims"):
            make_folder(folder.path / name)
        return folder

    def require(self) -> None:
        """Raise RawFileError unless it is there: a worker on another machine may not see it."""
        if not (self.path / MARK).exists():
            raise RawFileError(f"{self.path}: is not there; all workers need the same folders, on a shared file system")

    def image(self, name: str) -> Path:
        """The image file of a scan."""
        return self.path / "images" / f"{name}.h5"

    def log(self, name: str) -> Path:
        """Its log."""
        return self.path / "logs" / f"{name}.log"

    def export(self, name: str, form: str) -> Path:
        """The folder of its images in another format."""
        return self.path / form / name

    def read(self, name: str) -> Record | None:
        """The record of a scan; None where there is none that can be read."""
        try:
            return Record.from_json(self._record(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s counts as not there: %s", self._record(name), error)
            return None

    def forget(self, name: str) -> None:
        """Take away all that is there of a scan; by the process that has it in work."""
        self._record(name).unlink(missing_ok=True)
        self.image(name).unlink(missing_ok=True)
        self.log(name).unlink(missing_ok=True)
        for form in FORMATS:
            shutil.rmtree(self.export(name, form), ignore_errors=True)
        self._remove_parts(name)

    def tidy(self, names: Iterable[str]) -> None:
        """Take away what processes that were killed have left of scans."""
        for name in names:
            if (claim := self.try_claim(name)) is not None:
                with claim:
                    self._remove_parts(name)

    def _remove_parts(self, name: str) -> None:
        for part in self.image(name).parent.glob(f".{glob.escape(name)}.h5.*.part"):
            shutil.rmtree(part, ignore_errors=True)

    def write(self, record: Record) -> None:
        """Keep a record. Raises RawFileError."""
        write_text(self._record(record.name), record.to_json())

    def records(self) -> Iterator[Record]:
        """All that can be read, by name."""
        for path in sorted((self.path / "records").glob("*.json")):
            if (record := self.read(path.stem)) is not None:
                yield record

    def write_failures(self) -> None:
        """``failures.csv``, of all scans in the folder that are not done, whoever has made them. Raises RawFileError."""
        with self.claim(""):
            text = io.StringIO(newline="")
            writer = csv.writer(text)
            writer.writerow(("scan", "outcome", "file", "error"))
            for record in self.records():
                if record.outcome != "done":
                    writer.writerow((record.name, record.outcome, record.inputs[0].path, record.error))
            write_text(self.path / FAILURES, text.getvalue())

    def try_claim(self, name: str) -> BinaryIO | None:
        """The sole right to make a scan; None where another process has it, here or on another machine.

        It is a lock of the file system: it ends where the file that is returned is closed, and with the process, however that ends.

        Raises:
            RawFileError: The file system has no locks, or cannot be written.
        """
        path = self.path / "claims" / f"{name}.lock"
        try:
            file = path.open("ab")
        except OSError as error:
            raise RawFileError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError as error:
            file.close()
            raise RawFileError(f"{path}: cannot be locked ({error.strerror}); write to a file system with locks") from error
        return file

    def claim(self, name: str, waiting: Callable[[], None] = lambda: None) -> BinaryIO:
        """As :meth:`try_claim`, once it is free; ``waiting`` is called now and then, and may raise."""
        while (claim := self.try_claim(name)) is None:
            waiting()
            time.sleep(POLL_S)
        return claim

    def _record(self, name: str) -> Path:
        return self.path / "records" / f"{name}.json"
