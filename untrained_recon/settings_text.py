"""YAML from outside, within bounds."""

import re
from typing import Any

import yaml

from untrained_recon.errors import ConfigError

MOST_CHARACTERS = 1 << 16
DEEPEST = 8


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where ``1e-3`` is a string; here it is a number."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def parse_yaml(text: str, where: str) -> Any:
    """The values of a text.

    Args:
        text: YAML without aliases, of bounded length and depth.
        where: Whose, for errors.

    Raises:
        ConfigError: It is not that.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(f"{where}: {len(text)} characters; a configuration has {MOST_CHARACTERS} at most")
    try:
        _require_plain(text, where)
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:  # PyYAML lets the others through
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error


def _require_plain(text: str, where: str) -> None:
    """Raise ConfigError where the text is nested too deeply, or uses aliases, with which a short text can be a huge value."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or isinstance(event, yaml.AliasEvent):
            raise ConfigError(f"{where}: nested more than {DEEPEST} deep, or with aliases; a configuration is neither")
