"""The page of a target: the paper's numbers beside ours, where ours come from, every image."""

import math
from pathlib import Path

from untrained_recon.study.origin import Origin
from untrained_recon.study.page import PANELS, Page, accelerations, counted, panels_of, render
from untrained_recon.study.reproduce.context import Context
from untrained_recon.study.reproduce.outcome import Outcome, number, order
from untrained_recon.study.results import FOREGROUND
from untrained_recon.study.sheets import Sheet, every_image
from untrained_recon.study.summary import IMAGE, frame

FIRST = {"PSNR": f"{FOREGROUND}: psnr", "SSIM": f"{FOREGROUND}: ssim"}
PAPERS = {"paper's PSNR": "paper: psnr", "paper's SSIM": "paper: ssim"}


def write_page(outcome: Outcome, context: Context, target: str, command: str) -> Path:
    """Write ``TARGET.html`` beside the target's other files.

    Args:
        outcome: What was made.
        context: Of the run that made it; its rows of this target are shown one by one.
        target: Its name.
        command: As it was typed, if it was.

    Returns:
        The path of the page.
    """
    folder = context.output / target
    rows = context.made.get(target, [])
    failures = [row for row in rows if row.error]
    table = frame(rows)
    facts = {"effort": "the paper's" if context.reduction is None else "reduced (--quick)"}
    sheets = [_beside(outcome)]
    if len(table):
        facts |= {"reconstructions": counted(table, failures), "acceleration": accelerations(table)}
        sheets.append(every_image(table, folder, FIRST | PAPERS, PANELS))
    orders = [line for column in outcome.ranked for line in order(outcome.table, column)]
    page = Page(
        outcome.title,
        Origin(command, context.used, context.device),
        facts,
        [*outcome.notes, *(f"Order, best first: {line}" for line in orders)],
        failures,
        sheets,
        drawing=f"{target}.png" if outcome.figure is not None else "",
        panels=list(panels_of(table, folder, FIRST)) if len(table) else [],
        more_panels=len(table) > 0 and len(table.groupby(IMAGE)) > PANELS,
        files=[f"{target}.md", *(f"{name}.csv" for name in (target, *outcome.grids))],
    )
    return render(page, folder / f"{target}.html")


def _beside(outcome: Outcome) -> Sheet:
    table = outcome.table
    columns = list(dict.fromkeys(table["column"]))
    rows = []
    for row in dict.fromkeys(table["row"]):
        found = table[table["row"] == row].set_index("column")
        cells = [number(found[kind].get(column, math.nan)) for column in columns for kind in ("paper", "ours")]
        rows.append([str(row), *cells, str(int(found["images"].max()))])
    header = ["", *(kind for _ in columns for kind in ("paper", "ours")), "images"]
    return Sheet("The paper's numbers beside ours", header, rows, [("", 1), *((str(column), 2) for column in columns), ("", 1)])
