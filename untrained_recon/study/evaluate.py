"""Run methods over fully sampled files, undersampled by masks, and score every image. What is done already is not done again."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from untrained_recon.config import Config
from untrained_recon.errors import FitError, ReconError
from untrained_recon.masks import Sampling
from untrained_recon.metrics import quality
from untrained_recon.pipeline import reconstruct
from untrained_recon.study.files import open_volume
from untrained_recon.study.resolution import LowResolution
from untrained_recon.study.results import CONVENTIONS, MEASURES, Key, ResultsFile, Row
from untrained_recon.study.sampling import sample, truth
from untrained_recon.study.volume import Volume
from untrained_recon.study.whiten import Prewhitened
from untrained_recon.types import FloatArray

logger = logging.getLogger(__name__)

RESULTS = "results.csv"


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated: every method on every sampling of every image.

    Attributes:
        paths: Files of fully sampled k-space, see :func:`untrained_recon.study.files.open_volume`.
        methods: Settings by the name under which a method is reported.
        samplings: How the images are undersampled.
        slices: The middle image of every file, or all of them.
        resolution: Lines and samples to keep at most of every image's k-space, about its centre; 0 keeps all.
        prewhiten: Prewhiten every image first, see :class:`untrained_recon.study.whiten.Prewhitened`.
    """

    paths: Sequence[Path]
    methods: dict[str, Config]
    samplings: Sequence[Sampling]
    slices: Literal["middle", "all"] = "middle"
    resolution: int = 0
    prewhiten: bool = False


def evaluate(plan: Plan, folder: Path, device: torch.device, follow: Callable[[Row], None] = lambda _: None) -> list[Row]:
    """Run a plan, or what is left of it.

    Args:
        plan: What is to be done.
        folder: Where results and images are, or will be: ``results.csv``, ``images/``.
        device: Where to compute.
        follow: Told of every new row.

    Returns:
        The rows of the plan, in its order; failures among them have an ``error``. Rows with an error are tried again next time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = ResultsFile(folder / RESULTS)
    known = {row.key: row for row in results.rows() if not row.error}
    found = []
    for path in plan.paths:
        for row in _evaluate_file(path, plan, folder, device, known):
            if row.key not in known:
                results.append(row)
                follow(row)
            found.append(row)
    return found


def _evaluate_file(path: Path, plan: Plan, folder: Path, device: torch.device, known: dict[Key, Row]) -> Iterator[Row]:
    try:
        with open_volume(path) as full:
            volume = Prewhitened(full) if plan.prewhiten else full
            volume = LowResolution(volume, plan.resolution) if plan.resolution else volume
            for item in range(len(volume)) if plan.slices == "all" else [len(volume) // 2]:
                keys = [_key(volume, item, sampling, method, plan) for sampling in plan.samplings for method in plan.methods]
                if all(key in known for key in keys):
                    yield from (known[key] for key in keys)
                else:
                    yield from _evaluate_image(volume, item, plan, folder, device, known)
    except ReconError as error:
        logger.exception("%s cannot be evaluated", path)
        yield _failure(Key(path.stem, -1, "", "", ""), error)


def _evaluate_image(
    volume: Volume, item: int, plan: Plan, folder: Path, device: torch.device, known: dict[Key, Row]
) -> Iterator[Row]:
    ksp = volume[item]
    reference = truth(ksp, volume.encoding)
    for sampling in plan.samplings:
        for method, config in plan.methods.items():
            key = _key(volume, item, sampling, method, plan)
            if key in known:
                yield known[key]
                continue
            _save(folder / key.truth_path, reference)
            try:
                data = sample(ksp, sampling.lines(ksp.shape[1], volume.name), volume, item)
                recon = reconstruct(data, config, device)
                if recon.fallback_reason:
                    raise FitError(recon.fallback_reason)  # another method's image would be scored under this one's name
            except ReconError as error:
                logger.exception("%s, image %d, %s, %s", volume.path, item, sampling.label, method)
                yield _failure(key, error)
                continue
            _save(folder / key.image_path, recon.magnitude)
            yield Row(key, data.acceleration, recon.seconds, recon.iterations, "", scores(recon.magnitude, reference))


def scores(img: FloatArray, reference: FloatArray) -> dict[str, float]:
    """A value for each of :data:`untrained_recon.study.results.SCORES`, of images ``(n_y, n_x)``."""
    found = {convention.name: quality(img, reference, convention) for convention in CONVENTIONS}
    return {f"{name}: {measure}": getattr(values, measure) for name, values in found.items() for measure in MEASURES}


def _key(volume: Volume, item: int, sampling: Sampling, method: str, plan: Plan) -> Key:
    return Key(volume.name, item, sampling.label, method, plan.methods[method].hash)


def _failure(key: Key, error: ReconError) -> Row:
    return Row(key, math.nan, math.nan, 0, f"{type(error).__name__}: {error}", {})


def _save(path: Path, img: FloatArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, img)
