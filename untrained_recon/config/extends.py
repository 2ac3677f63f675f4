"""``extends`` in a configuration file: its settings come on top of those of a preset, or of another file."""

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from untrained_recon.errors import ConfigError

logger = logging.getLogger(__name__)

KEY = "extends"

Values = dict[str, Any]


def lineage(name: str, load: Callable[[str], Values], presets: Collection[str]) -> list[tuple[str, Values]]:
    """A configuration and what it extends, each with its name and its own settings, the one that extends nothing first.

    Args:
        name: A preset or a file.
        load: Gives the settings of one of them.
        presets: Names of the presets; anything else is a file, relative to the one that extends it.

    Raises:
        ConfigError: ``extends`` is not a name, or leads in a circle; and what ``load`` raises.
    """
    found: list[tuple[str, Values]] = []
    seen: list[Path | str] = []
    while name or not found:
        identity = name if name in presets else Path(name).resolve()
        if identity in seen:
            circle = " and ".join(map(str, seen[seen.index(identity) :]))
            raise ConfigError(f"configuration {name!r} extends itself, by way of {circle}")
        seen.append(identity)
        values = load(name)
        base = values.pop(KEY, "")
        if not isinstance(base, str):
            raise ConfigError(f"configuration {name!r}: {KEY}: expected the name of a preset or a .yaml file, got {base!r}")
        found.append((name, values))
        name = base if not base or base in presets else str(Path(name).parent / base)
    return found[::-1]


def merged(under: Values, over: Values) -> Values:
    """Settings on top of others, section by section."""
    both = {key: {**under[key], **over[key]} for key in under.keys() & over.keys() if _are_sections(under[key], over[key])}
    return {**under, **over, **both}


def named_bare(values: Values, where: str, default: str, default_values: Values, schema: Values) -> Values:
    """Settings that extend no preset, with a name that says so where the schema's defaults stand in for what ``default`` sets.

    Args:
        values: The settings.
        where: Where they come from, for the warning.
        default: Name of the preset that holds where none is named.
        default_values: Its settings, all of them.
        schema: The schema's defaults.
    """
    differ = _flat(default_values).items() - _flat(schema).items()
    unset = sorted({path for path, _ in differ} - _flat(values).keys())
    if not unset:
        return values
    logger.warning(
        "configuration %s extends none: the schema's defaults, the paper's plain fit, hold for %s; to change only what it names, "
        "begin it with `extends: %s` or another preset",
        where,
        ", ".join(unset),
        default,
    )
    return {**values, "name": f"{values['name']}, on the schema's defaults"}


def _flat(values: Values) -> dict[str, str]:
    """The settings of the sections, by their dotted paths."""
    sections = {key: value for key, value in values.items() if isinstance(value, dict)}
    return {f"{key}.{name}": repr(value) for key, section in sections.items() for name, value in section.items()}


def _are_sections(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)
