"""Commands for studies: comparing methods on fully sampled data."""

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("train-unet")
@click.argument("training", type=FOLDER)
@click.argument("validation", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder for the weights, the checkpoint and the curve.")
@click.option("--accel", type=click.IntRange(2, 32), default=4, show_default=True, help="Acceleration.")
@click.option("--acs", type=click.FloatRange(0), default=0.08, show_default=True, help="ACS lines; below 1 their share of all.")
@click.option("--epochs", type=click.IntRange(1), default=50, show_default=True)
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
def train_unet(
    training: Path,
    validation: Path,
    output: Path,
    accel: int,
    acs: float,
    device: str,
    workers: int,
    resume: bool,
    **settings: object,
) -> None:
    """Train the baseline U-net on the fully sampled k-space files of the folders TRAINING and VALIDATION, with random masks."""
    from untrained_recon.masks import Sampling
    from untrained_recon.pipeline import pick_device
    from untrained_recon.study.files import find_volumes, open_volume
    from untrained_recon.study.pairs import SlicePairs
    from untrained_recon.study.train_unet import Training
    from untrained_recon.study.train_unet import train_unet as run

    how = Training(**settings)  # type: ignore[arg-type]  # click has checked every option
    sampling = Sampling("random", accel, acs, how.seed)
    train, validate = (SlicePairs(find_volumes(folder), open_volume, sampling.lines) for folder in (training, validation))
    run(train, validate, output, how, pick_device(device), resume=resume, workers=workers)
    click.echo(f"weights in {output / 'unet.pt'}, losses in {output / 'curve.csv'}")
