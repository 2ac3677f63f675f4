"""Images in the formats of others: a command of its own, and options of the commands that make images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from untrained_recon.cli.options import FILE, Command, force_option
from untrained_recon.files.export import FORMATS, require_format, require_target
from untrained_recon.files.export import export as run

TARGET = click.Path(path_type=Path)
like_option = click.option(
    "--like", type=FILE, help="DICOM file of the same scan: patient, study, frame of reference. For --dicom."
)


@click.command()
@click.argument("images", metavar="IMAGES.h5", type=FILE)
@click.option(
    "-o", "--output", type=TARGET, required=True, metavar="DIR|FILE", help="Folder to write to; or a file, of magnitudes."
)
@like_option
@force_option
@click.option("--group", default="", metavar="NAME", help="Group of IMAGES.h5.  [default: dataset, or the only one with images]")
def export(images: Path, output: Path, like: Path | None, force: bool, group: str, form: str | None) -> None:
    """Write the images of IMAGES.h5 (ours, or a Gadgetron's) in another format."""
    if form is None:
        raise click.UsageError(f"name a format: {', '.join(f'--{name}' for name in FORMATS)}")
    count = run(images, output, form, like, group, force)
    click.echo(f"{count} file{'s' if count > 1 else ''} in {output}" if output.is_dir() else f"{output}")


for _name, _row in FORMATS.items():
    export = click.option(f"--{_name}", "form", flag_value=_name, help=_row.about)(export)


def export_options(command: Command) -> Command:
    """Options ``--dicom DIR`` and so on, ``--like`` and ``--force``; the command gets them as keyword arguments."""
    for name, row in reversed(FORMATS.items()):
        ending = f"|*{row.ending}" if row.ending else ""
        command = click.option(f"--{name}", type=TARGET, metavar=f"DIR{ending}", help=f"Also write {row.about}")(command)
    return like_option(force_option(command))


def require_exports(images: Path, options: Mapping[str, Any], inputs: Mapping[str, Path | None]) -> None:
    """What can be told of the options before the images are there.

    Args:
        images: Where they will be.
        options: Of the command.
        inputs: Files that nothing may replace, see :func:`untrained_recon.output.require_place`.

    Raises:
        MissingExtraError: What a format needs is not installed.
        RawFileError: It cannot be written there.
    """
    if options["like"] is not None and options["dicom"] is None:
        raise click.UsageError("--like goes with --dicom")
    places = {images.resolve()}
    for form in FORMATS:
        if options[form] is not None:
            require_format(form)
            require_target(form, options[form], inputs, options["force"])
            if options[form].resolve() in places:
                raise click.UsageError(f"{options[form]} is named twice; every output needs a place of its own")
            places.add(options[form].resolve())


def write_exports(images: Path, options: Mapping[str, Any]) -> None:
    """Write the images in every format that is asked for."""
    for form in FORMATS:
        if options[form] is not None:
            run(images, options[form], form, options["like"] if form == "dicom" else None, force=options["force"])
