"""Run methods over fully sampled files, undersampled by masks, and score every image. What is done already is not done again."""

import itertools
import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from untrained_recon.config import Config
from untrained_recon.errors import EvaluationError, FitError, ReconError
from untrained_recon.files.open import open_volume
from untrained_recon.files.sampling import sample
from untrained_recon.files.volume import Volume
from untrained_recon.masks import Sampling
from untrained_recon.output import make_folder, write_array
from untrained_recon.physics.operators import rss_image
from untrained_recon.recon.plane import reconstruct
from untrained_recon.study.folding import Folded, folded_name
from untrained_recon.study.identity import require_same
from untrained_recon.study.resolution import LowResolution
from untrained_recon.study.results import SCORES, Key, ResultsFile, Row
from untrained_recon.study.scores import completed, scores
from untrained_recon.study.trace import save_trace, traced
from untrained_recon.study.whiten import Prewhitened
from untrained_recon.types import FloatArray, KSpace, Reconstruction

logger = logging.getLogger(__name__)

RESULTS = "results.csv"


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated: every method on every sampling of every image.

    Attributes:
        paths: Files of fully sampled k-space, see :func:`untrained_recon.files.open.open_volume`.
        methods: Settings by the name under which a method is reported.
        samplings: How the images are undersampled.
        slices: The middle image of every file, or all of them.
        resolution: Lines and samples to keep at most of every image's k-space, about its centre; 0 keeps all.
        prewhiten: Prewhiten every image first, see :class:`untrained_recon.study.whiten.Prewhitened`.
        trace: Keep the quality against time of what the network reconstructs, see :func:`untrained_recon.study.trace.traced`.
        shares: Of the field of view along y, each another case of every file: below 1 it is folded, see
            :class:`untrained_recon.study.folding.Folded`.
        seeded: The seed of a mask is added to that of the methods, so that scores of several masks vary by both.
        again: Methods that are done again where they are done already.
    """

    paths: Sequence[Path]
    methods: dict[str, Config]
    samplings: Sequence[Sampling]
    slices: Literal["middle", "all"] = "middle"
    resolution: int = 0
    prewhiten: bool = False
    trace: bool = False
    shares: Sequence[float] = (1.0,)
    seeded: bool = False
    again: Collection[str] = ()

    def names(self) -> list[str]:
        """Of all volumes, folded ones among them."""
        return [folded_name(path.stem, share) for path in self.paths for share in self.shares]

    def settings(self, method: str, sampling: Sampling) -> Config:
        """Of a method on a sampling."""
        config = self.methods[method]
        return config.model_copy(update={"seed": config.seed + sampling.seed}) if self.seeded else config


def evaluate(plan: Plan, folder: Path, device: torch.device, follow: Callable[[Row], None] = lambda _: None) -> list[Row]:
    """Run a plan, or what is left of it.

    Args:
        plan: What is to be done.
        folder: Where results and images are, or will be: ``results.csv``, ``images/``.
        device: Where to compute.
        follow: Told of every new row.

    Returns:
        The rows of the plan, in its order; failures among them have an ``error``. Rows with an error are tried again next time.

    Raises:
        EvaluationError: Two files have the same name, by which their results are kept, or the folder holds results of others.
    """
    names = Counter(path.stem for path in plan.paths)
    if double := [name for name, count in names.items() if count > 1]:
        raise EvaluationError(f"results are kept by the names of files, and several are named {', '.join(double)}; rename them")
    make_folder(folder)
    require_same(folder, plan.paths, {"resolution": plan.resolution, "prewhiten": plan.prewhiten})
    results = ResultsFile(folder / RESULTS)
    _complete(results, folder)
    known = {row.key: row for row in results.rows() if not row.error and row.key.method not in plan.again}
    if plan.trace:
        known = {key: row for key, row in known.items() if not _is_traced(key, plan) or (folder / key.trace_path).exists()}
    found = []
    for path, share in itertools.product(plan.paths, plan.shares):
        for row in _evaluate_file(path, share, plan, folder, device, known):
            if row.key not in known:
                results.append(row)
                follow(row)
            found.append(row)
    return found


def earlier(rows: Sequence[Row], folder: Path) -> list[Row]:
    """What earlier runs have left in a folder beside the last one's rows: of other files, masks and methods.

    Failures, and a method's results with settings other than its latest, are left out.

    Args:
        rows: What :func:`evaluate` returned.
        folder: Where the results are.
    """
    own = {row.key for row in rows}
    found = [row for row in ResultsFile(folder / RESULTS).rows() if not row.error and row.key not in own]
    hashes = {row.key.method: row.key.config_hash for row in (*found, *rows)}
    return [row for row in found if hashes[row.key.method] == row.key.config_hash and (folder / row.key.image_path).exists()]


@contextmanager
def opened(path: Path, plan: Plan, share: float = 1.0) -> Iterator[Volume]:
    """A file as the plan wants it: prewhitened, at its resolution, with a share of its field of view.

    Raises:
        ReconError: It cannot be read.
    """
    with open_volume(path) as full:
        volume = Prewhitened(full) if plan.prewhiten else full
        volume = LowResolution(volume, plan.resolution) if plan.resolution else volume
        yield volume if share == 1 else Folded(volume, share)


def items(volume: Volume, plan: Plan) -> Sequence[int]:
    """The images of a file that the plan wants."""
    return range(len(volume)) if plan.slices == "all" else [len(volume) // 2]


def _complete(results: ResultsFile, folder: Path) -> None:
    """Give rows of an earlier version the scores that it did not have; those whose images are gone are of no use any more."""
    results.widen()
    for row in list(results.rows()):
        if not row.error and not row.scores.keys() >= set(SCORES):
            try:
                results.append(completed(row, folder))
            except (OSError, ValueError) as error:
                results.append(replace(row, error=f"made by an earlier version, and {error}"))


def _evaluate_file(
    path: Path, share: float, plan: Plan, folder: Path, device: torch.device, known: dict[Key, Row]
) -> Iterator[Row]:
    try:
        with opened(path, plan, share) as volume:
            for item in items(volume, plan):
                keys = [_key(volume, item, sampling, method, plan) for sampling in plan.samplings for method in plan.methods]
                if all(key in known for key in keys):
                    yield from (known[key] for key in keys)
                else:
                    yield from _evaluate_image(volume, item, plan, folder, device, known)
    except ReconError as error:
        logger.exception("%s cannot be evaluated", path)
        yield _failure(Key(folded_name(path.stem, share), -1, "", "", ""), error)


def _evaluate_image(
    volume: Volume, item: int, plan: Plan, folder: Path, device: torch.device, known: dict[Key, Row]
) -> Iterator[Row]:
    try:
        ksp = volume[item]
    except ReconError as error:
        logger.exception("%s, image %d cannot be read", volume.path, item)
        yield _failure(Key(volume.name, item, "", "", ""), error)
        return
    reference = rss_image(ksp, volume.encoding)
    for sampling in plan.samplings:
        for method in plan.methods:
            key = _key(volume, item, sampling, method, plan)
            if key in known:
                yield known[key]
                continue
            _save(folder / key.truth_path, reference)
            try:
                data = sample(ksp, sampling.lines(ksp.shape[1], volume.name), volume, item)
                recon = _reconstruct(key, data, plan.settings(method, sampling), plan, folder, device, reference)
                values = scores(recon.magnitude, reference)
            except (ReconError, ValueError, RuntimeError) as error:  # an empty image has no scores; a library gave up
                logger.exception("%s, image %d, %s, %s", volume.path, item, sampling.label, method)
                yield _failure(key, error)
                continue
            _save(folder / key.image_path, recon.magnitude)
            yield Row(key, data.acceleration, recon.account.seconds, recon.account.iterations, "", values)


def _reconstruct(
    key: Key, data: KSpace, config: Config, plan: Plan, folder: Path, device: torch.device, reference: FloatArray
) -> Reconstruction:
    if _is_traced(key, plan):
        recon, points = traced(data, config, device, reference)
        save_trace(folder / key.trace_path, points)
    else:
        recon = reconstruct(data, config, device)
    if recon.account.fallback_reason:
        raise FitError(recon.account.fallback_reason)  # another method's image would be scored under this one's name
    return recon


def _is_traced(key: Key, plan: Plan) -> bool:
    return plan.trace and key.method in plan.methods and plan.methods[key.method].recon.method == "network"


def _key(volume: Volume, item: int, sampling: Sampling, method: str, plan: Plan) -> Key:
    return Key(volume.name, item, sampling.label, method, plan.settings(method, sampling).digest())


def _failure(key: Key, error: Exception) -> Row:
    return Row(key, math.nan, math.nan, 0, f"{type(error).__name__}: {error}", {})


def _save(path: Path, img: FloatArray) -> None:
    make_folder(path.parent)
    write_array(path, img)
