"""The rows of an evaluation: one for every image, in a CSV file that grows as the evaluation goes on."""

import csv
import dataclasses
import fcntl
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from untrained_recon.errors import RawFileError
from untrained_recon.metrics import OURS, PAPER, PAPER_MEAN_STD, PAPER_MIN_MAX, PAPER_NO_NORM, Convention, Region
from untrained_recon.output import require_place, write_text
from untrained_recon.text.printable import legible

RESULTS = "results.csv"
MEASURES = ("vif", "ms_ssim", "ssim", "psnr", "nmse", "nrmse")
CONVENTIONS = (OURS, PAPER, PAPER_NO_NORM, PAPER_MIN_MAX, PAPER_MEAN_STD)
FOREGROUND = f"{OURS.name}, foreground"
VIEWS: dict[str, tuple[Convention, Region]] = {
    FOREGROUND: (OURS, "foreground"),
    **{convention.name: (convention, "whole") for convention in CONVENTIONS},
}
"""How images are compared, and where: the foreground first, whose scores no noise of the truth's background decides."""

SCORES = [f"{view}: {measure}" for view in VIEWS for measure in MEASURES if (view, measure) != (FOREGROUND, "ms_ssim")]
OWN = ("acceleration", "seconds", "iterations", "error")  # columns of a row beside its key and its scores


@dataclass(frozen=True)
class Key:
    """What makes a row: the same key need not be computed again.

    Attributes:
        volume: Name of the file, without ending, see :func:`untrained_recon.study.folding.folded_name`.
        item: Number of the image in it.
        sampling: ``masks.Sampling.label``.
        method: Name of the method in this evaluation.
        config_hash: Hash of its settings.
    """

    volume: str
    item: int
    sampling: str
    method: str
    config_hash: str

    @property
    def image_path(self) -> str:
        """Where the image is kept, below the folder of the evaluation: float32 ``(n_y, n_x)``."""
        return f"images/{self.volume}/{self.item:03d}_{self.sampling}_{self.method}_{self.config_hash}.npy"

    @property
    def trace_path(self) -> str:
        """Where its quality against time is kept, if it is."""
        return self.image_path.removesuffix(".npy") + ".trace.csv"

    @property
    def truth_path(self) -> str:
        """Where its truth is kept."""
        return f"images/{self.volume}/{self.item:03d}_truth.npy"


@dataclass(frozen=True)
class Row:
    """One image, or the reason why there is none.

    Attributes:
        key: Which image.
        acceleration: As sampled.
        seconds: Of the reconstruction.
        iterations: Of all fits.
        error: Empty where all went well.
        scores: Value for each of :data:`SCORES`; fewer in rows of an earlier version.
    """

    key: Key
    acceleration: float
    seconds: float
    iterations: int
    error: str
    scores: dict[str, float]

    def flat(self) -> dict[str, Any]:
        """The row as it stands in the file."""
        own = {name: getattr(self, name) for name in OWN}
        return dataclasses.asdict(self.key) | own | {name: self.scores.get(name, "") for name in SCORES}


class ResultsFile:
    """``results.csv``: append a row at a time, read them all back. Several processes may do so at once.

    Args:
        path: The file; made with the first row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[Key, Row] = {}
        self._columns: Sequence[str] | None = None
        self._lines, self._size = 1, 0

    def append(self, row: Row) -> None:
        """Add a row; it is on disk when this returns. Raises RawFileError, the file as it was, where it cannot be written."""
        values = row.flat()
        place = require_place(self.path)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(values))
        try:
            with place.open("ab", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not (size := file.seek(0, os.SEEK_END)):
                    writer.writeheader()
                writer.writerow(values)
                try:
                    _write(file, legible(text.getvalue()).encode())
                except OSError:
                    os.truncate(place, size)
                    raise
        except OSError as error:
            raise RawFileError(f"{self.path}: cannot be written: {error.strerror}") from error

    def widen(self) -> None:
        """Write the file anew where it is of a version with fewer scores; for before anything is read or appended.

        Raises:
            RawFileError: It cannot be written.
        """
        columns = [field.name for field in dataclasses.fields(Key)] + [*OWN, *SCORES]
        if not self.path.exists():
            return
        text = io.StringIO(newline="")
        try:
            with self.path.open(newline="", encoding="utf-8") as f:
                before = csv.DictReader(f)
                found = list(before.fieldnames or ())
                if found == columns or not set(columns[: len(dataclasses.fields(Key))]) <= set(found):
                    return  # reading it will tell what is wrong, if anything is
                if newer := sorted(set(found).difference(columns)):
                    raise RawFileError(f"{self.path}: has {newer[0]!r}, which this version does not know; name another folder")
                writer = csv.DictWriter(text, columns, restval="")
                writer.writeheader()
                writer.writerows(before)
        except (ValueError, csv.Error):
            return  # reading it will tell what is wrong
        write_text(self.path, text.getvalue())

    def rows(self) -> Iterator[Row]:
        """All rows so far; later ones with the key of an earlier one replace it.

        Raises:
            RawFileError: The file is not of this form.
        """
        self._catch_up()
        yield from list(self._found.values())

    def get(self, key: Key) -> Row | None:
        """The row of a key, if there is one. Raises RawFileError as :meth:`rows`."""
        self._catch_up()
        return self._found.get(key)

    def _catch_up(self) -> None:
        """Read what has been added since the last time."""
        try:
            with self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                if file.seek(0, os.SEEK_END) < self._size:  # not the same file any more
                    self._forget()
                file.seek(self._size)
                added = file.read()
        except FileNotFoundError:
            self._forget()
            return
        except OSError as error:
            raise RawFileError(f"{self.path}: cannot be read: {error.strerror}") from error
        number = self._lines
        try:
            table = csv.DictReader(io.StringIO(added.decode("utf-8"), newline=""), self._columns)
            for values in table:
                number += 1
                row = _parse(values)
                self._found.pop(row.key, None)
                self._found[row.key] = row
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise RawFileError(f"{self.path}: line {number} is not a row of results ({error}); delete it to go on") from error
        self._columns, self._lines, self._size = table.fieldnames, number, self._size + len(added)

    def _forget(self) -> None:
        self._found, self._columns, self._lines, self._size = {}, None, 1, 0


def _write(file: io.RawIOBase, data: bytes) -> None:
    while data:
        data = data[file.write(data) or 0 :]


def _parse(values: dict[str, str]) -> Row:
    key = Key(values["volume"], int(values["item"]), values["sampling"], values["method"], values["config_hash"])
    scores = {name: float(values[name]) for name in SCORES if values.get(name)}
    return Row(key, float(values["acceleration"]), float(values["seconds"]), int(values["iterations"]), values["error"], scores)
