"""Conventional methods at their best: of every method's images with different λ, the one that the truth likes most.

Scores come in :data:`PARTS`, of the foreground, of the whole image, and with the noise floor; for each λ is chosen anew, and so is
the best method, by its own PSNR.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas

from untrained_recon.bench.quality.floor import with_floor
from untrained_recon.metrics import OURS, PAPER, Convention, Region, psnr, quality
from untrained_recon.study.summary import IMAGE
from untrained_recon.types import FloatArray

MEASURES = ("psnr", "ssim", "vif")
FLOOR = "noise floor"


@dataclass(frozen=True)
class Part:
    """Scores of images with the same λ.

    Attributes:
        suffix: Of the columns that say which λ and which method.
        regions: Where images are compared; the PSNR of the last one chooses.
        conventions: How.
        floored: After :func:`untrained_recon.bench.quality.floor.with_floor`; convention :data:`FLOOR` stands for it.
    """

    suffix: str
    regions: tuple[Region, ...]
    conventions: tuple[Convention, ...]
    floored: bool = False

    @property
    def scores(self) -> list[str]:
        """Names of the scores."""
        names = [FLOOR if self.floored else convention.name for convention in self.conventions]
        return [f"{name}, {region}: {measure}" for name in names for region in self.regions for measure in MEASURES]

    @property
    def chosen_by(self) -> str:
        """The score by which methods are chosen."""
        return f"{FLOOR if self.floored else self.conventions[0].name}, {self.regions[-1]}: psnr"

    @property
    def labels(self) -> list[str]:
        """Columns beside the scores."""
        return [f"lamda{self.suffix}", f"at_edge{self.suffix}"]

    def psnr(self, img: FloatArray, truth: FloatArray, floor: float) -> float:
        """The score by which λ is chosen."""
        return psnr(self._image(img, floor), truth, self.conventions[0], self.regions[-1])

    def judge(self, img: FloatArray, truth: FloatArray, floor: float) -> list[float]:
        """All scores."""
        img = self._image(img, floor)
        found = [quality(img, truth, convention, region) for convention in self.conventions for region in self.regions]
        return [getattr(values, measure) for values in found for measure in MEASURES]

    def _image(self, img: FloatArray, floor: float) -> FloatArray:
        return with_floor(img, floor) if self.floored else img


PARTS = (
    Part("", ("foreground",), (OURS, PAPER)),
    Part("_whole", ("whole",), (OURS, PAPER)),
    Part("_floor", ("foreground", "whole"), (OURS,), floored=True),
)
FLOORED = PARTS[2].scores
SCORES = [score for part in PARTS for score in part.scores]
CHOSEN, WHOLE_CHOSEN, FLOOR_CHOSEN = (part.chosen_by for part in PARTS)
SSIM = PARTS[0].scores[1]
_BY = "choosing"  # column that chooses among λ


def judge(table: pandas.DataFrame, folder: Path, floors: Mapping[tuple[str, int, str], float]) -> pandas.DataFrame:
    """Score every method's best image.

    Args:
        table: See :func:`choose`; with ``image_path`` and ``truth_path``.
        folder: Where the evaluation has left its images.
        floors: :func:`untrained_recon.bench.quality.floor.expected_floor` by volume, item and sampling.

    Returns:
        A row for every image, mask and method: ``acceleration``, ``seconds``, ``grid_seconds``, ``iterations`` and ``image_path``
        of the λ with the best PSNR in the foreground, :data:`SCORES`, and ``lamda``, ``at_edge`` of each of :data:`PARTS`.
    """
    table = table.assign(floor=[floors[image] for image in table[IMAGE].itertuples(index=False, name=None)])
    keys, paths = [*IMAGE, "method"], ["image_path", "truth_path"]
    found = table[[]]
    for part in PARTS:
        chosen = choose(table.assign(**{_BY: [part.psnr(*given) for given in _images(table, folder)]}), _BY)
        chosen[part.scores] = [part.judge(*given) for given in _images(chosen, folder)]
        chosen = chosen.rename(columns=dict(zip(("lamda", "at_edge"), part.labels, strict=True)))
        columns = [*keys, *part.labels, *part.scores]
        if part is PARTS[0]:
            found = chosen[[*columns, "acceleration", "seconds", "grid_seconds", "iterations", *paths]]
        else:
            found = found.merge(chosen[columns], on=keys)
    return found


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
    """For every image and mask the row with the best PSNR in the foreground among the methods whose λ was chosen by the truth.

    Scores and columns of the other :data:`PARTS`, ``method_whole`` and ``method_floor`` among them, are of the method that is best
    there.
    """
    oracles = images[images["lamda"].notna()]
    groups = oracles.groupby(IMAGE, sort=False)
    others = [column for part in PARTS[1:] for column in (*part.labels, *part.scores)]
    best = oracles.loc[groups[CHOSEN].idxmax()].drop(columns=others)
    for part in PARTS[1:]:
        own = oracles.loc[groups[part.chosen_by].idxmax(), [*IMAGE, "method", *part.labels, *part.scores]]
        best = best.merge(own.rename(columns={"method": f"method{part.suffix}"}), on=IMAGE)
    return best


def highest_oracles(images: pandas.DataFrame) -> pandas.DataFrame:
    """For every image and mask, and for every score by itself, the highest of the methods whose λ was chosen by the truth."""
    return images[images["lamda"].notna()].groupby(IMAGE, sort=False)[SCORES].max().reset_index()


def _images(table: pandas.DataFrame, folder: Path) -> Iterator[tuple[FloatArray, FloatArray, float]]:
    """Image, truth and floor of every row."""
    for img, truth, floor in zip(table["image_path"], table["truth_path"], table["floor"], strict=True):
        yield np.load(folder / img), np.load(folder / truth), floor
