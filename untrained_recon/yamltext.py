"""YAML from outside, read with bounds: length, depth, and no aliases (they may grow without end)."""

import re
from typing import Any

import yaml

from untrained_recon.errors import ConfigError
from untrained_recon.printable import LONGEST, printable

LONGEST_YAML = 1 << 16
DEEPEST_YAML = 16


def parse_yaml(text: str, where: str) -> Any:
    """The values of a YAML text.

    Args:
        text: The text.
        where: Where it is from, for messages; they do not quote it.

    Raises:
        ConfigError: Not YAML, or longer or deeper than any setting is.
    """
    shown = printable(where, LONGEST)
    if len(text) > LONGEST_YAML:
        raise ConfigError(f"{shown}: {len(text)} characters of YAML; {LONGEST_YAML} are the most that is read")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:  # its own words quote the text
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{shown}: not valid YAML: {printable(str(error.problem))}{place}") from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        # PyYAML lets the others through: no such date, a number of too many digits
        raise ConfigError(f"{shown}: not valid YAML ({type(error).__name__})") from error


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where ``1e-3`` is a string; here it is a number."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(problem="aliases are not taken")
        self._depth += 1
        if self._depth > DEEPEST_YAML:
            raise yaml.composer.ComposerError(problem=f"more than {DEEPEST_YAML} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
