"""Commands for files of k-space: made, looked at, converted, compared with their images."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from untrained_recon.cli.options import FILE, force_option, group_option, parse_shape
from untrained_recon.errors import ReconError

stdout = Console()


@click.command()
@click.argument("source", metavar="SRC", type=FILE)
@click.argument("target", metavar="DST", type=FILE)
@click.option(
    "--format", "form", type=click.Choice(["raw", "fastmri", "npy", "cfl"]), help="Of DST; default by ending, .h5 is raw."
)
@click.option("--accel", type=click.IntRange(2, 32), help="Leave lines out; raw only.")
@click.option(
    "--pattern",
    type=click.Choice(["random", "equispaced", "equispaced-fraction"]),
    default="random",
    show_default=True,
    help="Of the lines kept.",
)
@click.option("--acs", type=click.FloatRange(0), default=0.08, show_default=True, help="Central lines, below 1 their share.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the pattern, with the name of SRC.")
@click.option("--mask", type=FILE, help="Lines acquired, of arrays and fastMRI files (.npy, .cfl).  [default: NAME.mask.npy]")
@group_option
@force_option
def convert(
    source: Path,
    target: Path,
    form: str | None,
    accel: int | None,
    pattern: str,
    acs: float,
    seed: int,
    mask: Path | None,
    group: str,
    force: bool,
) -> None:
    """Write the k-space of SRC (fastMRI, ISMRMRD raw, .npy, BART .cfl) to DST (.h5, .npy, .cfl).

    SRC must be fully sampled, but an array or a fastMRI file may have a mask where DST is raw data.
    """
    from untrained_recon.files.convert import convert as run
    from untrained_recon.masks import Sampling
    from untrained_recon.output import require_replaceable

    if not force:
        for place in (target, target.with_suffix(".hdr")) if target.suffix == ".cfl" else (target,):
            require_replaceable(place, lambda _: False)
    sampling = None if accel is None else Sampling(pattern, accel, acs, seed)  # type: ignore[arg-type]  # click has checked it
    images = run(source, target, form, sampling, mask, group)  # type: ignore[arg-type]  # and this
    click.echo(f"{images} images in {target}")


@click.command()
@click.option("-o", "--output", type=FILE, required=True, help="Raw file to write; the truth goes beside it.")
@click.option(
    "--shape", callback=parse_shape, metavar="NYxNX", default="256x256", show_default=True, help="Lines x samples of the image."
)
@click.option("--coils", type=click.IntRange(1, 128), default=8, show_default=True, help="Receive channels.")
@click.option("--accel", type=click.IntRange(1, 32), default=4, show_default=True, help="Acceleration.")
@click.option("--acs", type=click.IntRange(0), default=24, show_default=True, help="Fully sampled lines in the centre.")
@click.option(
    "--pattern",
    type=click.Choice(["random", "equispaced"]),
    default="random",
    show_default=True,
    help="Of the lines outside the centre.",
)
@click.option("--slices", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many.")
@click.option(
    "--noise", type=click.FloatRange(0), default=0.01, show_default=True, help="Standard deviation; the phantom is about 1."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of anatomy, pattern and noise.")
@force_option
def simulate(output: Path, force: bool, **settings: object) -> None:
    """Write a scanner-like raw file of a head phantom, and its ground truth beside it."""
    from untrained_recon.output import require_replaceable
    from untrained_recon.phantom.simulation import Simulation, beside, is_simulated
    from untrained_recon.phantom.simulation import simulate as run

    if not force:
        require_replaceable(output, is_simulated)
        for place in beside(output).values():
            require_replaceable(place, lambda _: output.is_file())
    run(output, Simulation(**settings))  # type: ignore[arg-type]  # click has checked every option
    click.echo(f"{output}, truth in {output.with_suffix('.truth.npy')}")


@click.command()
@click.argument("raw", type=FILE)
@group_option
def inspect(raw: Path, group: str) -> None:
    """Summarise RAW; the exit status is not 0 when it could not be reconstructed."""
    from untrained_recon.config import DEFAULT_PRESET, load_config
    from untrained_recon.files.convert import as_raw
    from untrained_recon.files.inspection import inspect as run
    from untrained_recon.recon.outlook import Outlook
    from untrained_recon.recon.plane import pick_device

    with as_raw(raw) as path:
        summary = run(path, group)
    table = Table(title=str(raw), show_header=False, title_justify="left")
    for label, text in summary.facts:
        table.add_row(label, text)
    config = load_config(DEFAULT_PRESET)
    for size in sorted(summary.sizes):
        table.add_row("memory", f"{Outlook.of(config, *size, pick_device('auto')).text} (by the settings of {DEFAULT_PRESET})")
    for remark in summary.remarks:
        table.add_row("note", remark)
    for problem in summary.problems:
        table.add_row("[red]problem[/red]", problem)
    stdout.print(table)
    if summary.problems:
        raise ReconError(f"{raw} cannot be reconstructed: {summary.problems[0]}")


@click.command()
@click.argument("raw", type=FILE)
@click.argument("images", type=FILE)
@click.option("--truth", type=FILE, help="(slices, y, x) .npy; default: what `simulate` left beside RAW.")
@click.option("--png", type=FILE, help="Write a panel: truth, zero-filled, ours, error maps.")
@group_option
@force_option
def compare(raw: Path, images: Path, truth: Path | None, png: Path | None, group: str, force: bool) -> None:
    """Compare the magnitude series of IMAGES, replayed from RAW, with the truth, beside the zero-filled image."""
    from untrained_recon.files.convert import as_raw
    from untrained_recon.output import require_place, require_replaceable
    from untrained_recon.study import comparison as report

    truth = truth or _truth_beside(raw)
    inputs = {"the raw data": raw, "the images": images, "the truth": truth}
    if png is not None:
        report.require_matplotlib()
        require_place(png, inputs)
        if not force:
            require_replaceable(png, report.is_panel)
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


def _truth_beside(raw: Path) -> Path:
    white = raw.with_suffix(".truth_white.npy")
    return white if white.exists() else raw.with_suffix(".truth.npy")
