"""Tables as they are shown, on a page or a terminal."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from untrained_recon.study.results import FOREGROUND
from untrained_recon.study.summary import IMAGE

MOST_ROWS = 2000
NUMBER = re.compile(r"[-+−]?[\d.,]+(e[-+]?\d+)?( s)?|–|∞|")
SHOWN = {
    "foreground": {"PSNR": f"{FOREGROUND}: psnr", "SSIM": f"{FOREGROUND}: ssim", "VIF": f"{FOREGROUND}: vif"},
    "whole image": {"PSNR": "ours: psnr", "SSIM": "ours: ssim", "VIF": "ours: vif", "MS-SSIM": "ours: ms_ssim"},
    "whole image, the paper's convention": {
        "PSNR": "paper: psnr",
        "SSIM": "paper: ssim",
        "VIF": "paper: vif",
        "MS-SSIM": "paper: ms_ssim",
    },
}
"""What pages show of an evaluation's scores, by region and convention."""


@dataclass(frozen=True)
class Cell:
    """A text with something smaller beside it, or places that it leads to: addresses by their names."""

    text: str
    note: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sheet:
    """One table as it is shown.

    Attributes:
        title: What it is of.
        header: A name for every column.
        rows: A text for every column, or a :class:`Cell`.
        groups: Names above the columns, each with how many columns it spans, if there are any.
        note: What must be known to read it.
        folded: It is long, and not open at first.
    """

    title: str
    header: list[str]
    rows: Sequence[Sequence[str | Cell]]
    groups: list[tuple[str, int]] = field(default_factory=list)
    note: str = ""
    folded: bool = False

    @property
    def numeric(self) -> list[bool]:
        """Whether every column holds numbers alone."""
        texts = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in self.rows]
        columns: list[tuple[str, ...]] = list(zip(*texts, strict=True)) or [()] * len(self.header)
        return [any(column) and all(NUMBER.fullmatch(text) for text in column) for column in columns]


def means(table: pandas.DataFrame, long: pandas.DataFrame, title: str, signed: bool = False) -> Iterator[Sheet]:
    """For each sampling one row a method, one column for each score of :data:`SHOWN` that any row has.

    Args:
        table: Rows of the evaluation, see :func:`untrained_recon.study.summary.frame`.
        long: Means, see :func:`untrained_recon.study.summary.summarise`.
        title: What they are of.
        signed: Differences.
    """
    there = set(long.loc[long["mean"].notna(), "score"])
    views = {view: {name: score for name, score in scores.items() if score in there} for view, scores in SHOWN.items()}
    views = {view: scores for view, scores in views.items() if scores}
    header = ["method", *(name for scores in views.values() for name in scores), "R", "seconds", "images"]
    groups = [("", 1), *((view, len(scores)) for view, scores in views.items()), ("", 3)]
    costs = table.groupby(["sampling", "method"])[["acceleration", "seconds"]].mean()
    for sampling, part in long.groupby("sampling", sort=False):
        rows: list[list[str | Cell]] = []
        for method, group in part.groupby("method", sort=False):
            found = group.set_index("score").to_dict("index")
            cells = [interval_cell(score, found[score], signed) for scores in views.values() for score in scores.values()]
            acceleration, seconds = costs.loc[(sampling, method)]
            rows.append([str(method), *cells, f"{acceleration:.2f}", f"{seconds:.1f}", str(group["images"].max())])
        yield Sheet(f"{title}: {sampling}", header, rows, groups)


def interval_cell(score: str, found: Mapping[str, Any], signed: bool = False) -> Cell:
    """A mean with its interval, where it has one: ``mean``, ``low`` and ``high``."""
    mean, low, high = (number(score, found[name], signed) for name in ("mean", "low", "high"))
    return Cell(mean, "" if np.isnan(found["low"]) else f"{low} … {high}")


def number(score: str, value: float, signed: bool = False) -> str:
    """A score as it is shown: PSNR with two digits, others with three."""
    if np.isnan(value):
        return "–"
    return f"{value:{'+' if signed else ''}.{2 if score.endswith('psnr') else 3}f}"


def every_image(table: pandas.DataFrame, folder: Path, shown: Mapping[str, str], pictures: int, hidden: int = 100) -> Sheet:
    """Every image with its scores, and where to find it.

    Args:
        table: Columns :data:`untrained_recon.study.summary.IMAGE`, ``method``, ``acceleration``, ``seconds``, ``image_path``, and
            scores.
        folder: Where the evaluation has left its images.
        shown: Scores by the names of their columns.
        pictures: How many images, masks apart, have a picture on the page; see :func:`picture_id`.
        hidden: The table is folded where it has more rows.
    """
    numbers = {image: n for n, image in enumerate(dict.fromkeys(table[IMAGE].itertuples(index=False, name=None)))}
    rows: list[list[str | Cell]] = []
    for row in table.head(MOST_ROWS).to_dict("records"):
        n = numbers[tuple(row[name] for name in IMAGE)]
        trace = str(row["image_path"]).removesuffix(".npy") + ".trace.csv"
        links = {"picture": f"#{picture_id(n)}"} if n < pictures else {}
        links |= {name: path for name, path in (("image", row["image_path"]), ("trace", trace)) if (folder / path).exists()}
        scores = [number(score, row[score]) for score in shown.values()]
        names = (str(row[name]) for name in ("volume", "item", "method"))
        costs = (f"{row['acceleration']:.2f}", f"{row['seconds']:.1f}")
        rows.append([*names, *scores, *costs, Cell("", links=links), str(row["sampling"])])
    note = f"The first {MOST_ROWS} of {len(table)}; all are in the CSV file." if len(table) > MOST_ROWS else ""
    header = ["volume", "image", "method", *shown, "R", "seconds", "files", "sampling"]
    return Sheet("Every image", header, rows, note=note, folded=len(rows) > hidden)


def picture_id(n: int) -> str:
    """The name of a picture on the page."""
    return f"picture-{n}"
