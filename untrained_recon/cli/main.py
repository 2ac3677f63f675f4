"""The command line: raw files through the gadget, studies on fully sampled data, the resident service. See ``--help``."""

import logging
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from untrained_recon import __version__
from untrained_recon.cli.config import config as config_command
from untrained_recon.cli.data import convert
from untrained_recon.cli.export import export, export_options, require_exports, write_exports
from untrained_recon.cli.options import FILE, group_option, parse_address, parse_assignments, parse_shape
from untrained_recon.cli.quality import bench_quality_command
from untrained_recon.cli.recon import recon
from untrained_recon.cli.reproduce import reproduce
from untrained_recon.cli.serve import serve
from untrained_recon.cli.service import bench, chain
from untrained_recon.cli.site import health, integration_test, openrecon_label
from untrained_recon.cli.study import evaluate, train_unet
from untrained_recon.errors import ReconError
from untrained_recon.host.brief import BriefFormatter

# The commands import what they run: torch takes seconds to load, and `--help` should not.

stderr = Console(stderr=True)
stdout = Console()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Un-trained MR image reconstruction: raw ISMRMRD data in, images out, no training data."""


@cli.command()
@click.argument("raw", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Image file to write.")
@click.option(
    "--config", metavar="NAME|FILE.yaml|IMAGES.h5", help="Preset, YAML file, or images that are to be made again.  [default: fast]"
)
@click.option("--set", "settings", multiple=True, metavar="KEY.PATH=VALUE", help="Override one setting; repeatable.")
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
    from untrained_recon.host.monitor import Monitor
    from untrained_recon.host.replay import replay as run
    from untrained_recon.host.replay import replay_through_server
    from untrained_recon.output import require_place
    from untrained_recon.recon.plane import pick_device
    from untrained_recon.scan.images import doubts

    if (server is None) != (chain is None):
        raise click.UsageError("--server and --chain go together")
    if server is not None and (config or settings or device or seed is not None):
        raise click.UsageError("with --server the settings are those of the chain")
    inputs = {"the raw data": raw, "the mask": mask}
    require_place(output, inputs)
    require_exports(output, exports, inputs)
    named = {"device": device, "seed": None if seed is None else str(seed)}
    properties = {
        **_configured(config),
        **parse_assignments(settings),
        **{key: value for key, value in named.items() if value is not None},
    }
    if server is None:
        pick_device(of_host(properties).device)  # what is wrong is told before anything starts
    with as_raw(raw, mask) as path, Monitor(stderr) as monitor:
        if server is not None and chain is not None:
            images = replay_through_server(path, output, parse_address(server), chain.read_bytes(), monitor, group, timeout)
        else:
            images = run(path, output, properties, monitor, group)
    write_exports(output, exports)
    click.echo("; ".join(filter(None, (f"{len(images)} images in {output}", doubts(images)))))


@cli.command()
@click.option("-o", "--output", type=FILE, required=True, help="Raw file to write; the truth goes beside it.")
@click.option(
    "--shape", callback=parse_shape, metavar="NYxNX", default="256x256", show_default=True, help="Lines x samples of the image."
)
@click.option("--coils", type=click.IntRange(1, 128), default=8, show_default=True)
@click.option("--accel", type=click.IntRange(1, 32), default=4, show_default=True, help="Acceleration.")
@click.option("--acs", type=click.IntRange(0), default=24, show_default=True, help="Fully sampled lines in the centre.")
@click.option("--pattern", type=click.Choice(["random", "equispaced"]), default="random", show_default=True)
@click.option("--slices", type=click.IntRange(1, 1000), default=1, show_default=True)
@click.option(
    "--noise", type=click.FloatRange(0), default=0.01, show_default=True, help="Standard deviation; the phantom is about 1."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def simulate(output: Path, **settings: object) -> None:
    """Write a scanner-like raw file of a head phantom, and its ground truth beside it."""
    from untrained_recon.phantom.simulation import Simulation
    from untrained_recon.phantom.simulation import simulate as run

    run(output, Simulation(**settings))  # type: ignore[arg-type]  # click has checked every option
    click.echo(f"{output}, truth in {output.with_suffix('.truth.npy')}")


@cli.command()
@click.argument("raw", type=FILE)
@group_option
def inspect(raw: Path, group: str) -> None:
    """Summarise RAW; the exit status is not 0 when it could not be reconstructed."""
    from untrained_recon.files.convert import as_raw
    from untrained_recon.files.inspection import inspect as run

    with as_raw(raw) as path:
        summary = run(path, group)
    table = Table(title=str(raw), show_header=False, title_justify="left")
    for label, text in summary.facts:
        table.add_row(label, text)
    for remark in summary.remarks:
        table.add_row("note", remark)
    for problem in summary.problems:
        table.add_row("[red]problem[/red]", problem)
    stdout.print(table)
    if summary.problems:
        raise ReconError(f"{raw} cannot be reconstructed: {summary.problems[0]}")


@cli.command()
@click.argument("raw", type=FILE)
@click.argument("images", type=FILE)
@click.option("--truth", type=FILE, help="(slices, y, x) .npy; default: what `simulate` left beside RAW.")
@click.option("--png", type=FILE, help="Write a panel: truth, zero-filled, ours, error maps.")
@group_option
def compare(raw: Path, images: Path, truth: Path | None, png: Path | None, group: str) -> None:
    """Compare the magnitude series of IMAGES, replayed from RAW, with the truth, beside the zero-filled image."""
    from untrained_recon.files.convert import as_raw
    from untrained_recon.output import require_place
    from untrained_recon.study import comparison as report

    truth = truth or _truth_beside(raw)
    inputs = {"the raw data": raw, "the images": images, "the truth": truth}
    if png is not None:
        report.require_matplotlib()
        require_place(png, inputs)
    with as_raw(raw) as path:
        rows = report.compare(path, images, truth, group)
    table = Table("image", "method", "NRMSE", "PSNR / dB", "SSIM", "NRMSE / zero-filled")
    for row in rows:
        zero, ours = row.qualities()
        for name, q in (("zero-filled", zero), ("ours", ours)):
            ratio = f"{q.nrmse / zero.nrmse:.3f}"
            table.add_row(str(row.index), name, f"{q.nrmse:.4f}", f"{q.psnr:.2f}", f"{q.ssim:.4f}", ratio)
    stdout.print(table)
    if png is not None:
        report.save_panel(rows, png, inputs)
        click.echo(f"panel in {png}")


for command in (
    config_command,
    recon,
    chain,
    serve,
    bench,
    convert,
    export,
    evaluate,
    reproduce,
    train_unet,
    health,
    integration_test,
    openrecon_label,
):
    cli.add_command(command)
bench.add_command(bench_quality_command)


def main() -> None:
    """Run the command line; every foreseen error is one line on stderr and exit status 1."""
    handler = RichHandler(console=stderr, show_path=False) if stderr.is_terminal else logging.StreamHandler()
    handler.setFormatter(BriefFormatter("%(message)s" if stderr.is_terminal else "%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells of every module that it copies
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwinds: nothing half-written stays
    try:
        cli()
    except (ReconError, OSError) as error:
        click.echo(f"error: {type(error).__name__}: {' '.join(str(error).split())}", err=True)
        sys.exit(1)


def _configured(config: str | None) -> dict[str, str]:
    """The properties of ``--config``. The gadget runs elsewhere: a file is named by its whole path, a preset stays a name."""
    from untrained_recon.files.made_before import IMAGE_FILES, properties_of_images

    if config is None:
        return {}
    path = Path(config)
    if path.suffix in IMAGE_FILES:
        return properties_of_images(path)
    return {"config": str(path.resolve()) if path.suffix in (".yaml", ".yml") else config}


def _truth_beside(raw: Path) -> Path:
    white = raw.with_suffix(".truth_white.npy")
    return white if white.exists() else raw.with_suffix(".truth.npy")


if __name__ == "__main__":
    main()
