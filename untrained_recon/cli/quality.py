"""The command `bench quality`."""

import math
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click
from rich.console import Console
from rich.table import Column, Table

from untrained_recon.cli.study import FOLDER, row_line
from untrained_recon.errors import EvaluationError
from untrained_recon.extras import require_modules
from untrained_recon.masks import Pattern

if TYPE_CHECKING:
    import pandas

    from untrained_recon.bench.quality.contest import Comparison

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
@click.option("--mask-seed", "seeds", type=click.IntRange(0), multiple=True, default=[0], show_default=True, help="Repeatable.")
@click.option("--resolution", type=click.IntRange(0), default=0, help="Lines and samples to keep of every image; 0: all.")
@click.option("--slices", type=click.Choice(["middle", "all"]), default="middle", show_default=True, help="Of each volume.")
@click.option(
    "--budget-s", type=click.FloatRange(0), default=0.0, help="Seconds for a fit of the published networks; 0: all iterations."
)
@click.option("--device", metavar="auto|cpu|cuda[:N]", default="auto", show_default=True, help="Where the networks are fitted.")
def bench_quality_command(
    data: tuple[Path, ...],
    output: Path,
    accels: tuple[int, ...],
    patterns: tuple[Pattern, ...],
    acs: float,
    seeds: tuple[int, ...],
    resolution: int,
    slices: Literal["middle", "all"],
    budget_s: float,
    device: str,
) -> None:
    """Image quality beside conventional methods tuned by the truth and published networks, on the fully sampled k-space of DATA."""
    require_modules(NEEDED, "bench", "bench quality")
    from untrained_recon.bench.quality.contest import compare, contenders
    from untrained_recon.files.open import find_volumes
    from untrained_recon.masks import Sampling
    from untrained_recon.recon.plane import pick_device
    from untrained_recon.study.evaluate import Plan

    paths = [path for given in data for path in (find_volumes(given) if given.is_dir() else [given])]
    samplings = [Sampling(pattern, accel, acs, seed) for pattern in patterns for accel in accels for seed in seeds]
    plan = Plan(paths, contenders(budget_s), samplings, slices, resolution, prewhiten=True, trace=True)
    found = compare(plan, output, pick_device(device), lambda row: click.echo(row_line(row), err=True))
    _show(found, Console())
    click.echo(f"figures in {output / 'quality.json'} and {output / 'quality.csv'}")
    if found.failures:
        raise EvaluationError(f"{len(found.failures)} images failed; {output / 'quality.json'} names them")


def _show(found: "Comparison", console: Console) -> None:
    from untrained_recon.bench.quality.contest import NOTES
    from untrained_recon.bench.quality.oracles import FLOOR
    from untrained_recon.metrics import OURS, PAPER

    console.print(_each_image(found.images))
    for sampling, means in found.means.groupby("sampling", sort=False):
        differences = found.differences[found.differences["sampling"] == sampling]
        for convention in (OURS.name, PAPER.name, FLOOR):
            console.print(_table(f"{sampling}, convention {convention}: means", means, convention))
            console.print(_table(f"{sampling}, convention {convention}: ours minus each", differences, convention))
    console.print("± is half of the 95 % interval of the mean.")
    console.print(_medians(found.medians))
    console.print(_targets(found.targets))
    for note in NOTES:
        console.print(f"- {note}", highlight=False)


def _each_image(images: "pandas.DataFrame") -> Table:
    """Every image: PSNR of ours beside the best oracle, and differences to the highest scores of all oracles."""
    from untrained_recon.bench.quality.contest import OURS
    from untrained_recon.bench.quality.oracles import CHOSEN, FLOOR_CHOSEN, SSIM, best_oracles, highest_oracles
    from untrained_recon.study.summary import IMAGE

    names = (
        "image",
        "sampling",
        "ours",
        "best oracle",
        "",
        "ours - best",
        "SSIM: ours - highest",
        "PSNR with floor: ours - highest",
    )
    table = Table(*names, title=f"PSNR in dB ({CHOSEN}) and differences")
    parts = images[images["method"] == OURS], best_oracles(images), highest_oracles(images)
    ours, best, highest = (rows.set_index(IMAGE).to_dict("index") for rows in parts)
    for key in [key for key in best if key in ours]:
        volume, item, sampling = key
        gain = {score: ours[key][score] - highest[key][score] for score in (CHOSEN, FLOOR_CHOSEN, SSIM)}
        name = f"{best[key]['method']}, λ {best[key]['lamda']:g}"
        psnrs = f"{ours[key][CHOSEN]:.2f}", f"{best[key][CHOSEN]:.2f}", name, f"{gain[CHOSEN]:+.2f}"
        table.add_row(f"{volume}, {item}", sampling, *psnrs, f"{gain[SSIM]:+.3f}", f"{gain[FLOOR_CHOSEN]:+.2f}")
    return table


def _table(title: str, figures: "pandas.DataFrame", convention: str) -> Table:
    """A row for every method, a column for every score of a convention and for the seconds."""
    scores = [score for score in figures["score"].unique() if score == "seconds" or score.startswith(f"{convention}, ")]
    table = Table(Column("method", no_wrap=True), *(score.removeprefix(f"{convention}, ") for score in scores), title=title)
    cells = {(row["method"], row["score"]): _cell(row) for row in figures.to_dict("records")}
    for method in figures["method"].unique():
        table.add_row(method, *(cells[method, score] for score in scores))
    return table


def _medians(medians: "pandas.DataFrame") -> Table:
    names = ("sampling", "method", "to the quality of", "seconds", "its seconds", "reached")
    table = Table(*names, title="Seconds to the quality at which each other method ends, medians")
    for row in medians.to_dict("records"):
        seconds = f"{row['seconds']:.1f}" if math.isfinite(row["seconds"]) else "never"
        reached = f"{row['reached']} of {row['images']}"
        table.add_row(row["sampling"], row["method"], row["peer"], seconds, f"{row['peer_seconds']:.1f}", reached)
    return table


def _targets(targets: "pandas.DataFrame") -> Table:
    names = ("R", "view", "PSNR", "met", "SSIM no lower", "both", "worst PSNR", "of", "worst SSIM", "of")
    table = Table(*names, title="Targets: ours above the highest of the oracles, images and masks")
    for row in targets.to_dict("records"):
        counts = (f"{row[name]} of {row['images']}" for name in ("psnr_met", "ssim_met", "both_met"))
        worst = f"{row['worst_psnr']:+.2f}", row["worst_psnr_at"], f"{row['worst_ssim']:+.3f}", row["worst_ssim_at"]
        table.add_row(str(row["acceleration"]), row["view"], f"≥ {row['margin']:g} dB", *counts, *worst)
    return table


def _cell(row: dict[Hashable, Any]) -> str:
    digits = 2 if row["score"].endswith("psnr") else 1 if row["score"] == "seconds" else 3
    mean, half = (f"{value:.{digits}f}" for value in (row["mean"], row["high"] - row["mean"]))
    return "–" if mean == "nan" else mean if half == "nan" else f"{mean} ± {half}"
