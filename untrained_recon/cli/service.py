"""Commands for a site's server: chains, benchmarks."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from untrained_recon.bench.figures import is_figures, stamped
from untrained_recon.cli.options import (
    FILE,
    complete_presets,
    force_option,
    parse_address,
    parse_assignments,
    parse_counts,
    parse_shape,
    settings_option,
)
from untrained_recon.config import DEFAULT_PRESET, load_config
from untrained_recon.output import require_place, require_replaceable, write_text

PORTS = {"gadgetron": 9100, "mrd": 9002}


@click.command()
@click.option(
    "--input",
    "source",
    type=click.Choice(["acquisitions", "buckets", "buffers"]),
    default="buffers",
    show_default=True,
    help="What Gadgetron hands over.",
)
@click.option("--output", type=click.Choice(["float", "uint16", "complex"]), default="uint16", show_default=True, help="Pixels.")
@click.option("--execute", is_flag=True, help="Gadgetron starts the gadget for every scan (the default).")
@click.option("--connect", metavar="HOST:PORT", help="Gadgetron connects to a gadget that listens there.")
@click.option(
    "--config", shell_complete=complete_presets, metavar="NAME|FILE.yaml", help="Preset, or YAML file on the gadget's machine."
)
@settings_option("Setting for the chain")
@click.option(
    "--check", "checked", type=FILE, help="Check this chain instead, where it will run; the exit status is 1 for a fault."
)
def chain(
    source: str,
    output: str,
    execute: bool,
    connect: str | None,
    config: str | None,
    settings: tuple[str, ...],
    checked: Path | None,
) -> None:
    """Print a Gadgetron chain that holds the gadget, or check one."""
    from untrained_recon.host.chain import chain_xml

    if checked is not None:
        _check_chain(checked)
        return
    if execute and connect is not None:
        raise click.UsageError("either --execute or --connect")
    properties = {**({"config": config} if config else {}), **parse_assignments(settings)}
    load_config("fast", {key: value for key, value in properties.items() if key != "config"})  # the settings must be sound
    address = None if connect is None else parse_address(connect)
    click.echo(chain_xml(source, output, properties, address), nl=False)  # type: ignore[arg-type]  # click has checked both


def _check_chain(path: Path) -> None:
    from untrained_recon.host.chaincheck import check_chain
    from untrained_recon.host.exchange import query

    remarks = check_chain(path, query)
    for remark in remarks:
        click.echo(f"{'fault' if remark.fault else 'note'}: {remark.text}")
    if any(remark.fault for remark in remarks):
        sys.exit(1)
    click.echo(f"{path}: no fault found")


@click.group()
def bench() -> None:
    """Measure, side by side in one run."""


@bench.command("speed")
@click.option("--shape", callback=parse_shape, metavar="NYxNX", help="Matrix.  [default: 128x128; on a GPU 368x640]")
@click.option("--coils", type=click.IntRange(1, 128), help="Receive channels.  [default: 8; 15]")
@click.option("--layers", type=click.IntRange(2, 18), help="Layers of the network.  [default: 5; 8]")
@click.option("--channels", type=click.IntRange(1, 1024), help="Channels of its layers.  [default: 64; 256]")
@click.option("--iterations", type=click.IntRange(3), help="Iterations of each timed fit.  [default: 10; 30]")
@click.option("--paper-iterations", type=click.IntRange(3), help="Iterations of the paper's fit.  [default: 300; 3000]")
@click.option("--compile/--no-compile", "compiled", default=None, help="Also with torch.compile.  [default: on a GPU]")
@click.option(
    "--config",
    "preset",
    shell_complete=complete_presets,
    default=DEFAULT_PRESET,
    show_default=True,
    help="Preset or YAML file of the whole images.",
)
@settings_option("Settings of the whole images")
@click.option("--device", default="auto", metavar="auto|cpu|cuda:N", show_default=True, help="Where to fit.")
@click.option("-o", "--output", type=FILE, help="Also write the figures as JSON.")
@force_option
def bench_speed_command(
    paper_iterations: int | None,
    compiled: bool | None,
    preset: str,
    settings: tuple[str, ...],
    device: str,
    output: Path | None,
    force: bool,
    **sizes: Any,
) -> None:
    """The fit beside the plain float32 loop, its share of the arithmetic peak, memory, growth, an image end to end, and the time to
    the quality of the paper's fit.

    On a GPU the case is the paper's network for 4x accelerated knees; on a CPU a small one.
    """
    from untrained_recon.bench.fits import Case
    from untrained_recon.bench.speed import bench_speed
    from untrained_recon.recon.plane import pick_device

    _require_output(output, force)
    where = pick_device(device)
    gpu = where.type == "cuda"
    case = Case((368, 640), 15, 8, 256, (5, 10), 30) if gpu else Case((128, 128), 8, 5, 64, (8, 8), 10)
    case = replace(case, **{name: size for name, size in sizes.items() if size is not None})
    config = load_config(preset, parse_assignments(settings))
    _report(
        bench_speed(case, config, where, paper_iterations or (3000 if gpu else 300), gpu if compiled is None else compiled), output
    )


@bench.command("gpu")
@click.option("--device", default="auto", metavar="auto|cpu|cuda:N", show_default=True, help="On a CPU all is small, to try it.")
@click.option("--budget-s", type=click.FloatRange(0), default=240.0, show_default=True, help="Seconds after which no step begins.")
@click.option("-o", "--output", type=FILE, required=True, help="JSON, written again after every step.")
@force_option
def bench_gpu_command(device: str, budget_s: float, output: Path, force: bool) -> None:
    """What a GPU is to reach, each figure beside its target, in one call of at most five minutes."""
    from untrained_recon.bench.gpu import bench_gpu
    from untrained_recon.recon.plane import pick_device

    _require_output(output, force)
    _report(bench_gpu(pick_device(device), output, budget_s), None)


@bench.command("service")
@click.option(
    "--shape", callback=parse_shape, metavar="NYxNX", default="128x128", show_default=True, help="Lines x samples of the scan."
)
@click.option("--coils", type=click.IntRange(1, 128), default=8, show_default=True, help="Receive channels.")
@click.option("--slices", type=click.IntRange(1, 1000), default=2, show_default=True, help="Of each scan.")
@click.option("--connections", default="1,2,4", show_default=True, help="Numbers of scans at a time.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Fits at a time on each device.")
@settings_option("Settings of the reconstruction")
@click.option("-o", "--output", type=FILE, help="Also write the figures as JSON.")
@force_option
def bench_service_command(
    shape: tuple[int, int],
    coils: int,
    slices: int,
    connections: str,
    workers: int,
    settings: tuple[str, ...],
    output: Path | None,
    force: bool,
) -> None:
    """Latency, overhead and throughput of the resident service beside a gadget that is started for every scan."""
    from untrained_recon.bench.service import bench_service
    from untrained_recon.phantom.simulation import Simulation

    _require_output(output, force)
    simulation = Simulation(shape=shape, coils=coils, accel=4, acs=20, pattern="random", slices=slices, noise=0.01, seed=0)
    figures = bench_service(simulation, parse_assignments(settings), parse_counts(connections), workers)
    _report(figures, output)


def _require_output(output: Path | None, force: bool) -> None:
    if output is not None:
        require_place(output)
        if not force:
            require_replaceable(output, is_figures)


def _report(figures: Mapping[str, object], output: Path | None) -> None:
    text = json.dumps(stamped(figures), indent=2)
    click.echo(text)
    if output is not None:
        write_text(output, text + "\n")
