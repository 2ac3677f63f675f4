"""Commands for files of k-space."""

from pathlib import Path

import click

from untrained_recon.cli.options import FILE, group_option


@click.command()
@click.argument("source", metavar="SRC", type=FILE)
@click.argument("target", metavar="DST", type=FILE)
@click.option(
    "--format", "form", type=click.Choice(["raw", "fastmri", "npy", "cfl"]), help="Of DST; default by ending, .h5 is raw."
)
@click.option("--accel", type=click.IntRange(2, 32), help="Leave lines out; raw only.")
@click.option("--pattern", type=click.Choice(["random", "equispaced", "equispaced-fraction"]), default="random", show_default=True)
@click.option("--acs", type=click.FloatRange(0), default=0.08, show_default=True, help="Central lines, below 1 their share.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the pattern, with the name of SRC.")
@click.option("--mask", type=FILE, help="Lines acquired, of arrays and fastMRI files (.npy, .cfl).  [default: NAME.mask.npy]")
@group_option
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
) -> None:
    """Write the k-space of SRC (fastMRI, ISMRMRD raw, .npy, BART .cfl) to DST (.h5, .npy, .cfl).

    SRC must be fully sampled, but an array or a fastMRI file may have a mask where DST is raw data.
    """
    from untrained_recon.files.convert import convert as run
    from untrained_recon.masks import Sampling

    sampling = None if accel is None else Sampling(pattern, accel, acs, seed)  # type: ignore[arg-type]  # click has checked it
    images = run(source, target, form, sampling, mask, group)  # type: ignore[arg-type]  # and this
    click.echo(f"{images} images in {target}")
