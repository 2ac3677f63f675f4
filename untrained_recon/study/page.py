"""The HTML report of an evaluation: one file that holds its tables and pictures in itself."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from untrained_recon import __version__
from untrained_recon.errors import MissingExtraError
from untrained_recon.output import write_text
from untrained_recon.study.panels import draw_images, embedded
from untrained_recon.study.results import Row
from untrained_recon.study.summary import IMAGE, frame, paired, summarise, volume_scores

SHOWN = ("ours: psnr", "ours: ssim", "ours: vif", "ours: ms_ssim", "paper: psnr", "paper: ssim", "paper: vif", "paper: ms_ssim")
PANELS = 24


def write_report(rows: Sequence[Row], folder: Path) -> Path:
    """Write ``report.html``, ``summary.csv``, ``paired.csv`` and ``volumes.csv`` of the rows into the folder of their evaluation.

    Args:
        rows: From :func:`untrained_recon.study.evaluate.evaluate`; differences are to the first method among them, failed or not.
        folder: Where the evaluation has left its images.

    Returns:
        The path of the page.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    table = frame(rows)
    failures = [row for row in rows if row.error]
    tables: dict[str, pandas.DataFrame] = {}
    panels: list[dict[str, str]] = []
    if len(table):
        first = next(row.key.method for row in rows if row.key.method)
        tables = {"summary": summarise(table), "paired": paired(table, first), "volumes": volume_scores(table, folder)}
        for name, found in tables.items():
            write_text(folder / f"{name}.csv", found.to_csv(index=False))
        panels = list(_panels(table, folder))
    titled = [_wide(tables[name], title) for name, title in _TITLES.items() if len(tables.get(name, ()))]
    more = len(table.groupby(IMAGE)) > PANELS if len(table) else False
    return render(folder / "report.html", "Evaluation", _CONVENTIONS, len(table), failures, titled, panels, more)


def render(
    path: Path,
    title: str,
    notes: Sequence[str],
    images: int,
    failures: Sequence[Row],
    tables: Sequence[Mapping[str, Any]],
    panels: Sequence[Mapping[str, str]],
    more_panels: bool,
    footnotes: Sequence[str] = (),
) -> Path:
    """Write a page.

    Args:
        path: The file; an existing one is replaced.
        title: What it is of.
        notes: Paragraphs before the tables.
        images: How many were made.
        failures: Rows without an image.
        tables: Each with ``title``, ``header`` and ``rows`` of texts.
        panels: Pictures, each with ``title`` and ``png``, see :func:`untrained_recon.study.panels.embedded`.
        more_panels: There would be more.
        footnotes: Paragraphs between tables and pictures.

    Returns:
        The path.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("the HTML report needs jinja2: pip install 'untrained-recon[report]'") from error
    source = (resources.files("untrained_recon.study") / "page.html.j2").read_text(encoding="utf-8")
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    text = page.render(
        version=__version__,
        title=title,
        notes=notes,
        images=images,
        failures=failures,
        tables=tables,
        panels=panels,
        more_panels=more_panels,
        footnotes=footnotes,
    )
    write_text(path, text)
    return path


_CONVENTIONS = (
    "A score's convention stands before its colon. ours: each image times the factor that brings it closest to its truth, the "
    "truth's maximum as range, VIF with a fixed noise. paper: the truth moved to the image's mean and standard deviation, VIF with "
    "the truth's mean as noise. All conventions and measures are in the CSV files beside this page.",
)
_TITLES = {"summary": "Means and 95 % confidence intervals", "paired": "Differences to the first method on the same images"}


def _wide(long: pandas.DataFrame, title: str) -> dict[str, Any]:
    """One row for each sampling and method, one column for each score that is shown."""
    rows = [
        [sampling, method, *(_cell(group[group["score"] == score]) for score in SHOWN)]
        for (sampling, method), group in long.groupby(["sampling", "method"], sort=False)
    ]
    return {"title": title, "header": ["sampling", "method", *SHOWN], "rows": rows}


def _cell(found: pandas.DataFrame) -> str:
    if found.empty or np.isnan(found["mean"].iloc[0]):
        return "–"
    mean, low, high = (float(found[name].iloc[0]) for name in ("mean", "low", "high"))
    return f"{mean:.4g}" if np.isnan(low) else f"{mean:.4g} [{low:.4g}, {high:.4g}]"


def _panels(table: pandas.DataFrame, folder: Path) -> Iterator[dict[str, str]]:
    for n, ((volume, item, sampling), group) in enumerate(table.groupby(["volume", "item", "sampling"], sort=False)):
        if n == PANELS:
            return
        truth = np.load(folder / group["truth_path"].iloc[0])
        imgs = {
            f"{row['method']}\nPSNR {row['ours: psnr']:.1f} dB, SSIM {row['ours: ssim']:.3f}": np.load(folder / row["image_path"])
            for _, row in group.iterrows()
        }
        yield {"title": f"{volume}, image {item}, {sampling}", "png": embedded(draw_images(truth, imgs))}
