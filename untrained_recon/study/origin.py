"""Where the figures of a report come from: command, time, machine, versions and settings."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import NamedTuple

import torch

from untrained_recon import __version__
from untrained_recon.config import Config, load_config, preset_names


class Settings(NamedTuple):
    """A method's settings as a page shows them; ``changes`` are those to the preset of its name, or else to the defaults."""

    method: str
    config: str
    hash: str
    changes: dict[str, str]
    all: dict[str, str]


@dataclass(frozen=True)
class Origin:
    """What a page says of its making.

    Attributes:
        command: As it was typed, if it was.
        methods: Settings by the names under which methods are reported; ``method@λ`` stand together.
        device: Where it was computed.
    """

    command: str = ""
    methods: Mapping[str, Config] = field(default_factory=dict)
    device: torch.device | None = None

    def facts(self) -> dict[str, str]:
        """Date, versions and machine."""
        device = "" if self.device is None else str(self.device)
        if device.startswith("cuda"):
            device += f" ({torch.cuda.get_device_name(self.device)})"
        return {
            "made": datetime.now(timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "version": f"untrained-recon {__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}",
            "computed on": ", ".join(filter(None, (device, platform.machine(), platform.system()))),
        }

    def settings(self) -> Iterator[Settings]:
        """Of every method; of several that differ in λ alone, one."""
        grids: dict[tuple[str, str], list[str]] = {}
        for name, config in self.methods.items():
            grid, at, _ = name.partition("@")
            grids.setdefault((grid, config.digest({"name", "baseline"})) if at else (name, ""), []).append(name)
        for (grid, _), names in grids.items():
            config = self.methods[names[0]]
            values = config.assignments()
            changes = {key: value for key, value in values.items() if _reference(config.name).get(key) != value and key != "name"}
            if len(names) == 1:
                yield Settings(names[0], config.name, config.hash, changes, values)
                continue
            lamdas = ", ".join(f"{self.methods[name].baseline.lamda:g}" for name in names)
            yield Settings(f"{grid}@λ", config.name, "", changes | {"baseline.lamda": lamdas}, values)


def _reference(name: str) -> dict[str, str]:
    return (load_config(name) if name in preset_names() else Config()).assignments()
