"""The settings of what was made before: of a preset, of a file, of an image, or by their hash."""

import re
from pathlib import Path

from pydantic import ValidationError

from untrained_recon.config import Config, load_config, preset_names
from untrained_recon.config.schema import describe
from untrained_recon.errors import ConfigError
from untrained_recon.files.images import read_images

IMAGE_FILES = (".h5", ".hdf5", ".mrd")
HASH = re.compile(r"[0-9a-f]{6,12}")


def find_config(name: str) -> Config:
    """The settings that a name stands for.

    Args:
        name: A preset, a YAML file, an image file, or the hash of a preset's settings, its first 6 digits at least.

    Raises:
        ConfigError: It is nothing of that, or the images hold no settings or different ones.
        RawFileError: The image file cannot be read.
    """
    if Path(name).suffix in IMAGE_FILES:
        return config_of_images(Path(name))
    if name not in preset_names() and HASH.fullmatch(name):
        return _preset_of(name)
    return load_config(name)


def config_of_images(path: Path) -> Config:
    """The settings in the meta attributes of an image file, see :func:`find_config`."""
    found = {str(image.meta.get("untrained_recon_settings", "")) for image in read_images(path, 0)}
    if len(found) != 1 or not (text := found.pop()):
        raise ConfigError(f"{path}: the images of series image_0 hold {'different' if len(found) > 1 else 'no'} settings")
    try:
        return Config.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error, Config)}") from error


def properties_of_images(path: Path) -> dict[str, str]:
    """Properties that make the images of a file again, as images even if a Gadgetron took arrays; see :func:`find_config`."""
    return {**config_of_images(path).assignments(), "output.form": "auto"}


def _preset_of(digits: str) -> Config:
    presets = [load_config(name) for name in preset_names()]
    for preset in presets:
        if preset.hash.startswith(digits):
            return preset
    known = ", ".join(f"{preset.name} {preset.hash}" for preset in presets)
    raise ConfigError(f"no preset's settings have the hash {digits} ({known}); images hold theirs: name the image file")
