"""Write docs/configuration.md from the schema of the settings and the presets: ``python docs/generate.py``."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from untrained_recon.config import DEFAULT_PRESET, load_config, preset_names

PAGE = Path(__file__).with_name("configuration.md")

HEAD = """\
# Configuration

This page is generated from the schema and the presets: `python docs/generate.py`.

A configuration is a preset or a YAML file, and changes to it:

| where | the configuration | changes |
|---|---|---|
| Python | `config="fast"` | a keyword for each section: `fit={"iterations": 100}`, `device="cpu"`, `seed=1` |
| command line | `--config NAME` or `--config FILE.yaml` | `--set fit.iterations=100` |
| Gadgetron chain, service | `<property name="config" value="fast"/>` | `<property name="fit.iterations" value="100"/>` |

A YAML file begins with `extends: fast`, or with another preset or file (relative to it), and holds what it changes:

```yaml
extends: fast
fit:
  iterations: 100
```

Without `extends` the schema's defaults hold, which are the paper's plain fit: 27.0 dB against 35.1 dB of `fast` on the phantom
(128×128, R = 4). Such a file is named so, in a warning and in its images: "on the schema's defaults".

Unknown keys, wrong types and values out of range are errors that name the key, before any data are read.

`untrained-recon config show NAME|HASH|FILE` prints all settings: of a preset, by its name or by the hash that images carry, of a
YAML file, and of the images in an image file. `untrained-recon replay --config IMAGES.h5` makes images again as those were made.
The hash changes with what decides an image; name, seed, device and output do not count.
"""

PRESETS = """\
## Presets

`fast` is the default. All others fit the paper's networks with its step size and loss, and do not refine; the number of iterations
is not in the paper. `authors-4x` does what the authors' code does where it differs from the paper.

| preset | network | layers | channels | iterations | step size | refinement |
|---|---|---|---|---|---|---|
"""

SETTINGS = """\
## Settings

The column of defaults is that of the default preset, `fast`.

| key | default | meaning |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, PRESETS + "\n".join(presets()) + "\n", SETTINGS + "\n".join(rows(load_config(DEFAULT_PRESET))) + "\n"])


def presets() -> Iterator[str]:
    """A row for every preset."""
    for name in preset_names():
        config = load_config(name)
        network, fit = config.network, config.fit
        steps = f"{config.refine.iterations} steps" if config.refine.iterations else "none"
        cells = (f"`{name}`", network.kind, network.layers, network.channels, fit.iterations, f"{fit.lr:g}, {fit.schedule}", steps)
        yield f"| {' | '.join(map(str, cells))} |"


def rows(section: BaseModel, prefix: str = "") -> Iterator[str]:
    """A row for every setting: its path, its value in ``section``, its description."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from rows(value, f"{prefix}{name}.")
        else:
            yield f"| `{prefix}{name}` | `{value}` | {field.description} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
