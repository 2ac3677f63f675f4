"""The HTML report of an evaluation: one file that holds its tables and pictures in itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
import pandas

from untrained_recon.errors import MissingExtraError
from untrained_recon.output import write_text
from untrained_recon.study.origin import Origin
from untrained_recon.study.panels import ERROR_GAIN, Picture, strips
from untrained_recon.study.results import FOREGROUND, Row
from untrained_recon.study.sheets import SHOWN, Sheet, every_image, means, picture_id
from untrained_recon.study.summary import IMAGE, INTERVALS, frame, paired, summarise, volume_scores

PANELS = 24


@dataclass(frozen=True)
class Panel:
    """Pictures that belong together: a truth, and what each method made of it."""

    id: str
    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Page:
    """What a page holds, from top to bottom.

    Attributes:
        title: What it is of.
        origin: Where its figures come from.
        facts: More of that, by names.
        notes: Paragraphs before the tables.
        failures: Rows without an image.
        sheets: Tables.
        footnotes: Paragraphs after the tables.
        drawing: Address of a figure that the page holds in itself.
        panels: Pictures.
        more_panels: There would be more.
        files: Names of files beside the page.
    """

    title: str
    origin: Origin
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    failures: Sequence[Row] = ()
    sheets: Sequence[Sheet] = ()
    footnotes: Sequence[str] = ()
    drawing: str = ""
    panels: Sequence[Panel] = ()
    more_panels: bool = False
    files: Sequence[str] = ()


def write_report(rows: Sequence[Row], folder: Path, origin: Origin | None = None) -> Path:
    """Write ``report.html``, ``summary.csv``, ``paired.csv`` and ``volumes.csv`` of the rows into the folder of their evaluation.

    Args:
        rows: From :func:`untrained_recon.study.evaluate.evaluate`; differences are to the first method among them, failed or not.
        folder: Where the evaluation has left its images.
        origin: What the page says of its making beside date and versions.

    Returns:
        The path of the page.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    table = frame(rows)
    failures = [row for row in rows if row.error]
    sheets: list[Sheet] = []
    panels: list[Panel] = []
    if len(table):
        first = next(row.key.method for row in rows if row.key.method)
        found = {"summary": summarise(table), "paired": paired(table, first), "volumes": volume_scores(table, folder)}
        for name, values in found.items():
            write_text(folder / f"{name}.csv", values.to_csv(index=False))
        sheets += means(table, found["summary"], "Means")
        sheets += means(table, found["paired"], f"Differences to {first} on the same images", signed=True)
        shown = {"PSNR": f"{FOREGROUND}: psnr", "SSIM": f"{FOREGROUND}: ssim"}
        whole = {f"whole: {name}": score for name, score in SHOWN["whole image"].items() if name in shown}
        sheets.append(every_image(table, folder, shown | whole, PANELS))
        panels = list(panels_of(table, folder, shown))
    page = Page(
        "Evaluation",
        origin or Origin(),
        {"reconstructions": counted(table, failures), **({"acceleration": accelerations(table)} if len(table) else {})},
        _NOTES,
        failures,
        sheets,
        panels=panels,
        more_panels=len(table) > 0 and len(table.groupby(IMAGE)) > PANELS,
        files=[name for name in ("results.csv", "summary.csv", "paired.csv", "volumes.csv") if (folder / name).exists()],
    )
    return render(page, folder / "report.html")


def render(page: Page, path: Path) -> Path:
    """Write a page; an existing file is replaced.

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
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    write_text(path, template.render(page=page, facts={**page.origin.facts(), **page.facts}, settings=list(page.origin.settings())))
    return path


def counted(table: pandas.DataFrame, failures: Sequence[Row]) -> str:
    """How many images were made, in what time, and how many were not."""
    seconds = float(table["seconds"].sum()) if len(table) else 0.0
    failed = f"; {len(failures)} failed" if failures else ""
    return f"{len(table)} in {seconds:.0f} s{failed}"


def accelerations(table: pandas.DataFrame) -> str:
    """The accelerations as sampled."""
    found = sorted({f"{value:.2f}" for value in table["acceleration"]}, key=float)
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}, ACS lines included"


def panels_of(table: pandas.DataFrame, folder: Path, shown: Mapping[str, str]) -> Iterator[Panel]:
    """Pictures of the first :data:`PANELS` images, each method's with its scores.

    Args:
        table: Columns :data:`untrained_recon.study.summary.IMAGE`, ``method``, ``image_path``, ``truth_path``, scores.
        folder: Where the evaluation has left its images.
        shown: A PSNR and an SSIM by the names of their columns.
    """
    psnr, ssim = shown["PSNR"], shown["SSIM"]
    for n, ((volume, item, sampling), group) in enumerate(table.groupby(IMAGE, sort=False)):
        if n == PANELS:
            return
        truth = np.load(folder / group["truth_path"].iloc[0])
        records = group.to_dict("records")
        imgs = {f"{row['method']}: {row[psnr]:.1f} dB, {row[ssim]:.3f}": np.load(folder / row["image_path"]) for row in records}
        yield Panel(picture_id(n), f"{volume}, image {item}, {sampling}", strips(truth, imgs))


_NOTES = (
    "Foreground: above a tenth of the truth's 99th percentile, and the holes within. It stands first, as the background of a whole "
    "image is the truth's own noise. PSNR is in dB.",
    "Each image is multiplied by the factor that brings it closest to its truth, the truth's maximum is the range, VIF has a fixed "
    "noise; by the paper's convention the truth is moved to the image's mean and standard deviation, and VIF has the mean of the "
    "truth as noise. All conventions and measures are in the CSV files beside this page.",
    f"Below a mean stands its 95 % interval ({INTERVALS}). R is the acceleration as sampled; seconds are of one reconstruction. "
    f"Pictures: the image, its middle enlarged, its error times {ERROR_GAIN}, all with the truth's white; PSNR and SSIM are those "
    "of the foreground.",
)
