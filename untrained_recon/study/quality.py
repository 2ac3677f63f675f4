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

import numpy as np
import pandas
import torch

from untrained_recon import bart
from untrained_recon.baselines import METHODS
from untrained_recon.config import Config, load_config
from untrained_recon.errors import EvaluationError
from untrained_recon.metrics import OURS as OUR_CONVENTION
from untrained_recon.metrics import PAPER, Region, quality
from untrained_recon.study.evaluate import Plan, evaluate
from untrained_recon.study.results import Row
from untrained_recon.study.summary import frame, paired, summarise
from untrained_recon.types import FloatArray

OURS = "ours"
BEST = "best oracle"
ORACLES = ("cg-sense", "l1-wavelet", "tv")
BART_ORACLES = ("bart-l1-wavelet", "bart-tv")
FACTORS = tuple(2.0**n for n in range(-4, 6))  # of a method's default λ
REGIONS: tuple[Region, ...] = ("whole", "foreground")
MEASURES = ("psnr", "ssim", "vif")
SCORES = [f"{c.name}, {region}: {measure}" for c in (OUR_CONVENTION, PAPER) for region in REGIONS for measure in MEASURES]
CHOOSER = "ours: psnr"  # of the evaluation
CHOSEN = SCORES[0]  # the same after the choice
IMAGE = ["volume", "item", "sampling"]

NOTES = (
    "All methods see the same samples, prewhitened by the noise covariance of the corners of fully sampled k-space "
    "(|k_y| and |k_x| above 0.42 cycles/pixel, noise of standard deviation 1 in real and imaginary part).",
    f"cg-sense, l1-wavelet, tv and the same of BART: λ chosen for every image and mask by the best PSNR against the truth, from "
    f"{FACTORS[0]:g} to {FACTORS[-1]:g} times the default λ in steps of two. This oracle flatters them: no scanner has the truth. "
    "Their seconds are those of the chosen λ alone; grid_seconds those of the search. at_edge: the best λ ended the grid.",
    f"{BEST}: for every image and mask the method of these with the best PSNR, an oracle again.",
    "paper: preset brain-4x, at most its 3000 iterations, fewer where the time budget ends them.",
    "deepinv-settings: deepinv's defaults for ConvDecoder and DeepImagePrior (7 layers and one more at full resolution, 256 "
    "channels, input 4×4 from N(0, 1), Adam 0.01, 2500 iterations) in our plain loop; not deepinv itself. Ours scales the data "
    "and puts the samples back, which deepinv does not, and has no biases; the time budget holds for it too.",
    "ours: preset fast, one configuration, chosen without the truth; the time budget does not touch it.",
    "Means and 95 % intervals (Student's t) are over images, after the mean over mask seeds; images of one volume count as if "
    "they were independent.",
)


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        images: A row for every image, mask and method: λ, seconds, iterations, :data:`SCORES`.
        means: As of :func:`untrained_recon.study.summary.summarise`; ``seconds`` is among the scores.
        differences: The same of ours minus each other method on the same image; :data:`BEST` is among the methods.
        failures: Rows of the evaluation without an image.
    """

    images: pandas.DataFrame
    means: pandas.DataFrame
    differences: pandas.DataFrame
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
        plan: What is to be done; with ``prewhiten``.
        folder: As for :func:`untrained_recon.study.evaluate.evaluate`; also for ``quality.csv`` and ``quality.json``.
        device: Where the networks are fitted.
        follow: Told of every new row.

    Raises:
        EvaluationError: Not one image came out.
    """
    rows = evaluate(plan, folder, device, follow)
    failures = [row for row in rows if row.error]
    if len(failures) == len(rows):
        raise EvaluationError(f"none of {len(rows)} images could be made; the first: {rows[0].error}" if rows else "no images")
    images = with_scores(choose(frame(rows)), folder)
    found = Comparison(images, *compared(images), failures)
    images.to_csv(folder / "quality.csv", index=False)
    (folder / "quality.json").write_text(json.dumps(_document(found), indent=2) + "\n", encoding="utf-8")
    return found


def choose(table: pandas.DataFrame) -> pandas.DataFrame:
    """Of every method's images with different λ, the one with the best PSNR against the truth.

    Args:
        table: Rows of an evaluation of :func:`contenders`, see :func:`untrained_recon.study.summary.frame`.

    Returns:
        The chosen rows with the method's bare name, and columns ``lamda`` (NaN where there is none), ``at_edge`` (whether it was
        the smallest or largest of the grid) and ``grid_seconds``.
    """
    parts = table["method"].str.partition("@")
    named = table.assign(method=parts[0], lamda=pandas.to_numeric(parts[2], errors="coerce"))
    groups = named.groupby([*IMAGE, "method"], sort=False)
    lamdas = groups["lamda"]
    at_edge = (named["lamda"] == lamdas.transform("min")) | (named["lamda"] == lamdas.transform("max"))
    named = named.assign(at_edge=at_edge, grid_seconds=groups["seconds"].transform("sum"))
    return named.loc[groups[CHOOSER].idxmax()].reset_index(drop=True)


def with_scores(chosen: pandas.DataFrame, folder: Path) -> pandas.DataFrame:
    """The chosen rows with :data:`SCORES` instead of the evaluation's scores, from the images that it left in ``folder``."""
    kept = [*IMAGE, "method", "lamda", "at_edge", "acceleration", "seconds", "grid_seconds", "iterations"]
    paths = zip(chosen["image_path"], chosen["truth_path"], strict=True)
    scores = [_scores(np.load(folder / img), np.load(folder / truth)) for img, truth in paths]
    return pandas.concat([chosen[kept], pandas.DataFrame(scores, columns=SCORES)], axis=1)


def best_oracles(images: pandas.DataFrame) -> pandas.DataFrame:
    """For every image and mask the row with the best PSNR among the methods whose λ was chosen by the truth."""
    oracles = images[images["lamda"].notna()]
    return oracles.loc[oracles.groupby(IMAGE, sort=False)[CHOSEN].idxmax()]


def compared(images: pandas.DataFrame) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Means of all methods, and differences of ours to each, see :class:`Comparison`.

    Args:
        images: Columns ``volume, item, sampling, method, lamda, seconds`` and :data:`SCORES`.
    """
    scores = [*SCORES, "seconds"]
    each = _mean_over_seeds(pandas.concat([images, best_oracles(images).assign(method=BEST)]), scores)
    theirs = paired(each, OURS, scores)  # minus ours
    return summarise(each, scores), theirs.assign(mean=-theirs["mean"], low=-theirs["high"], high=-theirs["low"])


def _scores(img: FloatArray, truth: FloatArray) -> list[float]:
    found = [quality(img, truth, convention, region) for convention in (OUR_CONVENTION, PAPER) for region in REGIONS]
    return [getattr(values, measure) for values in found for measure in MEASURES]


def _mean_over_seeds(images: pandas.DataFrame, scores: Sequence[str]) -> pandas.DataFrame:
    pooled = images.assign(sampling=images["sampling"].str.replace(r"-seed\d+$", "", regex=True))
    return pooled.groupby([*IMAGE, "method"], sort=False)[list(scores)].mean().reset_index()


def _document(found: Comparison) -> dict[str, Any]:
    tables = {"images": found.images, "means": found.means, "differences": found.differences}
    records = {name: json.loads(table.to_json(orient="records", double_precision=6)) for name, table in tables.items()}
    failures = [{**row.key.__dict__, "error": row.error} for row in found.failures]
    return {"notes": list(NOTES), **records, "failures": failures}
