"""The folder of a batch: where what is kept, and how several processes share it."""

import csv
import glob
import io
import itertools
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from untrained_recon.batch.record import Record
from untrained_recon.errors import RawFileError
from untrained_recon.files.export import FORMATS
from untrained_recon.output import make_folder, write_text
from untrained_recon.workers.claims import Claims

logger = logging.getLogger(__name__)

MARK = "batch.json"
FAILURES = "failures.csv"
ALL = ""  # the lock of what is of all scans


class BatchFolder:
    """A folder of results: ``images/``, ``logs/``, ``records/``, one of each export, and ``failures.csv``.

    ``unreadable/`` holds what was there of scans whose records could not be read any more.

    Args:
        path: The folder.

    Attributes:
        claims: The sole right to make a scan, by its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.claims = Claims(path / "claims")

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
            if not mark.exists() and (theirs := sorted({"images", "logs", "records", *FORMATS}.intersection(strangers))):
                raise RawFileError(f"{path}: holds {theirs[0]}, whose content would be replaced; name another folder")
            write_text(mark, '{"untrained-recon": "recon"}\n')
        for name in ("images", "logs", "records"):
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
            return self._read(name)
        except RawFileError as error:
            logger.warning("%s; it counts as not there", error)
            return None

    def settled(self, name: str) -> Record | None:
        """As :meth:`read`, by the process that has the scan in work: where a record cannot be read, nobody knows whose results are
        there, and all of them are set aside to ``unreadable/``. Raises RawFileError where they cannot be.
        """
        try:
            return self._read(name)
        except RawFileError as error:
            aside = self._aside(name)
            logger.error("%s; what was made of %s before is in %s now", error, name, aside)
            return None

    def _read(self, name: str) -> Record | None:
        path = self._record(name)
        try:
            return Record.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RawFileError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error

    def _aside(self, name: str) -> Path:
        """Move a scan's results to a folder of their own."""
        numbers = itertools.count(1)
        while (aside := self.path / "unreadable" / f"{name}.{next(numbers)}").exists():
            pass
        places = {self.image(name): aside / "images"} | {self.export(name, form): aside / form for form in FORMATS}
        places[self._record(name)] = aside / "records"  # last: while it is there, the others are not removed
        try:
            for place, folder in places.items():
                if place.exists():
                    make_folder(folder)
                    shutil.move(place, folder / place.name)  # each of them may be on a file system of its own
        except OSError as error:
            raise RawFileError(f"{aside}: cannot be written: {error.strerror or error}") from error
        return aside

    @contextmanager
    def exporting(self, name: str, form: str) -> Iterator[Path]:
        """A folder for images in another format, which takes its place when it is full; what fails leaves the one of before."""
        final = self.export(name, form)
        part = final.with_name(f".{name}.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            yield part
            shutil.rmtree(final, ignore_errors=True)
            part.rename(final)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def forget_record(self, name: str) -> None:
        """Take away the record of images that are about to be replaced."""
        self._record(name).unlink(missing_ok=True)

    def forget_exports(self, name: str) -> None:
        """Take away the other formats of images that were replaced."""
        for form in FORMATS:
            shutil.rmtree(self.export(name, form), ignore_errors=True)

    def tidy(self, names: Iterable[str]) -> None:
        """Take away what processes that were killed have left of scans."""
        for name in names:
            if (claim := self.claims.attempt(name)) is not None:
                with claim:
                    self.remove_parts(name)

    def remove_parts(self, name: str) -> None:
        """As :meth:`tidy`, by the process that has the scan in work."""
        parts = self.image(name).parent.glob(f".{glob.escape(name)}.h5.*.part")
        for part in (*parts, *(self.export(f".{name}.part", form) for form in FORMATS)):
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
        with self.claims.take(ALL):
            text = io.StringIO(newline="")
            writer = csv.writer(text)
            writer.writerow(("scan", "outcome", "file", "error"))
            for record in self.records():
                if record.outcome != "done":
                    writer.writerow((record.name, record.outcome, record.inputs[0].path, record.reason))
            write_text(self.path / FAILURES, text.getvalue())

    def _record(self, name: str) -> Path:
        return self.path / "records" / f"{name}.json"
