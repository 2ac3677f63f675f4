"""Side by side on the same prewhitened data: conventional methods at their best, published networks, and ours.

Every conventional method runs with each λ of a geometric grid, and the image with the best PSNR *against the truth* is its result:
an oracle that nobody has at a scanner, and that flatters it. All methods but zero-filling get the same maps settings and the same
final data consistency.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import torch

from untrained_recon import bart
from untrained_recon.baselines import METHODS
from untrained_recon.config import Config, load_config
from untrained_recon.errors import EvaluationError
from untrained_recon.output import write_text
from untrained_recon.study.evaluate import RESULTS, Plan, evaluate, opened
from untrained_recon.study.floor import expected_floor
from untrained_recon.study.oracles import FLOOR, SCORES, best_oracles, highest_oracles, judge
from untrained_recon.study.pace import PEAK, Traces, catch_up, medians
from untrained_recon.study.results import ResultsFile, Row
from untrained_recon.study.summary import IMAGE, differences, frame, mean_over_seeds, summarise
from untrained_recon.study.targets import targets
from untrained_recon.study.trace import COST, INTERVAL_S, load_trace

OURS = "ours"
BEST = "best oracle"
HIGHEST = "highest oracle"
ORACLES = ("cg-sense", "l1-wavelet", "tv")
BART_ORACLES = ("bart-l1-wavelet", "bart-tv")
FACTORS = tuple(2.0**n for n in range(-4, 6))  # of a method's default λ

NOTES = (
    "All methods see the same samples, prewhitened by the noise covariance of the corners of fully sampled k-space "
    "(|k_y| and |k_x| above 0.42 cycles/pixel, noise of standard deviation 1 in real and imaginary part).",
    f"cg-sense, l1-wavelet, tv and the same of BART: λ chosen for every image and mask by the best PSNR against the truth, from "
    f"{FACTORS[0]:g} to {FACTORS[-1]:g} times the default λ in steps of two. This oracle flatters them: no scanner has the truth. "
    "Their seconds are those of the chosen λ alone; grid_seconds those of the search. at_edge: the best λ ended the grid.",
    f"{BEST}: for every image and mask the method of these with the best PSNR, an oracle again. {HIGHEST}: for every score by "
    "itself the highest of these methods.",
    f"{FLOOR}: scored as ours after sqrt(img² + floor), for every method alike and with λ and {BEST} chosen anew. The floor is "
    "the expected noise energy of the lines that were not sampled, 2 n_coils times their share: in the background the truth is the "
    "root sum of squares of the noise of all lines, which no method can know.",
    "paper: preset brain-4x, at most its 3000 iterations, fewer where the time budget ends them.",
    "deepinv-settings: deepinv's defaults for ConvDecoder and DeepImagePrior (7 layers and one more at full resolution, 256 "
    "channels, input 4×4 from N(0, 1), Adam 0.01, 2500 iterations) in our plain loop; not deepinv itself. Ours scales the data "
    "and puts the samples back, which deepinv does not, and has no biases; the time budget holds for it too.",
    "ours: preset fast, one configuration, chosen without the truth; the time budget does not touch it.",
    "Seconds to quality: until the image that would have been delivered reached the PSNR (ours, whole) at which the other method "
    "ends. The clock starts with the reconstruction, so start and maps count; it stands still while images are scored, every "
    f"{INTERVAL_S:g} s at most and for {COST:.0%} of a time budget at most. The others' seconds are those of their whole run with "
    f"the chosen λ alone; {PEAK}: the best that was scored on their way, and the seconds to it. Medians over images and masks.",
    "Targets: PSNR and SSIM against the highest of any oracle on each image and mask; 1 dB above it up to 4-fold acceleration, no "
    "lower beyond; no lower SSIM.",
    "Means and 95 % intervals (Student's t) are over images, after the mean over mask seeds; differences are those on the same "
    "mask. Images of one volume count as if they were independent.",
)


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        images: A row for every image, mask and method, see :func:`untrained_recon.study.oracles.judge`.
        means: As of :func:`untrained_recon.study.summary.summarise`; ``seconds`` is among the scores.
        differences: The same of ours minus each other method on the same image; :data:`BEST` and :data:`HIGHEST` are among the
            methods.
        times: See :func:`untrained_recon.study.pace.catch_up`.
        medians: See :func:`untrained_recon.study.pace.medians`.
        targets: See :func:`untrained_recon.study.targets.targets`.
        failures: Rows of the evaluation without an image.
    """

    images: pandas.DataFrame
    means: pandas.DataFrame
    differences: pandas.DataFrame
    times: pandas.DataFrame
    medians: pandas.DataFrame
    targets: pandas.DataFrame
    failures: list[Row]


