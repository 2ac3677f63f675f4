"""The command line: raw files through the gadget, studies on fully sampled data, the resident service. See ``--help``."""

import io
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.logging import RichHandler

from untrained_recon import __version__
from untrained_recon.cli.config import config as config_command
from untrained_recon.cli.data import compare, convert, inspect, simulate
from untrained_recon.cli.export import export, export_options, require_exports, write_exports
from untrained_recon.cli.group import Sections
from untrained_recon.cli.options import (
    FILE,
    complete_presets,
    group_option,
    parse_address,
    parse_assignments,
    settings_option,
)
from untrained_recon.cli.quality import bench_quality_command
from untrained_recon.cli.recon import recon
from untrained_recon.cli.reproduce import reproduce
from untrained_recon.cli.serve import serve
from untrained_recon.cli.service import bench, chain
from untrained_recon.cli.site import UNREACHABLE, health, integration_test, openrecon_label, openrecon_package
from untrained_recon.cli.study import evaluate, train_unet
from untrained_recon.errors import ReconError, UnreachableError
from untrained_recon.host.brief import BriefFormatter

# The commands import what they run: torch takes seconds to load, and `--help` should not.

stderr = Console(stderr=True)


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Un-trained MR image reconstruction: raw ISMRMRD data in, images out, no training data."""


@cli.command()
@click.argument("raw", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Image file to write.")
@click.option(
    "--config",
    shell_complete=complete_presets,
    metavar="NAME|FILE.yaml|IMAGES.h5",
    help="Preset, YAML file, or images that are to be made again.  [default: fast]",
)
@settings_option("Override one setting")
@click.option("--device", metavar="auto|cpu|cuda[:N]", help="Where to fit.")
@click.option("--seed", type=int, help="Seed of the network.")
@export_options
@click.option("--mask", type=FILE, help="Lines acquired, of arrays and fastMRI files (.npy, .cfl).  [default: NAME.mask.npy]")
@click.option("--server", metavar="HOST:PORT", help="Play RAW to this running Gadgetron instead, through --chain.")
@click.option("--chain", type=FILE, help="With --server: the chain's XML file.")
@group_option
@click.option("--timeout", type=click.FloatRange(0.1), default=3600.0, show_default=True, help="With --server: seconds of silence.")
def replay(
    raw: Path,
    output: Path,
    config: str | None,
    settings: tuple[str, ...],
    device: str | None,
    seed: int | None,
    mask: Path | None,
    server: str | None,
    chain: Path | None,
    group: str,
    timeout: float,
    **exports: Any,
) -> None:
    """Play RAW through the gadget as Gadgetron would, and store the images that come back.

    RAW is ISMRMRD raw data, or k-space as `convert` reads it (fastMRI, .npy, .cfl), which may be undersampled.
    """
    from untrained_recon.config.callers import of_host
    from untrained_recon.files.convert import as_raw
    from untrained_recon.files.images import is_image_file
    from untrained_recon.host.monitor import Monitor
    from untrained_recon.host.replay import replay as run
    from untrained_recon.host.replay import replay_through_server
    from untrained_recon.output import require_place, require_replaceable
    from untrained_recon.scan.images import doubts

    if (server is None) != (chain is None):
        raise click.UsageError("--server and --chain go together")
    if server is not None and (config or settings or device or seed is not None):
        raise click.UsageError("with --server the settings are those of the chain")
    inputs = {"the raw data": raw, "the mask": mask}
    require_place(output, inputs)
    if not exports["force"]:
        require_replaceable(output, is_image_file)
    require_exports(output, exports, inputs)
    named = {"device": device, "seed": None if seed is None else str(seed)}
    properties = {
        **_configured(config),
        **parse_assignments(settings),
        **{key: value for key, value in named.items() if value is not None},
    }
    if server is None:
        from untrained_recon.recon.plane import pick_device

        pick_device(of_host(properties).device)  # what is wrong is told before anything starts
    with as_raw(raw, mask) as path, Monitor(stderr) as monitor:
        if server is not None and chain is not None:
            images = replay_through_server(path, output, parse_address(server), chain.read_bytes(), monitor, group, timeout)
        else:
            images = run(path, output, properties, monitor, group)
    write_exports(output, exports)
    click.echo("; ".join(filter(None, (f"{len(images)} images in {output}", doubts(images)))))


for command in (
    config_command,
    recon,
    chain,
    serve,
    bench,
    convert,
    compare,
    inspect,
    simulate,
    export,
    evaluate,
    reproduce,
    train_unet,
    health,
    integration_test,
    openrecon_label,
    openrecon_package,
):
    cli.add_command(command)
bench.add_command(bench_quality_command)


def main() -> None:
    """Run the command line; every foreseen error is one line on stderr. For the exit status see :data:`.group.STATUSES`."""
    handler = RichHandler(console=stderr, show_path=False) if stderr.is_terminal else logging.StreamHandler()
    handler.setFormatter(BriefFormatter("%(message)s" if stderr.is_terminal else "%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for stream in filter(None, (sys.stdout, sys.stderr)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells of every module that it copies
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwinds: nothing half-written stays
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("ended by Ctrl-C", err=True)
        sys.exit(128 + signal.SIGINT)
    except (ReconError, OSError) as error:
        click.echo(f"error: {type(error).__name__}: {' '.join(str(error).split())}", err=True)
        sys.exit(UNREACHABLE if isinstance(error, UnreachableError) else 1)


def _configured(config: str | None) -> dict[str, str]:
    """The properties of ``--config``. The gadget runs elsewhere: a file is named by its whole path, a preset stays a name."""
    from untrained_recon.files.made_before import IMAGE_FILES, properties_of_images

    if config is None:
        return {}
    path = Path(config)
    if path.suffix in IMAGE_FILES:
        return properties_of_images(path)
    return {"config": str(path.resolve()) if path.suffix in (".yaml", ".yml") else config}


if __name__ == "__main__":
    main()
