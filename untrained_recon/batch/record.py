"""What is kept of a scan beside its images: one JSON file that says what became of it, and of what and by what."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from untrained_recon.batch.scans import FileState

Outcome = Literal["done", "partial", "failed"]


@dataclass(frozen=True)
class Record:
    """What became of a scan.

    Attributes:
        name: The scan.
        outcome: ``done``; ``partial``, where some of its images could not be made; ``failed``, where none could, or an export.
        error: Why it is not ``done``.
        inputs: The files that it was made of, the scan first.
        group: Group of the raw file that was asked for.
        settings: Hash of all settings but name and device.
        config: Name of the configuration.
        changes: Its settings, those that are the schema's own left out.
        version: Of this package.
        images: Of each image its counters, account, cautions; numbers that are none are None.
        fallbacks: How many of them are ``FALLBACK``.
        cautions: How many have a caution, by its code.
        exports: The formats in which the images lie beside the image file.
        started: When, UTC.
        seconds: Wall time of it all.
        host: On which machine.
        kept: Where the images that are there are those of an earlier record: when that was started. Images, fallbacks, cautions and
            exports are theirs then; settings and all else are of the attempt that failed. Else empty.
    """

    name: str
    outcome: Outcome
    error: str
    inputs: tuple[FileState, ...]
    group: str
    settings: str
    config: str
    changes: dict[str, Any]
    version: str
    images: tuple[dict[str, Any], ...]
    fallbacks: int
    cautions: dict[str, int]
    exports: tuple[str, ...]
    started: str
    seconds: float
    host: str
    kept: str = ""

    @property
    def reason(self) -> str:
        """Why it is not ``done``, and what is there nevertheless."""
        return f"{self.error}; the images are still those of {self.kept}" if self.kept else self.error

    def to_json(self) -> str:
        """As it is stored."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Of what is stored. Raises ValueError, KeyError or TypeError where that is something else."""
        values = json.loads(text)
        if not values["inputs"]:
            raise ValueError("it names no file that its images were made of")
        return cls(
            **{
                **values,
                "inputs": tuple(FileState(**state) for state in values["inputs"]),
                "images": tuple(values["images"]),
                "exports": tuple(values["exports"]),
            }
        )
