"""What all targets share: where the data are, where results go, and how much of the paper's effort is made."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from untrained_recon.config import Config, load_config
from untrained_recon.files.open import find_volumes, open_volume
from untrained_recon.files.sampling import sample
from untrained_recon.masks import Sampling
from untrained_recon.study.evaluate import Plan, evaluate
from untrained_recon.study.kept import Kept, keep
from untrained_recon.study.resolution import LowResolution
from untrained_recon.study.results import Row
from untrained_recon.types import ComplexArray, KSpace
from untrained_recon.workers.share import Engine

ACS = {4: 0.08, 8: 0.04}
"""Share of the lines in the ACS block by acceleration (fastMRI)."""

SEED = 0
"""Of masks and of the first fit."""


@dataclass(frozen=True)
class Reduction:
    """How far ``--quick`` goes below the paper's effort.

    Attributes:
        resolution: Lines and samples of k-space to keep at most.
        channels: Channels of the ConvDecoder; other networks become narrower by the same factor.
        iterations: Of a fit, at most.
        images: Images of a table or figure, at most.
        runs: Fits of the same image from different seeds, at most.
        grid_iterations: Of a fit of a grid search, which looks at a single image.
        kernel_width: Of ESPIRiT in k-space, as narrow ACS blocks need it.
        acs: Lines of the ACS block by acceleration.
        unet_epochs: Of the training of a small U-net.
    """

    resolution: int = 96
    channels: int = 32
    iterations: int = 200
    images: int = 3
    runs: int = 4
    grid_iterations: int = 50
    kernel_width: int = 4
    acs: Mapping[int, int] = field(default_factory=lambda: {4: 10, 8: 8})
    unet_epochs: int = 20


def _ignore(*_: object) -> None:
    """Take no notice."""


@dataclass(frozen=True)
class Context:
    """A run of one or several targets.

    Attributes:
        data: Folder of fully sampled k-space, see :func:`untrained_recon.files.open.find_volumes`.
        output: Folder for results; every target has one of its own in it.
        device: Where to compute.
        reduction: None for the paper's effort.
        unet_weights: Weights of a trained U-net.
        follow: Told of every new row of an evaluation.
        engine: Workers that compute instead of this process and its device.
        count: Told how many images or fits are done, of how many.
        used: Settings of the methods that were evaluated so far.
        made: Rows of the evaluations so far, by target.
    """

    data: Path
    output: Path
    device: torch.device
    reduction: Reduction | None = None
    unet_weights: Path | None = None
    follow: Callable[[Row], None] = _ignore
    engine: Engine | None = None
    count: Callable[[int, int], None] = _ignore
    used: dict[str, Config] = field(default_factory=dict, init=False)
    made: dict[str, list[Row]] = field(default_factory=dict, init=False)

    def for_workers(self) -> "Context":
        """What a worker needs of it, to be pickled."""
        return replace(self, follow=_ignore, engine=None, count=_ignore)

    def paths(self, paper: int) -> list[Path]:
        """The first files of the folder by name: as many as the paper has images (or volumes), if there are."""
        return find_volumes(self.data)[: self.images(paper)]

    def images(self, paper: int) -> int:
        """How many images to take where the paper takes ``paper``."""
        return min(paper, self.reduction.images) if self.reduction else paper

    def runs(self, paper: int) -> int:
        """How many seeds to fit where the paper fits ``paper``."""
        return min(paper, self.reduction.runs) if self.reduction else paper

    @property
    def resolution(self) -> int:
        """Lines and samples of k-space to keep at most; 0 keeps all."""
        return self.reduction.resolution if self.reduction else 0

    def sampling(self, accel: int) -> Sampling:
        """The paper's masks: random, with fastMRI's ACS block."""
        return Sampling("random", accel, self.reduction.acs[accel] if self.reduction else ACS[accel], SEED)

    def config(self, preset: str, overrides: Mapping[str, object] | None = None) -> Config:
        """A preset with changes, reduced where this run is."""
        changes = {path: json.dumps(value) for path, value in (overrides or {}).items()}
        full = load_config(preset, changes)
        if self.reduction is None:
            return full
        smaller = {
            "network.channels": self.channels(preset, full.network.channels),
            "fit.iterations": min(self.reduction.iterations, full.fit.iterations),
            "maps.kernel_width": self.reduction.kernel_width,
        }
        return load_config(preset, changes | {path: json.dumps(value) for path, value in smaller.items()})

    def channels(self, preset: str, channels: int) -> int:
        """The paper's number of channels, reduced as that of the ConvDecoder for the same scans is."""
        if self.reduction is None:
            return channels
        scans = "-".join(preset.split("-")[:2])  # knee-4x-dip: knee-4x
        return max(2, round(channels * min(1.0, self.reduction.channels / load_config(scans).network.channels)))

    def evaluate(
        self, target: str, methods: Mapping[Path, Mapping[str, Config]], accel: int, slices: Literal["middle", "all"] = "middle"
    ) -> list[Row]:
        """Evaluate on each file its methods, or what is left to do of it; rows and images are kept in the target's folder."""
        sampling = [self.sampling(accel)]
        plans = [Plan([path], dict(each), sampling, slices, self.resolution) for path, each in methods.items()]
        folder = self.output / target
        rows = evaluate(plans, folder, self.device, self.follow, engine=self.engine, count=self.count)
        for each in methods.values():
            self.used.update(each)
        self.made.setdefault(target, []).extend(rows)
        return rows

    def keep(self, arrays: Sequence[Kept]) -> None:
        """Have arrays made that are not there yet."""
        keep(arrays, self.device, self.engine, self.count)

    def middle_image(self, path: Path, accel: int) -> tuple[ComplexArray, KSpace]:
        """The middle image of a file: its k-space ``(n_coils, n_y, n_x)``, and what is left of it after undersampling."""
        with open_volume(path) as full:
            volume = LowResolution(full, self.resolution) if self.resolution else full
            item = len(volume) // 2
            ksp = volume[item]
            return ksp, sample(ksp, self.sampling(accel).lines(ksp.shape[1], volume.name), volume, item)

    def data_note(self, paper: str, paths: Sequence[Path]) -> str:
        """What the paper has looked at, and what is looked at here."""
        names = ", ".join(path.name for path in paths)
        return (
            f"Paper: {paper}. Here: {len(paths)} file(s): {names}. Unless these are the paper's own, this is a comparison in kind, "
            "not of the same images."
        )

    def reductions(self, presets: Mapping[str, str] | None = None) -> Iterator[str]:
        """What is less than the preset asks for, method by method; nothing where nothing is.

        Args:
            presets: The preset of every method.
        """
        reduction = self.reduction
        if reduction is None:
            return
        acs = ", ".join(f"{lines} lines at {accel}x" for accel, lines in reduction.acs.items())
        yield (
            f"Reduced (--quick): the central {reduction.resolution} lines and samples of k-space at most; ACS block of {acs}; "
            f"ESPIRiT kernel of {reduction.kernel_width} samples; at most {reduction.images} images and {reduction.runs} seeds."
        )
        for method, preset in (presets or {}).items():
            full, small = load_config(preset), self.config(preset)
            yield (
                f"Reduced (--quick): {method} ({preset}): {full.network.channels} → {small.network.channels} channels, "
                f"{full.fit.iterations} → {small.fit.iterations} iterations."
            )
