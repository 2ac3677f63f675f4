"""What a service lets a scan choose: settings up to its limits, and files of one folder only."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from untrained_recon.config import DEFAULT_PRESET, Config, load_config, preset_names
from untrained_recon.errors import ConfigError
from untrained_recon.printable import quoted
from untrained_recon.schema import describe

logger = logging.getLogger(__name__)

UNLIMITED_IF_ZERO = ("scan.time_budget_s", "fit.time_budget_s")
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Rules:
    """Rules of a service.

    Attributes:
        limits: Dotted path of a number of the configuration → the most that is taken; a time of 0 (no limit) gets this one.
        folder: Where ``config`` and ``unet.weights`` may name files; None for nowhere.
    """

    limits: Mapping[str, float] = field(default_factory=dict)
    folder: Path | None = None

    def __post_init__(self) -> None:
        for key, value in self.limits.items():
            if type(_find(Config().model_dump(), key)) not in (int, float) or value < 0:
                raise ConfigError(f"limit {key}: no number of the configuration, or a negative limit")

    def load(self, properties: Mapping[str, str]) -> Config:
        """The configuration of a scan, see :func:`untrained_recon.stream.resolve`.

        Raises:
            ConfigError: Also for files outside the folder, of which nothing is told.
        """
        overrides = dict(properties)
        name = overrides.pop("config", "") or DEFAULT_PRESET
        if name not in preset_names():
            name = str(self._sound(name))
        config = load_config(name, overrides)
        if config.unet.weights:
            weights = self._inside(config.unet.weights)
            if weights is None:
                raise ConfigError(f"unet.weights: {quoted(config.unet.weights)} is no file of the service's folder (--config-dir)")
            config = config.model_copy(update={"unet": config.unet.model_copy(update={"weights": str(weights)})})
        return self._limited(config)

    def _sound(self, name: str) -> Path:
        """A configuration in the folder; what is wrong with it is for the log."""
        path = self._inside(name) if Path(name).suffix in SUFFIXES else None
        if path is None:
            raise ConfigError(
                f"configuration {quoted(name)} is neither a preset ({', '.join(preset_names())}) nor a .yaml file of the service's "
                "folder (--config-dir)"
            )
        try:
            load_config(str(path))
        except ConfigError as error:
            logger.error("%s", error)
            raise ConfigError(f"configuration {quoted(name)} of the service's folder is not sound; see the service's log") from None
        return path

    def _inside(self, name: str) -> Path | None:
        if self.folder is None:
            return None
        try:
            path = (self.folder / name).resolve()
            return path if path.is_relative_to(self.folder.resolve()) and path.is_file() else None
        except (OSError, ValueError):  # ValueError: NUL
            return None

    def _limited(self, config: Config) -> Config:
        values = config.model_dump()
        for key, most in self.limits.items():
            value = _find(values, key)
            no_limit = key in UNLIMITED_IF_ZERO and value == 0
            if key in UNLIMITED_IF_ZERO and most == 0:
                continue
            if value > most or no_limit:
                if not no_limit:
                    logger.warning("%s: %g is more than this service allows; %g is taken", key, value, most)
                *parents, last = key.split(".")
                _find(values, ".".join(parents))[last] = type(value)(most)
        try:
            return Config.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"with the limits of this service: {describe(error, Config)}") from error


def _find(values: Any, key: str) -> Any:
    for part in key.split(".") if key else ():
        values = values.get(part) if isinstance(values, dict) else None
    return values
