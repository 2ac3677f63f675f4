"""The command that repeats the paper."""

from pathlib import Path

import click

from untrained_recon.cli.bar import Bar
from untrained_recon.cli.options import FILE, command_line, force_option
from untrained_recon.cli.study import FOLDER, row_line
from untrained_recon.cli.workers import engine_of, worker_options
from untrained_recon.extras import REPORT, require_modules
from untrained_recon.output import require_own_folder

TARGETS = [*(f"table{n}" for n in range(1, 12)), *(f"fig{n}" for n in (6, 7, 10, 11, 12))]


@click.command()
@click.argument("target", type=click.Choice(TARGETS))
@click.option("--data", type=FOLDER, required=True, help="Folder of fully sampled k-space.")
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder for results; what is done in it is not done again.")
@click.option("--quick", is_flag=True, help="Less of everything: minutes on two CPU cores instead of days on a GPU.")
@click.option("--unet-weights", type=FILE, help="Trained U-net; with --quick a small one is trained where this is not given.")
@worker_options("one, in this process")
@force_option
def reproduce(
    target: str,
    data: Path,
    output: Path,
    quick: bool,
    unet_weights: Path | None,
    devices: tuple[str, ...],
    workers: int | None,
    dask: str | None,
    slurm: str | None,
    force: bool,
) -> None:
    """Make TARGET, a table or figure of the paper, from the k-space of a folder, the paper's numbers beside ours.

    Several commands may work on the same OUTPUT. Ctrl-C ends it with status 130 and keeps what is done.
    """
    require_modules(REPORT, "report", "reproduce")
    if not force:
        require_own_folder(output, [*TARGETS, "unet"])
    from untrained_recon.recon.plane import pick_device
    from untrained_recon.study.reproduce.context import Context, Reduction
    from untrained_recon.study.reproduce.targets import reproduce as run

    reduction = Reduction() if quick else None
    engine = engine_of(devices, workers, dask, slurm, output.resolve() / "slurm", "reproduce")
    if engine is not None:  # workers may have other folders to be in
        data, output, unet_weights = data.absolute(), output.absolute(), unet_weights and unet_weights.absolute()
    device = pick_device(devices[0] if devices else "auto")
    with Bar("images and fits") as bar:
        follow = lambda row: click.echo(row_line(row))  # noqa: E731
        text = run(target, Context(data, output, device, reduction, unet_weights, follow, engine, bar.count), command_line())
    click.echo(text)
    click.echo(f"page {output / target / target}.html")
