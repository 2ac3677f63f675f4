"""The command line: ``untrained-recon replay | simulate | inspect | compare | chain | serve | bench``."""

import importlib
import json
import logging
import signal
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from untrained_recon import __version__
from untrained_recon.errors import ConfigError, ReconError

# The commands import what they run: torch takes seconds to load, and `--help` should not.

FILE = click.Path(path_type=Path, dir_okay=False)
stderr = Console(stderr=True)
stdout = Console()


def _shape(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """``256x256``: lines x samples."""
    try:
        n_y, n_x = (int(part) for part in value.lower().split("x"))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not of the form 256x256") from error
    if min(n_y, n_x) < 16 or max(n_y, n_x) > 4096:
        raise click.BadParameter("sizes must be between 16 and 4096")
    return n_y, n_x


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Un-trained MR image reconstruction: raw ISMRMRD data in, images out, no training data."""


@cli.command()
@click.argument("raw", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Image file to write.")
@click.option("--config", "config", metavar="NAME|FILE.yaml", help="Preset or YAML file; the default depends on the device.")
@click.option("--set", "settings", multiple=True, metavar="KEY.PATH=VALUE", help="Override one setting; repeatable.")
@click.option("--device", metavar="auto|cpu|cuda[:N]", help="Where to fit.")
@click.option("--seed", type=int, help="Seed of the network.")
@click.option("--png", type=click.Path(path_type=Path, file_okay=False), help="Also write every image as a PNG to this folder.")
@click.option("--server", metavar="HOST:PORT", help="Play RAW to this running Gadgetron instead, through --chain.")
@click.option("--chain", type=FILE, help="With --server: the chain's XML file.")
def replay(
    raw: Path,
    output: Path,
    config: str | None,
    settings: tuple[str, ...],
    device: str | None,
    seed: int | None,
    png: Path | None,
    server: str | None,
    chain: Path | None,
) -> None:
    """Play RAW through the gadget as Gadgetron would, and store the images that come back."""
    from untrained_recon import report
    from untrained_recon.monitor import Monitor
    from untrained_recon.replay import replay as run
    from untrained_recon.replay import replay_through_server

    if (server is None) != (chain is None):
        raise click.UsageError("--server and --chain go together")
    if server is not None and (config or settings or device or seed is not None):
        raise click.UsageError("with --server the settings are those of the chain")
    if png is not None:
        report.require_matplotlib()
    named = {"config": _absolute(config), "device": device, "seed": None if seed is None else str(seed)}
    properties = {**_assignments(settings), **{key: value for key, value in named.items() if value is not None}}
    with Monitor(stderr) as monitor:
        if server is not None and chain is not None:
            images = replay_through_server(raw, output, _address(server), chain.read_bytes(), monitor)
        else:
            images = run(raw, output, properties, monitor)
    if png is not None:
        report.save_pngs(images, png)
    click.echo(f"{len(images)} images in {output}")


@cli.command()
@click.option("-o", "--output", type=FILE, required=True, help="Raw file to write; the truth goes beside it.")
@click.option(
    "--shape", callback=_shape, metavar="NYxNX", default="256x256", show_default=True, help="Lines x samples of the image."
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
    from untrained_recon.simulate import Simulation
    from untrained_recon.simulate import simulate as run

    run(output, Simulation(**settings))  # type: ignore[arg-type]  # click has checked every option
    click.echo(f"{output}, truth in {output.with_suffix('.truth.npy')}")


@cli.command()
@click.argument("raw", type=FILE)
def inspect(raw: Path) -> None:
    """Summarise RAW; the exit status is not 0 when it could not be reconstructed."""
    from untrained_recon.inspection import inspect as run

    summary = run(raw)
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
def compare(raw: Path, images: Path, truth: Path | None, png: Path | None) -> None:
    """Compare the magnitude series of IMAGES, replayed from RAW, with the truth, beside the zero-filled image."""
    from untrained_recon import report

    rows = report.compare(raw, images, truth or _truth_beside(raw))
    table = Table("image", "method", "NRMSE", "PSNR / dB", "SSIM", "NRMSE / zero-filled")
    for row in rows:
        zero, ours = row.qualities()
        for name, q in (("zero-filled", zero), ("ours", ours)):
            ratio = f"{q.nrmse / zero.nrmse:.3f}"
            table.add_row(str(row.index), name, f"{q.nrmse:.4f}", f"{q.psnr:.2f}", f"{q.ssim:.4f}", ratio)
    stdout.print(table)
    if png is not None:
        report.save_panel(rows, png)
        click.echo(f"panel in {png}")


@cli.command()
@click.option("--input", "source", type=click.Choice(["acquisitions", "buckets", "buffers"]), default="buffers", show_default=True)
@click.option("--output", type=click.Choice(["float", "uint16", "complex"]), default="uint16", show_default=True, help="Pixels.")
@click.option("--execute", is_flag=True, help="Gadgetron starts the gadget for every scan (the default).")
@click.option("--connect", metavar="HOST:PORT", help="Gadgetron connects to a gadget that listens there.")
@click.option("--config", metavar="NAME|FILE.yaml", help="Preset, or YAML file on the gadget's machine.")
@click.option("--set", "settings", multiple=True, metavar="KEY.PATH=VALUE", help="Setting for the chain; repeatable.")
def chain(source: str, output: str, execute: bool, connect: str | None, config: str | None, settings: tuple[str, ...]) -> None:
    """Print a Gadgetron chain that holds the gadget."""
    from untrained_recon.chain import chain_xml
    from untrained_recon.config import load_config

    if execute and connect is not None:
        raise click.UsageError("either --execute or --connect")
    properties = {**({"config": config} if config else {}), **_assignments(settings)}
    load_config("fast", {key: value for key, value in properties.items() if key != "config"})  # the settings must be sound
    address = None if connect is None else _address(connect)
    click.echo(chain_xml(source, output, properties, address), nl=False)  # type: ignore[arg-type]  # click has checked both


@cli.command()
@click.option("--host", default="localhost", show_default=True, help="Where to listen; a name may mean IPv4 and IPv6.")
@click.option("--port", type=click.IntRange(0, 65535), default=9100, show_default=True)
@click.option("--device", "devices", multiple=True, metavar="cpu|cuda:N", help="Devices to fit on; default: all GPUs, or the CPU.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Fits at a time on each device.")
@click.option("--max-scans", type=click.IntRange(1), default=64, show_default=True, help="Connections at a time.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve Prometheus metrics on this port.")
@click.option("--grace", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds for running scans after SIGTERM.")
def serve(
    host: str, port: int, devices: tuple[str, ...], workers: int, max_scans: int, metrics_port: int | None, grace: float
) -> None:
    """Listen for Gadgetron chains that connect (see `chain --connect`), with warm workers, until SIGTERM."""
    import os

    import torch

    from untrained_recon.pipeline import pick_device
    from untrained_recon.pool import FitPool

    found = devices or tuple(f"cuda:{n}" for n in range(torch.cuda.device_count())) or ("cpu",)
    slots = [str(pick_device(name)) for name in found for _ in range(workers)]
    # the one place where the core starts a host of gadgets
    service_class = importlib.import_module("gadgets.service").Service
    metrics = importlib.import_module("gadgets.metrics").PrometheusMetrics(host, metrics_port) if metrics_port else None
    service = service_class(host, port, FitPool(slots, max(1, (os.cpu_count() or 1) // len(slots))), max_scans, metrics)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    logging.info("listening on %s with %d workers on %s", service.addresses, len(slots), ", ".join(found))
    service.run(grace)


@cli.group()
def bench() -> None:
    """Measure, side by side in one run."""


@bench.command("service")
@click.option(
    "--shape", callback=_shape, metavar="NYxNX", default="128x128", show_default=True, help="Lines x samples of the scan."
)
@click.option("--coils", type=click.IntRange(1, 128), default=8, show_default=True)
@click.option("--slices", type=click.IntRange(1, 1000), default=2, show_default=True)
@click.option("--connections", default="1,2,4", show_default=True, help="Numbers of scans at a time.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Fits at a time on each device.")
@click.option("--set", "settings", multiple=True, metavar="KEY.PATH=VALUE", help="Settings of the reconstruction; repeatable.")
@click.option("-o", "--output", type=FILE, help="Also write the figures as JSON.")
def bench_service_command(
    shape: tuple[int, int],
    coils: int,
    slices: int,
    connections: str,
    workers: int,
    settings: tuple[str, ...],
    output: Path | None,
) -> None:
    """Latency, overhead and throughput of the resident service beside a gadget that is started for every scan."""
    from untrained_recon.bench import bench_service
    from untrained_recon.simulate import Simulation

    simulation = Simulation(shape=shape, coils=coils, accel=4, acs=20, pattern="random", slices=slices, noise=0.01, seed=0)
    figures = bench_service(simulation, _assignments(settings), [int(n) for n in connections.split(",")], workers)
    text = json.dumps(figures, indent=2)
    click.echo(text)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Run the command line; every foreseen error is one line on stderr and exit status 1."""
    if stderr.is_terminal:
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=stderr, show_path=False)])
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwinds: nothing half-written stays
    try:
        cli()
    except (ReconError, OSError) as error:
        click.echo(f"error: {type(error).__name__}: {error}", err=True)
        sys.exit(1)


def _assignments(settings: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {setting!r} is not of the form key.path=value")
        pairs[key] = value
    return pairs


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadParameter(f"{text!r} is not of the form HOST:PORT", param_hint="--server")
    return host.strip("[]"), int(port)


def _absolute(config: str | None) -> str | None:
    """The gadget runs elsewhere: a file is named by its whole path, a preset stays a name."""
    return str(Path(config).resolve()) if config is not None and Path(config).suffix in (".yaml", ".yml") else config


def _truth_beside(raw: Path) -> Path:
    white = raw.with_suffix(".truth_white.npy")
    return white if white.exists() else raw.with_suffix(".truth.npy")


if __name__ == "__main__":
    main()
