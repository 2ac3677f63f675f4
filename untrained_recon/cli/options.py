"""Values of command line options."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from untrained_recon.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path, dir_okay=False)
group_option = click.option(
    "--group", default="", metavar="NAME", help="Group of the raw file that holds the scan.  [default: dataset, or the only one]"
)


force_option = click.option("--force", is_flag=True, help="Replace what is there; write to a folder with other files in it.")


def command_line() -> str:
    """The command as it was typed, for the record."""
    return shlex.join(["untrained-recon", *sys.argv[1:]])


def complete_presets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of presets, for the shell."""
    from untrained_recon.config import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def complete_settings(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Dotted paths of settings with an equals sign, for the shell."""
    from untrained_recon.config import Config

    return [f"{path}=" for path in Config().assignments() if path.startswith(incomplete)]


def complete_methods(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What a study can take as a method by its bare name, for the shell: presets and values of ``recon.method``."""
    from untrained_recon.config import Method, preset_names

    return [name for name in dict.fromkeys((*preset_names(), *get_args(Method))) if name.startswith(incomplete)]


def settings_option(about: str) -> Callable[[Command], Command]:
    """``--set KEY.PATH=VALUE``, repeatable, as the argument ``settings``.

    Args:
        about: What the settings are for, for the help.
    """
    return click.option(
        "--set", "settings", multiple=True, shell_complete=complete_settings, metavar="KEY.PATH=VALUE", help=f"{about}; repeatable."
    )


def parse_shape(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """``256x256``: lines x samples; None where the option is not given."""
    if value is None:
        return None
    try:
        n_y, n_x = (int(part) for part in value.lower().split("x"))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not of the form 256x256") from error
    if min(n_y, n_x) < 16 or max(n_y, n_x) > 4096:
        raise click.BadParameter("sizes must be between 16 and 4096")
    return n_y, n_x


def parse_counts(text: str) -> list[int]:
    """``1,2,4``: numbers from 1 on."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is not of the form 1,2,4", param_hint="--connections")
    return [int(part) for part in parts]


def parse_assignments(settings: tuple[str, ...]) -> dict[str, str]:
    """``key.path=value`` pairs. Raises ConfigError on anything else."""
    pairs = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {setting!r} is not of the form key.path=value")
        pairs[key] = value
    return pairs


def parse_address(text: str) -> tuple[str, int]:
    """``HOST:PORT``; an IPv6 host may stand in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{text!r} is not of the form HOST:PORT")
    return host.strip("[]"), int(port)
