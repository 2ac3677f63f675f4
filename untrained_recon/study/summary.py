"""Tables of an evaluation: means with confidence intervals, paired differences, scores of whole volumes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas

from untrained_recon.metrics import FASTMRI, PAPER_VOLUME, quality
from untrained_recon.study.results import MEASURES, SCORES, Row

VOLUME_CONVENTIONS = (PAPER_VOLUME, FASTMRI)
COLUMNS = ["sampling", "method", "score", "mean", "low", "high", "images"]
FEWEST = 5  # images, for an interval
RESAMPLES, BATCHES = 1000, 10
INTERVALS = f"bootstrap over images, studentised; none for fewer than {FEWEST}"
IMAGE = ["volume", "item", "sampling"]  # the columns that tell an image with its mask from others


def frame(rows: Sequence[Row]) -> pandas.DataFrame:
    """The rows without an error as a table, one column for each of ``results.SCORES``."""
    good = [row for row in rows if not row.error]
    return pandas.DataFrame(row.flat() | {"image_path": row.key.image_path, "truth_path": row.key.truth_path} for row in good)


def summarise(rows: pandas.DataFrame, scores: Sequence[str] = SCORES) -> pandas.DataFrame:
    """Mean, 95 % confidence interval of the mean and number of images for every sampling, method and score.

    Args:
        rows: See :func:`frame`.
        scores: Which columns.

    Returns:
        :data:`COLUMNS`; for fewer than :data:`FEWEST` images the interval, see :func:`bootstrapped`, is NaN. Without rows, as of
        the differences of a single method to itself, a table without any.
    """
    groups = rows.groupby(["sampling", "method"], sort=False)
    cells = [
        {"sampling": sampling, "method": method, "score": score} | _interval(group[score].to_numpy(float))
        for (sampling, method), group in groups
        for score in scores
    ]
    return pandas.DataFrame(cells, columns=COLUMNS)


def paired(rows: pandas.DataFrame, against: str, scores: Sequence[str] = SCORES) -> pandas.DataFrame:
    """As :func:`summarise`, of :func:`differences`."""
    return summarise(differences(rows, against, scores), scores)


def differences(rows: pandas.DataFrame, against: str, scores: Sequence[str] = SCORES) -> pandas.DataFrame:
    """Each method's scores minus those of the method ``against`` on the same image with the same mask.

    Returns:
        Columns ``volume, item, sampling, method`` and the scores, without the images that ``against`` lacks.
    """
    base = rows.loc[rows["method"] == against, [*IMAGE, *scores]]
    others = rows.loc[rows["method"] != against, [*IMAGE, "method", *scores]]
    pairs = others.merge(base, on=IMAGE, suffixes=("", " of base"))
    pairs[list(scores)] -= pairs[[f"{score} of base" for score in scores]].to_numpy()
    return pairs[[*IMAGE, "method", *scores]]


def mean_over_seeds(rows: pandas.DataFrame, scores: Sequence[str]) -> pandas.DataFrame:
    """Scores of each image and method, their mean over masks that differ in their seed only; ``sampling`` without its seed."""
    pooled = rows.assign(sampling=without_seed(rows["sampling"]))
    return pooled.groupby([*IMAGE, "method"], sort=False)[list(scores)].mean().reset_index()


def without_seed(samplings: pandas.Series) -> pandas.Series:
    """Labels of samplings (``masks.Sampling.label``) without their seeds."""
    return samplings.str.replace(r"-seed\d+$", "", regex=True)


def volume_scores(rows: pandas.DataFrame, folder: Path) -> pandas.DataFrame:
    """Scores of whole volumes (paper, section 5.1; fastMRI), from the images that an evaluation left in ``folder``.

    Returns:
        Columns ``volume, sampling, method, images`` and one for every convention and measure.
    """
    found = []
    for (volume, sampling, method), group in rows.groupby(["volume", "sampling", "method"], sort=False):
        imgs, truths = (np.stack([np.load(folder / path) for path in group[name]]) for name in ("image_path", "truth_path"))
        row = {"volume": volume, "sampling": sampling, "method": method, "images": len(group)}
        for convention in VOLUME_CONVENTIONS:
            values = quality(imgs, truths, convention)
            row |= {f"{convention.name}: {measure}": getattr(values, measure) for measure in MEASURES}
        found.append(row)
    return pandas.DataFrame(found)


def bootstrapped(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % confidence interval of the mean by the studentised bootstrap [Efron & Tibshirani, Introduction to the Bootstrap, 1993].

    Percentiles of means drawn from few images are too narrow (85 % instead of 95 % for 5 values of a normal distribution); those of
    Student's quantity, mean over its own standard error, are not. The draws are the same in every call.

    Args:
        values: Two or more numbers.
    """
    n, mean, error = len(values), values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    if error <= 1e-12 * abs(mean):
        return float(mean), float(mean)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(BATCHES):
        drawn = values[rng.integers(n, size=(RESAMPLES // BATCHES, n))]
        errors = drawn.std(axis=1, ddof=1) / np.sqrt(n)
        usable = errors > 1e-9 * error  # not the same value n times
        draws.append((drawn.mean(axis=1)[usable] - mean) / errors[usable])
    low, high = np.quantile(np.concatenate(draws), (0.025, 0.975))
    return float(mean - high * error), float(mean - low * error)


def _interval(values: npt.NDArray[np.float64]) -> dict[str, float]:
    values = values[~np.isnan(values)]
    mean = float(values.mean()) if len(values) else np.nan
    low, high = bootstrapped(values) if len(values) >= FEWEST and np.isfinite(values).all() else (np.nan, np.nan)
    return {"mean": mean, "low": low, "high": high, "images": len(values)}
