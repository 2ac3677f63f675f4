"""Run methods over fully sampled files, undersampled by masks, and score every image. What is done already is not done again."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from untrained_recon.config import Config
from untrained_recon.errors import EvaluationError, ReconError
from untrained_recon.files.volume import Volume
from untrained_recon.masks import Sampling
from untrained_recon.output import make_folder
from untrained_recon.study.case import Case, Scored, Scorer, Source, failure, score
from untrained_recon.study.folding import folded_name
from untrained_recon.study.identity import claims_of, require_same
from untrained_recon.study.results import RESULTS, SCORES, Key, ResultsFile, Row
from untrained_recon.study.scores import completed
from untrained_recon.text.printable import legible
from untrained_recon.workers.share import Engine, one_by_one, share_out

logger = logging.getLogger(__name__)

Follow = Callable[[Row], None]
Count = Callable[[int, int], None]
"""Told how many of how many are done."""


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

    def cases(self, folder: Path) -> Iterator[Case | Row]:
        """All there is to score; a row for each file that cannot be opened."""
        for path, share in itertools.product(self.paths, self.shares):
            source = Source(path, self.resolution, self.prewhiten, share)
            try:
                with source.opened() as volume:
                    wanted = range(len(volume)) if self.slices == "all" else [len(volume) // 2]
            except ReconError as error:
                logger.exception("%s cannot be evaluated", path)
                yield failure(source.key(), error)
                continue
            for item, sampling, method in itertools.product(wanted, self.samplings, self.methods):
                config = self.settings(method, sampling)
                trace = self.trace and config.recon.method == "network"
                yield Case(folder, source, item, sampling, method, config, trace, method in self.again)


def evaluate(
    plans: Plan | Sequence[Plan],
    folder: Path,
    device: torch.device,
    follow: Follow = lambda _: None,
    *,
    engine: Engine | None = None,
    count: Count = lambda *_: None,
) -> list[Row]:
    """Run a plan or several at once, or what is left of them.

    Several processes, on several machines, may do so at once with the same ``folder``: each row is made by one of them.

    Args:
        plans: What is to be done.
        folder: Where results and images are, or will be: ``results.csv``, ``images/``; and ``claims/``, locks.
        device: Where to compute.
        follow: Told of every new row.
        engine: Workers that compute instead of this process and its device, see :mod:`untrained_recon.workers`.
        count: Told how many rows there are, of how many.

    Returns:
        The rows of the plans, in their order; failures among them have an ``error``. Rows with an error are tried again next time.

    Raises:
        EvaluationError: Two files have the same name, by which their results are kept, or the folder holds results of others.
        WorkerError: The workers are gone.
    """
    plans = [plans] if isinstance(plans, Plan) else plans
    names = Counter(legible(path.stem) for path in dict.fromkeys(path for plan in plans for path in plan.paths))
    if double := [name for name, times in names.items() if times > 1]:
        raise EvaluationError(f"results are kept by the names of files, and several are named {', '.join(double)}; rename them")
    make_folder(folder)
    folder = folder.resolve()
    for plan in plans:
        require_same(folder, plan.paths, {"resolution": plan.resolution, "prewhiten": plan.prewhiten})
    results = ResultsFile(folder / RESULTS)
    _complete(results, folder)
    run = _Run([case for plan in plans for case in plan.cases(folder)], results, follow, count)
    with closing(run.scored(folder, device, engine)) as scores:
        for case, scored in scores:
            if isinstance(scored, Exception):  # its workers died of it, or could not keep what they had made
                logger.error("%s: %s", case, scored, exc_info=scored)
                run.add(failure(case.key, scored))
            else:
                run.take(scored)
    return run.rows()


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


def opened(path: Path, plan: Plan, share: float = 1.0) -> AbstractContextManager[Volume]:
    """A file as the plan wants it, see :meth:`untrained_recon.study.case.Source.opened`."""
    return Source(path, plan.resolution, plan.prewhiten, share).opened()


def _complete(results: ResultsFile, folder: Path) -> None:
    """Give rows of an earlier version the scores that it did not have; those whose images are gone are of no use any more."""
    with claims_of(folder).take("data"):  # one at a time: what another one appends meanwhile would be lost
        results.widen()
    for row in list(results.rows()):
        if not row.error and not row.scores.keys() >= set(SCORES):
            try:
                results.append(completed(row, folder))
            except (OSError, ValueError) as error:
                results.append(replace(row, error=f"made by an earlier version, and {error}"))


class _Run:
    """The rows of an evaluation as they come."""

    def __init__(self, wanted: list[Case | Row], results: ResultsFile, follow: Follow, count: Count) -> None:
        self._wanted, self._results, self._follow, self._count = wanted, results, follow, count
        cases = [case for case in wanted if isinstance(case, Case) and case.is_done(results)]
        self._found: dict[Key, Row] = {case.key: row for case in cases if (row := results.get(case.key)) is not None}
        self._done = len(self._found)
        self._tell()

    def scored(self, folder: Path, device: torch.device, engine: Engine | None) -> Generator[tuple[Case, Any], None, None]:
        """Have done what is to be done."""
        if engine is None:
            with Scorer(folder) as scorer:
                yield from one_by_one(lambda case: scorer.score(case, device), self._todo(), lambda case: case.is_free)
        elif todo := list(self._todo()):
            yield from share_out(engine, score, todo, lambda case: case.is_free)

    def _todo(self) -> Iterator[Case]:
        """Cases in their order; those of an image that turned out to be unreadable are left out."""
        for case in self._wanted:
            if isinstance(case, Row):
                self.add(case)
            elif case.key not in self._found:
                if self._unreadable(case) is None:
                    yield case
                else:
                    self._tell(1)

    def add(self, row: Row) -> None:
        """Keep a row that was made in this process."""
        self._results.append(row)
        self.take(Scored(row, True))

    def take(self, scored: Scored) -> None:
        """Note a row that is in the results."""
        self._found[scored.row.key] = scored.row
        if scored.fresh:
            self._follow(scored.row)
        self._tell(1)

    def rows(self) -> list[Row]:
        """Those of the plan in its order, an image or file that cannot be read once."""
        rows = (case if isinstance(case, Row) else self._found.get(case.key) or self._unreadable(case) for case in self._wanted)
        return list({row.key: row for row in rows if row is not None}.values())

    def _unreadable(self, case: Case) -> Row | None:
        return self._found.get(case.source.key(case.item)) or self._found.get(case.source.key())

    def _tell(self, more: int = 0) -> None:
        self._done += more
        self._count(self._done, len(self._wanted))