def contenders(budget_s: float) -> dict[str, Config]:
    """All methods with all their settings; those with a λ are named ``method@λ``.

    Args:
        budget_s: Seconds for a fit of the published networks; 0: all their iterations.
    """
    budget = {"fit.time_budget_s": f"{budget_s:g}"}
    deepinv = {
        "name": "deepinv-settings",
        "network.layers": "7",
        "network.channels": "256",
        "network.in_size": "[4, 4]",
        "network.extra_layer": "true",
        "fit.iterations": "2500",
    }
    found = {"zero-filled": load_config("fast", {"recon.method": "zero-filled"})}
    for method in (*ORACLES, *(BART_ORACLES if bart.available() else ())):
        found |= lamda_grid(method)
    found["paper"] = load_config("brain-4x", budget)
    found["deepinv-settings"] = load_config("brain-4x", budget | deepinv)
    found[OURS] = load_config("fast")
    return found


def lamda_grid(method: str) -> dict[str, Config]:
    """A conventional method with every λ of its grid, as ``method@λ``."""
    lamdas = [METHODS[method].lamda * factor for factor in FACTORS]
    return {f"{method}@{v:.4g}": load_config("fast", {"recon.method": method, "baseline.lamda": f"{v:.4g}"}) for v in lamdas}


def compare(plan: Plan, folder: Path, device: torch.device, follow: Callable[[Row], None] = lambda _: None) -> Comparison:
    """Run a plan whose methods are :func:`contenders`, or what is left of it, and compare.

    Args:
        plan: What is to be done; with ``prewhiten`` and ``trace``.
        folder: As for :func:`untrained_recon.study.evaluate.evaluate`; also for ``quality.csv`` and ``quality.json``.
        device: Where the networks are fitted.
        follow: Told of every new row.

    Raises:
        EvaluationError: Not one image came out, or the folder holds results of files or masks that the plan does not have.
    """
    _require_all(plan, folder)
    rows = evaluate(plan, folder, device, follow)
    failures = [row for row in rows if row.error]
    if len(failures) == len(rows):
        raise EvaluationError(f"none of {len(rows)} images could be made; the first: {rows[0].error}" if rows else "no images")
    table = frame(rows)
    images = judge(table, folder, _floors(plan, table))
    times = catch_up(images, _traces(rows, folder))
    found = Comparison(images, *compared(images), times, medians(times), targets(images, OURS), failures)
    write_text(folder / "quality.csv", images.to_csv(index=False))
    write_text(folder / "quality.json", json.dumps(_document(found), indent=2) + "\n")
    return found


def compared(images: pandas.DataFrame) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Means of all methods, and differences of ours to each, see :class:`Comparison`.

    Args:
        images: Columns ``volume, item, sampling, method, lamda, seconds``, the columns of the floor and
            :data:`untrained_recon.study.oracles.SCORES`.
    """
    scores = [*SCORES, "seconds"]
    each = pandas.concat([images, best_oracles(images).assign(method=BEST), highest_oracles(images).assign(method=HIGHEST)])
    gains = differences(each, OURS, scores)  # theirs minus ours
    gains[scores] *= -1
    return summarise(mean_over_seeds(each, scores), scores), summarise(mean_over_seeds(gains, scores), scores)


def _require_all(plan: Plan, folder: Path) -> None:
    """Refuse a folder whose tables would shrink."""
    names = {path.stem for path in plan.paths} | {sampling.label for sampling in plan.samplings}
    rows = [row for row in ResultsFile(folder / RESULTS).rows() if not row.error]
    more = sorted({name for row in rows for name in (row.key.volume, row.key.sampling)} - names)
    if more:
        raise EvaluationError(f"{folder}: holds results of {', '.join(more)} too; ask for them as well, or name another folder")


def _floors(plan: Plan, table: pandas.DataFrame) -> dict[tuple[str, int, str], float]:
    found = {}
    samplings = {sampling.label: sampling for sampling in plan.samplings}
    for path in plan.paths:
        wanted = table.loc[table["volume"] == path.stem, IMAGE].drop_duplicates()
        if wanted.empty:  # a file that cannot be read
            continue
        with opened(path, plan) as volume:
            for image in wanted.itertuples(index=False, name=None):
                lines = samplings[image[2]].lines(volume.shape[1], volume.name)
                found[image] = expected_floor(volume, image[1], lines)
    return found


def _traces(rows: Sequence[Row], folder: Path) -> Traces:
    paths = {(row.key.volume, row.key.item, row.key.sampling, row.key.method): folder / row.key.trace_path for row in rows}
    return {image: load_trace(path) for image, path in paths.items() if path.exists()}


def _document(found: Comparison) -> dict[str, Any]:
    tables = {name: value for name, value in vars(found).items() if isinstance(value, pandas.DataFrame)}
    records = {name: json.loads(table.to_json(orient="records", double_precision=6)) for name, table in tables.items()}
    failures = [{**row.key.__dict__, "error": row.error} for row in found.failures]
    return {"notes": list(NOTES), **records, "failures": failures}
