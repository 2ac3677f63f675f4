"""Conventional methods at their best: of every method's images with different λ, the one that the truth likes most.

Scores come in three sets: the conventions ``ours`` and ``paper``, for which λ is chosen by PSNR, and ``noise floor``, which is
``ours`` after :func:`untrained_recon.bench.quality.floor.with_floor`, for which λ is chosen anew by PSNR with the floor.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas

from untrained_recon.bench.quality.floor import with_floor
from untrained_recon.metrics import OURS, PAPER, Convention, Region, psnr, quality
from untrained_recon.study.summary import IMAGE
from untrained_recon.types import FloatArray

REGIONS: tuple[Region, ...] = ("whole", "foreground")
MEASURES = ("psnr", "ssim", "vif")
FLOOR = "noise floor"
PLAIN = [f"{c.name}, {region}: {measure}" for c in (OURS, PAPER) for region in REGIONS for measure in MEASURES]
FLOORED = [f"{FLOOR}, {region}: {measure}" for region in REGIONS for measure in MEASURES]
SCORES = [*PLAIN, *FLOORED]
CHOSEN, FLOOR_CHOSEN = PLAIN[0], FLOORED[0]  # PSNR of whole images, which chooses among methods
SSIM = PLAIN[1]
_BY_PSNR, _BY_FLOOR_PSNR = "ours: psnr", "psnr with floor"  # columns that choose among λ


def judge(table: pandas.DataFrame, folder: Path, floors: Mapping[tuple[str, int, str], float]) -> pandas.DataFrame:
    """Score every method's best image.

    Args:
        table: See :func:`choose`; with ``image_path`` and ``truth_path``.
        folder: Where the evaluation has left its images.
        floors: :func:`untrained_recon.bench.quality.floor.expected_floor` by volume, item and sampling.

    Returns:
        A row for every image, mask and method: ``lamda``, ``at_edge``, ``acceleration``, ``seconds``, ``grid_seconds`` and
        ``iterations`` of the λ with the best PSNR, :data:`SCORES`, and ``lamda_floor``, ``at_edge_floor`` of the one with the best
        PSNR with floor.
    """
    table = table.assign(floor=[floors[image] for image in table[IMAGE].itertuples(index=False, name=None)])
    table[_BY_FLOOR_PSNR] = [psnr(with_floor(img, floor), truth) for img, truth, floor in _images(table, folder)]
    plain, floored = choose(table, _BY_PSNR), choose(table, _BY_FLOOR_PSNR)
    plain[PLAIN] = [_scores(img, truth, (OURS, PAPER)) for img, truth, _ in _images(plain, folder)]
    floored[FLOORED] = [_scores(with_floor(img, floor), truth, (OURS,)) for img, truth, floor in _images(floored, folder)]
    kept = [*IMAGE, "method", "lamda", "at_edge", "acceleration", "seconds", "grid_seconds", "iterations", *PLAIN]
    floored = floored[[*IMAGE, "method", "lamda", "at_edge", *FLOORED]]
    return plain[kept].merge(floored, on=[*IMAGE, "method"], suffixes=("", "_floor"))


def choose(table: pandas.DataFrame, by: str) -> pandas.DataFrame:
    """Of every method's images with different λ, the one with the best score against the truth.

    Args:
        table: Rows of an evaluation whose methods are named ``method@λ`` where they have a λ.
        by: Column to choose by.

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
    return named.loc[groups[by].idxmax()].reset_index(drop=True)


def best_oracles(images: pandas.DataFrame) -> pandas.DataFrame:
    """For every image and mask the row with the best PSNR among the methods whose λ was chosen by the truth.

    :data:`FLOORED` and the columns that end with ``_floor``, ``method_floor`` among them, are of the one with the best PSNR with
    floor.
    """
    oracles = images[images["lamda"].notna()]
    groups = oracles.groupby(IMAGE, sort=False)
    of_floor = ["lamda_floor", "at_edge_floor", *FLOORED]
    plain = oracles.loc[groups[CHOSEN].idxmax()].drop(columns=of_floor)
    floored = oracles.loc[groups[FLOOR_CHOSEN].idxmax(), [*IMAGE, "method", *of_floor]]
    return plain.merge(floored.rename(columns={"method": "method_floor"}), on=IMAGE)


def highest_oracles(images: pandas.DataFrame) -> pandas.DataFrame:
    """For every image and mask, and for every score by itself, the highest of the methods whose λ was chosen by the truth."""
    return images[images["lamda"].notna()].groupby(IMAGE, sort=False)[SCORES].max().reset_index()


def _images(table: pandas.DataFrame, folder: Path) -> Iterator[tuple[FloatArray, FloatArray, float]]:
    """Image, truth and floor of every row."""
    for img, truth, floor in zip(table["image_path"], table["truth_path"], table["floor"], strict=True):
        yield np.load(folder / img), np.load(folder / truth), floor


def _scores(img: FloatArray, truth: FloatArray, conventions: tuple[Convention, ...]) -> list[float]:
    found = [quality(img, truth, convention, region) for convention in conventions for region in REGIONS]
    return [getattr(values, measure) for values in found for measure in MEASURES]
