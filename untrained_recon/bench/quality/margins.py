"""What is to be reached, and on how many images it is: more PSNR than the best oracle by a margin, and no lower SSIM."""

from typing import Any

import pandas

from untrained_recon.bench.quality.oracles import SCORES, highest_oracles
from untrained_recon.study.summary import IMAGE

VIEWS = {"foreground": "ours, foreground", "whole": "ours, whole", "whole, with noise floor": "noise floor, whole"}


def margin(acceleration: int) -> float:
    """PSNR in dB above the best oracle: 1 to fourfold acceleration, 0 beyond."""
    return 1.0 if acceleration <= 4 else 0.0


def mean_margin(pattern: str, acceleration: int) -> float:
    """Foreground PSNR in dB above the best oracle on average: 3 with random lines and 1.7 with others to 4-fold, 2 beyond."""
    if acceleration > 4:
        return 2.0
    return 3.0 if pattern == "random" else 1.7


def targets(images: pandas.DataFrame, method: str) -> pandas.DataFrame:
    """Count the images and masks on which a method reaches the targets, both against the highest score of any oracle.

    An image on which the method failed counts as missed.

    Args:
        images: See :func:`untrained_recon.bench.quality.oracles.judge`.
        method: Whose targets.

    Returns:
        Columns ``acceleration, view`` (see :data:`VIEWS`), ``margin``, ``images``, ``psnr_met``, ``ssim_met``, ``both_met``; the
        smallest differences ``worst_psnr`` and ``worst_ssim``, and where they are, ``worst_psnr_at``, ``worst_ssim_at``.
    """
    highest = highest_oracles(images).set_index(IMAGE)[SCORES]
    own = images[images["method"] == method].set_index(IMAGE)[SCORES].reindex(highest.index)
    gains = own - highest
    accelerations = gains.index.get_level_values("sampling").str.extract(r"-(\d+)x", expand=False).astype(int)
    return pandas.DataFrame(
        {"acceleration": acceleration, "view": view} | _counted(group, prefix, margin(acceleration))
        for acceleration, group in gains.groupby(accelerations)
        for view, prefix in VIEWS.items()
    )


def _counted(gains: pandas.DataFrame, prefix: str, least: float) -> dict[str, Any]:
    psnr, ssim = gains[f"{prefix}: psnr"], gains[f"{prefix}: ssim"]
    higher, no_lower = psnr >= least, ssim >= 0
    counts = {"psnr_met": higher.sum(), "ssim_met": no_lower.sum(), "both_met": (higher & no_lower).sum()}
    worst = {
        "worst_psnr": psnr.min(),
        "worst_psnr_at": _at_lowest(psnr),
        "worst_ssim": ssim.min(),
        "worst_ssim_at": _at_lowest(ssim),
    }
    return {"margin": least, "images": len(gains)} | {name: int(count) for name, count in counts.items()} | worst


def _at_lowest(gain: pandas.Series) -> str:
    return "" if gain.isna().all() else ", ".join(str(part) for part in gain.idxmin())
