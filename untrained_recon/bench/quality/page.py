"""The page of a comparison: its tables, and the images of each method at its best."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas

from untrained_recon.bench.quality.notes import NOTES
from untrained_recon.bench.quality.oracles import CHOSEN, SSIM, WHOLE_CHOSEN
from untrained_recon.bench.quality.tables import sheets
from untrained_recon.study.page import PANELS, render
from untrained_recon.study.panels import draw_images, embedded
from untrained_recon.study.summary import IMAGE

if TYPE_CHECKING:
    from untrained_recon.bench.quality.contest import Comparison

PAGE = "quality.html"


def write_page(found: "Comparison", folder: Path) -> Path:
    """Write ``quality.html`` into the folder of the evaluation.

    Args:
        found: What came of it.
        folder: Where the evaluation has left its images.

    Returns:
        The path of the page.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    tables = [vars(sheet) for sheet in sheets(found)]
    panels = list(_panels(found.images, folder))
    more = len(found.images.groupby(IMAGE)) > PANELS
    notes = ("± is half of the 95 % interval of the mean.", NOTES[0])
    return render(
        folder / PAGE, "Quality beside other methods", notes, len(found.images), found.failures, tables, panels, more, NOTES[1:]
    )


def _panels(images: pandas.DataFrame, folder: Path) -> Iterator[dict[str, str]]:
    for n, ((volume, item, sampling), group) in enumerate(images.groupby(IMAGE, sort=False)):
        if n == PANELS:
            return
        imgs = {
            f"{row['method']}\nforeground {row[CHOSEN]:.1f} dB, SSIM {row[SSIM]:.3f}\nwhole {row[WHOLE_CHOSEN]:.1f} dB": np.load(
                folder / row["image_path"]
            )
            for row in group.to_dict("records")
        }
        truth = np.load(folder / group["truth_path"].iloc[0])
        yield {"title": f"{volume}, image {item}, {sampling}", "png": embedded(draw_images(truth, imgs))}
