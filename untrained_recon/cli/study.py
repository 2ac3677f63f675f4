"""Commands for studies: comparing methods on fully sampled data."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import click

from untrained_recon.cli.bar import Bar
from untrained_recon.cli.options import command_line, complete_methods, force_option, parse_assignments
from untrained_recon.cli.workers import engine_of, worker_options
from untrained_recon.errors import ConfigError, EvaluationError
from untrained_recon.extras import REPORT, require_modules
from untrained_recon.masks import Pattern
from untrained_recon.output import require_own_folder

if TYPE_CHECKING:
    from untrained_recon.config import Config
    from untrained_recon.study.results import Row
    from untrained_recon.workers.share import Engine

LONGEST_NAME = 100
STUDY_MARKS = ("data.json", "results.csv", "claims")  # in every folder of an evaluation
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("train-unet")
@click.argument("training", type=FOLDER)
@click.argument("validation", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder for the weights, the checkpoint and the curve.")
@click.option("--accel", type=click.IntRange(2, 32), default=4, show_default=True, help="Acceleration.")
@click.option("--acs", type=click.FloatRange(0), default=0.08, show_default=True, help="ACS lines; below 1 their share of all.")
@click.option("--epochs", type=click.IntRange(1), default=50, show_default=True, help="Passes over the training images.")
@click.option(
    "--lr", type=click.FloatRange(0, 1, min_open=True), default=1e-3, show_default=True, help="First step size of RMSprop."
)
@click.option("--lr-epochs", type=click.IntRange(1), default=40, show_default=True, help="Epochs to a tenfold smaller step size.")
@click.option("--chans", type=click.IntRange(1, 1024), default=32, show_default=True, help="Channels at full resolution.")
@click.option("--pools", type=click.IntRange(1, 6), default=4, show_default=True, help="Halvings.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of masks, weights and order.")
@click.option("--device", metavar="auto|cpu|cuda[:N]", default="auto", show_default=True, help="Where to train.")
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that read ahead.")
@click.option("--resume", is_flag=True, help="Go on after the last finished epoch in the output folder.")
@force_option
def train_unet(
    training: Path,
    validation: Path,
    output: Path,
    accel: int,
    acs: float,
    device: str,
    workers: int,
    resume: bool,
    force: bool,
    **settings: object,
) -> None:
    """Train the baseline U-net on the fully sampled k-space files of the folders TRAINING and VALIDATION, with random masks."""
    from untrained_recon.files.open import find_volumes
    from untrained_recon.masks import Sampling
    from untrained_recon.recon.plane import pick_device
    from untrained_recon.study.pairs import SlicePairs
    from untrained_recon.study.train_unet import Training
    from untrained_recon.study.train_unet import train_unet as run

    if not force:
        require_own_folder(output, ("unet.pt", "checkpoint.pt"))
    how = Training(**settings)  # type: ignore[arg-type]  # click has checked every option
    sampling = Sampling("random", accel, acs, how.seed)
    train, validate = (SlicePairs(find_volumes(folder), sampling) for folder in (training, validation))
    with Bar("images of all epochs") as bar:
        run(train, validate, output, how, pick_device(device), resume=resume, workers=workers, count=bar.count)
    click.echo(f"weights in {output / 'unet.pt'}, losses in {output / 'curve.csv'}")


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option(
    "-o", "--output", type=FOLDER, required=True, help="Folder for rows, images, tables and the page; resumed if it exists."
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    required=True,
    shell_complete=complete_methods,
    metavar="NAME[=PRESET|FILE.yaml][,KEY.PATH=VALUE...]",
    help="What to evaluate: a preset, file or recon.method, with changes; repeatable. The first is what others are compared with.",
)
@click.option("--accel", "accels", type=click.IntRange(1, 32), multiple=True, default=[4], show_default=True, help="Repeatable.")
@click.option(
    "--pattern",
    "patterns",
    type=click.Choice(get_args(Pattern)),
    multiple=True,
    default=["random"],
    show_default=True,
    help="Repeatable.",
)
@click.option("--acs", type=click.FloatRange(0), default=0.08, show_default=True, help="ACS lines; below 1 their share of all.")
@click.option(
    "--kept", type=click.FloatRange(0, min_open=True), help="Sample nothing outside so many central lines; below 1 a share."
)
@click.option("--mask-seed", "seeds", type=click.IntRange(0), multiple=True, default=[0], show_default=True, help="Repeatable.")
@click.option("--slices", type=click.Choice(["middle", "all"]), default="middle", show_default=True, help="Of each volume.")
@click.option("--resolution", type=click.IntRange(0), default=0, help="Lines and samples to keep of every image; 0: all.")
@worker_options("one, in this process")
@force_option
def evaluate(
    data: tuple[Path, ...],
    output: Path,
    methods: tuple[str, ...],
    accels: tuple[int, ...],
    patterns: tuple[Pattern, ...],
    acs: float,
    kept: float | None,
    seeds: tuple[int, ...],
    slices: Literal["middle", "all"],
    resolution: int,
    devices: tuple[str, ...],
    workers: int | None,
    dask: str | None,
    slurm: str | None,
    force: bool,
) -> None:
    """Score methods on the fully sampled k-space of DATA (files and folders), undersampled by masks.

    Several commands may work on the same OUTPUT. Ctrl-C ends it with status 130 and keeps what is done.
    """
    require_modules(REPORT, "report", "evaluate")
    from untrained_recon.masks import Sampling
    from untrained_recon.recon.plane import pick_device
    from untrained_recon.study.evaluate import Plan, earlier
    from untrained_recon.study.evaluate import evaluate as run
    from untrained_recon.study.origin import Origin
    from untrained_recon.study.page import write_report

    if not force:
        require_own_folder(output, STUDY_MARKS)
    engine = engine_of(devices, workers, dask, slurm, output.resolve() / "slurm", "evaluate")
    paths = volumes_of(data, engine)
    samplings = [Sampling(pattern, accel, acs, seed, kept) for pattern in patterns for accel in accels for seed in seeds]
    plan = Plan(paths, parse_methods(methods), samplings, slices, resolution)
    device = pick_device(devices[0] if devices else "auto")
    with Bar("images") as bar:
        rows = run(plan, output, device, lambda row: click.echo(row_line(row)), engine=engine, count=bar.count)
    more = earlier(rows, output)
    page = write_report([*rows, *more], output, Origin(command_line(), plan.methods, device))
    click.echo(f"report in {page}" + (f", with {len(more)} images of earlier runs" if more else ""))
    failures = [row for row in rows if row.error]
    if failures:
        raise EvaluationError(f"{len(failures)} of {len(rows)} images failed; the report names them")


def parse_methods(texts: tuple[str, ...]) -> "dict[str, Config]":
    """Settings by name, of :func:`parse_method`. Raises ConfigError, also where a name comes twice."""
    found: dict[str, Config] = {}
    for text in texts:
        name, config = parse_method(text)
        if name in found:
            raise ConfigError(f"--method {text!r}: there is a method {name!r} already; give it another name")
        found[name] = config
    return found


def parse_method(text: str) -> "tuple[str, Config]":
    """A name and its settings: ``tv=fast,recon.method=tv``; a name alone is a preset, a file, whose stem is the name, or a
    ``recon.method`` with the preset ``fast``.

    Raises:
        ConfigError: There is no such preset or file, a setting is wrong, or the name cannot be part of a file's.
    """
    from untrained_recon.config import DEFAULT_PRESET, Method, load_config, preset_names

    named, *settings = text.split(",")
    name, _, source = named.partition("=")
    if not source and name.endswith((".yaml", ".yml")):
        name, source = Path(name).stem, name
    if not name or not name.isprintable() or "/" in name or len(name) > LONGEST_NAME:
        raise ConfigError(f"--method {text!r}: files are named after a method, and {name!r} cannot be part of a file's name")
    if not source and name in get_args(Method) and name not in preset_names():
        source, settings = DEFAULT_PRESET, [f"recon.method={name}", *settings]
    return name, load_config(source or name, parse_assignments(tuple(settings)))


def volumes_of(data: Iterable[Path], engine: "Engine | None") -> list[Path]:
    """The files that are named and those of the folders; by whole paths for workers, which may be in other folders."""
    from untrained_recon.files.open import find_volumes

    paths = [path for given in data for path in (find_volumes(given) if given.is_dir() else [given])]
    return paths if engine is None else [path.absolute() for path in paths]


def row_line(row: "Row") -> str:
    """A row of an evaluation for a person who follows it."""
    key = row.key
    where = f"{key.volume}, image {key.item}, {key.sampling}, {key.method}" if key.method else key.volume
    if row.error:
        return f"{where}: {row.error}"
    inner, whole = ("{psnr:.2f} dB, SSIM {ssim:.3f}".format(**_of(row, view)) for view in ("ours, foreground", "ours"))
    return f"{where}: foreground {inner}; whole {whole}; {row.seconds:.1f} s"


def _of(row: "Row", view: str) -> dict[str, float]:
    return {measure: row.scores[f"{view}: {measure}"] for measure in ("psnr", "ssim")}
