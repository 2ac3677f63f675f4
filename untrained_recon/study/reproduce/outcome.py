"""What a target makes: a table with the paper's numbers beside ours, remarks, perhaps a figure. Written as Markdown, CSV, PNG."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from untrained_recon.output import make_folder, write_text, written

COLUMNS = ("row", "column", "paper", "ours", "images")


@dataclass(frozen=True)
class Outcome:
    """A table or figure made again.

    Attributes:
        title: What it is.
        table: Long form, columns :data:`COLUMNS`: ``paper`` NaN where the paper has no number, ``ours`` NaN where we have none,
            ``images`` how many images (or other samples) ours is the mean of.
        notes: What is to be known about the numbers.
        ranked: Columns of the table in which larger is better and the order of the rows is compared with the paper's.
        figure: matplotlib's.
        grids: More tables, by the name of their CSV file.
    """

    title: str
    table: pandas.DataFrame
    notes: Sequence[str]
    ranked: Sequence[str] = ()
    figure: Any = None
    grids: dict[str, pandas.DataFrame] = field(default_factory=dict)


def long_table(cells: Sequence[tuple[str, str, float, float, int]]) -> pandas.DataFrame:
    """The table of an outcome from its cells, in the order of :data:`COLUMNS`."""
    return pandas.DataFrame(cells, columns=list(COLUMNS))


def mean_of(values: Sequence[float]) -> float:
    """Mean of the numbers among the values; NaN where there is none."""
    numbers = [value for value in values if not math.isnan(value)]
    return float(np.mean(numbers)) if numbers else math.nan


def write(outcome: Outcome, folder: Path, name: str) -> str:
    """Write ``NAME.md``, ``NAME.csv``, for a figure ``NAME.png``, and the grids.

    Returns:
        The Markdown.
    """
    make_folder(folder)
    for title, table in {name: outcome.table, **outcome.grids}.items():
        write_text(folder / f"{title}.csv", table.to_csv(index=False))
    if outcome.figure is not None:
        with written(folder / f"{name}.png") as part:
            outcome.figure.savefig(part, dpi=120)
    text = "\n".join(markdown(outcome)) + "\n"
    write_text(folder / f"{name}.md", text)
    return text


def markdown(outcome: Outcome) -> Iterator[str]:
    """The lines of the report."""
    table = outcome.table
    columns = list(dict.fromkeys(table["column"]))
    yield from (f"# {outcome.title}", "")
    yield "| | images | " + " | ".join(f"{column}: paper | ours" for column in columns) + " |"
    yield "|---|---:|" + "---:|" * (2 * len(columns))
    for row in dict.fromkeys(table["row"]):
        found = table[table["row"] == row].set_index("column")
        cells = [number(found[kind].get(column, math.nan)) for column in columns for kind in ("paper", "ours")]
        yield f"| {row} | {int(found['images'].max())} | " + " | ".join(cells) + " |"
    if outcome.ranked:
        yield from ("", "Order, best first:", "")
        yield from (f"- {line}" for column in outcome.ranked for line in order(table, column))
    yield ""
    yield from (f"- {note}" for note in outcome.notes)


def order(table: pandas.DataFrame, column: str) -> Iterator[str]:
    """The order of the rows by one column in the paper and here, of rows that have both numbers."""
    both = table[table["column"] == column].dropna(subset=["paper", "ours"])
    if len(both) < 2:
        return
    paper, ours = (list(both.sort_values(kind, ascending=False, kind="stable")["row"]) for kind in ("paper", "ours"))
    verdict = "the same" if paper == ours else "another"
    yield f"{column}: paper {' > '.join(paper)}; here {' > '.join(ours)}: {verdict}."


def number(value: float) -> str:
    """A number of a table, or a dash."""
    return "–" if math.isnan(value) else f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
