"""What all groups of settings share: strictness, and errors that name the dotted path."""

import difflib
import hashlib
import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from untrained_recon.text.printable import LONGEST, printable, quoted

MOST_TOLD = 5


class Section(BaseModel):
    """A group of settings; unknown keys and wrong types are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def digest(self, exclude: set[str] | None = None) -> str:
        """Twelve hexadecimal digits that change with any setting, but for the excluded keys."""
        return hashlib.sha256(self.model_dump_json(exclude=exclude).encode()).hexdigest()[:12]

    def changes(self) -> str:
        """What is not as the schema has it, as JSON in ASCII: enough to have the same settings again."""
        return json.dumps(self.model_dump(exclude_defaults=True))

    def assignments(self) -> dict[str, str]:
        """Every setting by its dotted path, the value in YAML notation."""
        return {path: json.dumps(value) for path, value in _leaves(self.model_dump(), "")}


def describe(error: ValidationError, settings: type[BaseModel]) -> str:
    """What is wrong, each with its dotted path; for an unknown key, the key of ``settings`` that is most like it."""
    known = _known_paths(settings)
    told = error.errors()[:MOST_TOLD]
    more = f"; and {error.error_count() - MOST_TOLD} more" if error.error_count() > MOST_TOLD else ""
    return "; ".join(_describe(e["type"], e["loc"], e["msg"], e["input"], known) for e in told) + more


def _describe(kind: str, loc: tuple[int | str, ...], message: str, value: Any, known: list[str]) -> str:
    path = printable(".".join(str(part) for part in loc), LONGEST)
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(path, known, n=1)
        return f"{path}: unknown key" + (f" (did you mean {near[0]}?)" if near else "")
    return f"{path}: {message[0].lower()}{message[1:]}, got {quoted(value)}" if path else message


def _leaves(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _known_paths(section: type[BaseModel], prefix: str = "") -> list[str]:
    paths = []
    for name, field in section.model_fields.items():
        paths.append(prefix + name)
        kind = field.annotation
        if isinstance(kind, type) and not get_args(kind) and issubclass(kind, BaseModel):  # list[int] is a type in Python 3.10
            paths += _known_paths(kind, f"{prefix}{name}.")
    return paths
