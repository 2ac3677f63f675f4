"""Configurations as callers write them: a preset or a file, and sections with what is to change as keywords."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from untrained_recon.config import Config, preset_names
from untrained_recon.config import load_config as load
from untrained_recon.errors import ConfigError
from untrained_recon.extends import merged
from untrained_recon.schema import describe


def presets() -> list[str]:
    """Names of the configurations that ship with the package."""
    return preset_names()


def load_config(config: str | Path | Config = "fast", **settings: Any) -> Config:
    """A preset, a YAML file or another configuration, with changes.

    Args:
        config: Its name, its path, or itself. A YAML file may begin with ``extends:`` and the name of a preset or of another file.
        **settings: ``seed=1``, ``device="cpu"``, and sections with what is to change in them: ``fit={"iterations": 100}``.

    Raises:
        ConfigError: There is no such preset or file, or a setting is unknown, of another type or out of range.
    """
    loaded = config if isinstance(config, Config) else load(str(config))
    for name in settings:
        section, dot, key = name.partition(".")
        if dot:
            raise ConfigError(f"{name}: settings are given by section, as {section}={{{key!r}: …}}")
    try:
        return Config.model_validate(merged(loaded.model_dump(), _plain(settings)))
    except ValidationError as error:
        raise ConfigError(f"settings: {describe(error, Config)}") from error


def given(device: object, seed: int | None) -> dict[str, Any]:
    """The two settings that have arguments of their own; None leaves them as they are."""
    named = {"device": None if device is None else str(device), "seed": seed}
    return {name: value for name, value in named.items() if value is not None}


def _plain(value: Any) -> Any:
    """Values of Python's own types: the schema takes no tuples and no numbers of NumPy."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
