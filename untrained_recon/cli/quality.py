"""The command `bench quality`."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import click
from rich.console import Console
from rich.table import Column, Table

from untrained_recon.cli.bar import Bar
from untrained_recon.cli.options import command_line, force_option
from untrained_recon.cli.study import FOLDER, STUDY_MARKS, row_line, volumes_of
from untrained_recon.cli.workers import engine_of, worker_options
from untrained_recon.errors import EvaluationError
from untrained_recon.extras import REPORT, require_modules
from untrained_recon.masks import Pattern
from untrained_recon.output import require_own_folder

if TYPE_CHECKING:
    from untrained_recon.bench.quality.contest import Comparison

QUICK_RESOLUTION = 96
WIDE = 180  # columns of a file or pipe
NEEDED = ("pandas", "skimage", "torchmetrics")  # modules of the extra


@click.command("quality")
@click.argument("data", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=FOLDER,
    required=True,
    help="Folder for this run's images, JSON and CSV; resumed if it exists. One for each resolution.",
)
@click.option("--accel", "accels", type=click.IntRange(2, 32), multiple=True, default=[4, 8], show_default=True, help="Repeatable.")
@click.option(
    "--pattern",
    "patterns",
    type=click.Choice(get_args(Pattern)),
    multiple=True,
    default=["random", "equispaced"],
    show_default=True,
    help="Repeatable.",
)
@click.option("--acs", type=click.FloatRange(0), default=0.08, show_default=True, help="ACS lines; below 1 their share of all.")
@click.option(
    "--mask-seed",
    "seeds",
    type=click.IntRange(0),
    multiple=True,
    default=[0],
    show_default=True,
    help="Of the masks, and of the methods; repeatable.",
)
@click.option("--resolution", type=click.IntRange(0), default=0, help="Lines and samples to keep of every image; 0: all.")
@click.option(
    "--quick",
    is_flag=True,
    help="Minutes on two CPU cores: 96 lines and samples, every other λ, published networks with --budget-s only.",
)
@click.option(
    "--fold",
    "folds",
    type=click.FloatRange(0.3, 1, max_open=True),
    multiple=True,
    help="Every image also folded to this share of its field of view along y; repeatable.",
)
@click.option("--network-only", is_flag=True, help="Also our network without its refinement.")
@click.option("--again", is_flag=True, help="Do ours again, after a change of its code; the others' results stay.")
@click.option("--slices", type=click.Choice(["middle", "all"]), default="middle", show_default=True, help="Of each volume.")
@click.option(
    "--budget-s", type=click.FloatRange(0), default=0.0, help="Seconds for a fit of the published networks; 0: all iterations."
)
@worker_options("one, in this process")
@force_option
def bench_quality_command(
    data: tuple[Path, ...],
    output: Path,
    accels: tuple[int, ...],
    patterns: tuple[Pattern, ...],
    acs: float,
    seeds: tuple[int, ...],
    resolution: int,
    quick: bool,
    folds: tuple[float, ...],
    network_only: bool,
    again: bool,
    slices: Literal["middle", "all"],
    budget_s: float,
    devices: tuple[str, ...],
    workers: int | None,
    dask: str | None,
    slurm: str | None,
    force: bool,
) -> None:
    """Image quality beside conventional methods tuned by the truth and published networks, on the fully sampled k-space of DATA."""
    require_modules(NEEDED, "bench", "bench quality")
    require_modules(REPORT, "report", "the page of bench quality")
    from untrained_recon.bench.quality import contenders
    from untrained_recon.bench.quality.contest import compare
    from untrained_recon.bench.quality.page import write_page
    from untrained_recon.masks import Sampling
    from untrained_recon.recon.plane import pick_device
    from untrained_recon.study.evaluate import Plan
    from untrained_recon.study.origin import Origin

    if not force:
        require_own_folder(output, STUDY_MARKS)
    engine = engine_of(devices, workers, dask, slurm, output.resolve() / "slurm", "bench quality")
    paths = volumes_of(data, engine)
    samplings = [Sampling(pattern, accel, acs, seed) for pattern in patterns for accel in accels for seed in seeds]
    budget = None if quick and not budget_s else budget_s
    methods = contenders.contenders(budget, network_only, contenders.FACTORS[:: 2 if quick else 1])
    plan = Plan(
        paths,
        methods,
        samplings,
        slices,
        resolution or QUICK_RESOLUTION * quick,
        prewhiten=True,
        trace=True,
        shares=(1.0, *folds),
        seeded=True,
        again=(contenders.OURS, contenders.OURS_BEST, contenders.NETWORK) if again else (),
    )
    device = pick_device(devices[0] if devices else "auto")
    with Bar("images") as bar:
        found = compare(plan, output, device, lambda row: click.echo(row_line(row), err=True), engine=engine, count=bar.count)
    _show(found, Console())
    page = write_page(found, output, Origin(command_line(), methods, device))
    click.echo(f"figures in {output / 'quality.json'} and {output / 'quality.csv'}, with images in {page}")
    if found.failures:
        raise EvaluationError(f"{len(found.failures)} images failed; {output / 'quality.json'} names them")


def _show(found: "Comparison", console: Console) -> None:
    from untrained_recon.bench.quality.notes import NOTES
    from untrained_recon.bench.quality.tables import sheets

    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    for sheet in sheets(found):
        first, *others = sheet.header
        table = Table(Column(first, no_wrap=True), *others, title=sheet.title)
        for row in sheet.rows:
            table.add_row(*(cell if isinstance(cell, str) else f"{cell.text}\n{cell.note}".strip() for cell in row))
        console.print(table)
    console.print("The 95 % interval of a mean stands below it.")
    for note in NOTES:
        console.print(f"- {note}", highlight=False)
