"""The page of a comparison: its tables, and the images of each method at its best."""

from pathlib import Path
from typing import TYPE_CHECKING

from untrained_recon.bench.quality.notes import NOTES
from untrained_recon.bench.quality.oracles import CHOSEN, SSIM, WHOLE_CHOSEN
from untrained_recon.bench.quality.tables import WHOLE_SSIM, sheets
from untrained_recon.study.origin import Origin
from untrained_recon.study.page import PANELS, Page, accelerations, counted, panels_of, render
from untrained_recon.study.panels import ERROR_GAIN
from untrained_recon.study.sheets import every_image
from untrained_recon.study.summary import IMAGE

if TYPE_CHECKING:
    from untrained_recon.bench.quality.contest import Comparison

PAGE = "quality.html"
SHOWN = {"PSNR": CHOSEN, "SSIM": SSIM}
READING = (
    "The 95 % interval of a mean stands below it. Pictures: the image, its middle enlarged, its error times "
    f"{ERROR_GAIN}, all with the truth's white; PSNR and SSIM are those of the foreground.",
    NOTES[0],
)


def write_page(found: "Comparison", folder: Path, origin: Origin | None = None) -> Path:
    """Write ``quality.html`` into the folder of the evaluation.

    Args:
        found: What came of it.
        folder: Where the evaluation has left its images.
        origin: What the page says of its making beside date and versions.

    Returns:
        The path of the page.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    images = found.images
    whole = {"whole: PSNR": WHOLE_CHOSEN, "whole: SSIM": WHOLE_SSIM}
    page = Page(
        "Quality beside other methods",
        origin or Origin(),
        {"reconstructions": f"{counted(images, found.failures)}, of each method the one that was chosen"}
        | {"acceleration": accelerations(images)},
        READING,
        found.failures,
        [*sheets(found), every_image(images, folder, SHOWN | whole, PANELS)],
        NOTES[1:],
        panels=list(panels_of(images, folder, SHOWN)),
        more_panels=len(images.groupby(IMAGE)) > PANELS,
        files=[name for name in ("quality.csv", "quality.json", "results.csv") if (folder / name).exists()],
    )
    return render(page, folder / PAGE)
