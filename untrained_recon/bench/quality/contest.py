"""Side by side on the same prewhitened data: conventional methods at their best, published networks, and ours.

Every conventional method runs with each λ of a geometric grid, and the image with the best PSNR *against the truth* is its result:
an oracle that nobody has at a scanner, and that flatters it. All methods but zero-filling get the same maps settings and the same
final data consistency.
"""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import torch

from untrained_recon.bench.quality.contenders import BEST, HIGHEST, NETWORK, OURS, OURS_BEST
from untrained_recon.bench.quality.floor import expected_floor
from untrained_recon.bench.quality.groups import group_of, grouped, intervals
from untrained_recon.bench.quality.margins import targets
from untrained_recon.bench.quality.notes import NOTES
from untrained_recon.bench.quality.oracles import SCORES, best_oracles, highest_oracles, judge
from untrained_recon.bench.quality.pace import Traces, catch_up, medians
from untrained_recon.errors import EvaluationError
from untrained_recon.output import write_text
from untrained_recon.study.evaluate import Plan, evaluate, opened
from untrained_recon.study.folding import folded_name
from untrained_recon.study.results import RESULTS, ResultsFile, Row
from untrained_recon.study.summary import IMAGE, differences, frame
from untrained_recon.study.trace import load_trace
from untrained_recon.workers.share import Engine


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        images: A row for every image, mask and method, see :func:`untrained_recon.bench.quality.oracles.judge`; with the ``group``
            of its volume.
        means: As of :func:`untrained_recon.bench.quality.groups.intervals`; ``seconds`` is among the scores.
        differences: The same of ours minus each other method on the same image; :data:`BEST` and :data:`HIGHEST` are among the
            methods.
        gains: As of :func:`untrained_recon.bench.quality.groups.grouped`, of each of our methods minus :data:`HIGHEST`.
        times: See :func:`untrained_recon.bench.quality.pace.catch_up`.
        medians: See :func:`untrained_recon.bench.quality.pace.medians`.
        targets: See :func:`untrained_recon.bench.quality.margins.targets`.
        failures: Rows of the evaluation without an image.
    """

    images: pandas.DataFrame
    means: pandas.DataFrame
    differences: pandas.DataFrame
    gains: pandas.DataFrame
    times: pandas.DataFrame
    medians: pandas.DataFrame
    targets: pandas.DataFrame
    failures: list[Row]


def compare(
    plan: Plan,
    folder: Path,
    device: torch.device,
    follow: Callable[[Row], None] = lambda _: None,
    *,
    engine: Engine | None = None,
    count: Callable[[int, int], None] = lambda *_: None,
) -> Comparison:
    """Run a plan whose methods are :func:`untrained_recon.bench.quality.contenders.contenders`, or what is left of it, and compare.

    Args:
        plan: What is to be done; with ``prewhiten`` and ``trace``.
        folder: As for :func:`untrained_recon.study.evaluate.evaluate`; also for ``quality.csv`` and ``quality.json``.
        device: Where the networks are fitted.
        follow: Told of every new row.
        engine: As for :func:`untrained_recon.study.evaluate.evaluate`.
        count: Likewise.

    Raises:
        EvaluationError: Not one image came out, or the folder holds results of files or masks that the plan does not have.
    """
    _require_all(plan, folder)
    rows = evaluate(plan, folder, device, follow, engine=engine, count=count)
    failures = [row for row in rows if row.error]
    if len(failures) == len(rows):
        raise EvaluationError(f"none of {len(rows)} images could be made; the first: {rows[0].error}" if rows else "no images")
    table = frame(rows)
    images = judge(table, folder, _floors(plan, table))
    images.insert(1, "group", images["volume"].map(group_of))
    times = catch_up(images, _traces(rows, folder))
    found = Comparison(images, *compared(images), gains(images), times, medians(times), targets(images, OURS), failures)
    write_text(folder / "quality.csv", images.to_csv(index=False))
    write_text(folder / "quality.json", json.dumps(_document(found), indent=2) + "\n")
    return found


def compared(images: pandas.DataFrame) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Means of all methods, and differences of ours to each, see :class:`Comparison`.

    Args:
        images: Columns ``volume, item, sampling, method, lamda, seconds``, those of
            :data:`untrained_recon.bench.quality.oracles.PARTS` and
            :data:`untrained_recon.bench.quality.oracles.SCORES`.
    """
    scores = [*SCORES, "seconds"]
    each = pandas.concat([images, best_oracles(images).assign(method=BEST), highest_oracles(images).assign(method=HIGHEST)])
    found = differences(each, OURS, scores)  # theirs minus ours
    found[scores] *= -1
    return intervals(each, scores), intervals(found, scores)


def gains(images: pandas.DataFrame) -> pandas.DataFrame:
    """What each of our methods has over the highest oracle, see :class:`Comparison`."""
    own = images[images["method"].isin((OURS, OURS_BEST, NETWORK))]
    return grouped(differences(pandas.concat([own, highest_oracles(images).assign(method=HIGHEST)]), HIGHEST, SCORES), SCORES)


def _require_all(plan: Plan, folder: Path) -> None:
    """Refuse a folder whose tables would shrink."""
    names = {*plan.names(), *(sampling.label for sampling in plan.samplings)}
    rows = [row for row in ResultsFile(folder / RESULTS).rows() if not row.error]
    more = sorted({name for row in rows for name in (row.key.volume, row.key.sampling)} - names)
    if more:
        raise EvaluationError(f"{folder}: holds results of {', '.join(more)} too; ask for them as well, or name another folder")


def _floors(plan: Plan, table: pandas.DataFrame) -> dict[tuple[str, int, str], float]:
    found = {}
    samplings = {sampling.label: sampling for sampling in plan.samplings}
    for path, share in itertools.product(plan.paths, plan.shares):
        wanted = table.loc[table["volume"] == folded_name(path.stem, share), IMAGE].drop_duplicates()
        if wanted.empty:  # a file that cannot be read
            continue
        with opened(path, plan, share) as volume:
            for image in wanted.itertuples(index=False, name=None):
                lines = samplings[image[2]].lines(volume.shape[1], volume.name)
                found[image] = expected_floor(volume, image[1], lines)
    return found


def _traces(rows: Sequence[Row], folder: Path) -> Traces:
    paths = {(row.key.volume, row.key.item, row.key.sampling, row.key.method): folder / row.key.trace_path for row in rows}
    traces = {image: load_trace(path) for image, path in paths.items() if path.exists()}
    return {image: points for image, points in traces.items() if not math.isnan(points[-1].foreground)}  # an earlier version's


def _document(found: Comparison) -> dict[str, Any]:
    tables = {name: value for name, value in vars(found).items() if isinstance(value, pandas.DataFrame)}
    records = {name: json.loads(table.to_json(orient="records", double_precision=6)) for name, table in tables.items()}
    failures = [{**row.key.__dict__, "error": row.error} for row in found.failures]
    return {"notes": list(NOTES), **records, "failures": failures}
