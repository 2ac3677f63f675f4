"""Commands about settings."""

import click

from untrained_recon.cli.options import complete_presets


@click.group()
def config() -> None:
    """Look at the settings of a reconstruction."""


@config.command()
@click.argument("names", metavar="NAME|HASH|FILE...", nargs=-1, required=True, shell_complete=complete_presets)
def show(names: tuple[str, ...]) -> None:
    """Print all settings, defaults included, as YAML that --config takes.

    Of presets by their names or by the hash that images carry, of YAML files, and of the images in an image file.
    """
    import yaml

    from untrained_recon.files.made_before import find_config

    for n, name in enumerate(names):
        found = find_config(name)
        text = yaml.safe_dump(found.model_dump(), sort_keys=False, allow_unicode=True)
        click.echo(("---\n" if n else "") + f"# {name}: hash {found.hash}\n{text}", nl=False)
