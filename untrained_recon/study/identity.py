"""What the results in a folder are of: rows are kept by names, which must stand for the same data, treated in the same way."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from untrained_recon.errors import EvaluationError
from untrained_recon.output import write_text
from untrained_recon.workers.claims import Claims

IDENTITY = "data.json"
PIECE = 1 << 20


def claims_of(folder: Path) -> Claims:
    """The locks of an evaluation, by which several processes share it."""
    return Claims(folder / "claims")


def require_same(folder: Path, paths: Sequence[Path], making: dict[str, Any]) -> None:
    """Refuse a folder with results of other data; note what those of these data are of.

    Args:
        folder: Of an evaluation.
        paths: Its files; those that cannot be read do not count.
        making: What else the results depend on and their names do not say.

    Raises:
        EvaluationError: A file of the same name was another one, or the results were made in another way.
    """
    place = folder / IDENTITY
    found = {path.stem: digest(path) for path in paths if path.is_file()}
    with claims_of(folder).take("data"):
        try:
            known = json.loads(place.read_text(encoding="utf-8"))
            before, files = known["making"], known["files"]
        except FileNotFoundError:
            before, files = making, {}
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationError(f"{place}: cannot be read ({error}); name another folder") from error
        if before != making:
            raise EvaluationError(f"{folder}: its results were made with {before}, now it is {making}; name another folder")
        if changed := [name for name, value in found.items() if files.get(name, value) != value]:
            raise EvaluationError(f"{folder}: its results of {', '.join(changed)} are of other files; name another folder")
        if not files.keys() >= found.keys():
            write_text(place, json.dumps({"making": making, "files": {**files, **found}}, indent=2) + "\n")


def digest(path: Path) -> str:
    """What tells a file from others: its size, and a hash of its first and its last megabyte."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(PIECE)
        file.seek(max(0, size - PIECE))
        tail = file.read(PIECE)
    return f"{size}-{hashlib.blake2b(head + tail, digest_size=16).hexdigest()}"
