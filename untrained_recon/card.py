"""An image and facts about it as HTML, for notebooks."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

LONGEST_EDGE = 256
MOST_PICTURES = 4
BRIGHTEST = 99.5  # percentile that is shown white


def card(imgs: npt.NDArray[np.float32], facts: Mapping[str, str], remarks: Sequence[str]) -> str:
    """A table of facts beside small pictures, which need matplotlib and are left out without.

    Args:
        imgs: ``(…, n_y, n_x)``; of several images a few are shown, on one scale.
        facts: Label and text of every row.
        remarks: Sentences that must not be missed.
    """
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in facts.items()
    )
    warnings = "".join(f"<p><b>{escape(remark)}</b></p>" for remark in remarks)
    pictures = "".join(f"<img src='data:image/png;base64,{png}'> " for png in _pngs(imgs))
    return f"<div>{pictures}{warnings}<table>{rows}</table></div>"


def _pngs(imgs: npt.NDArray[np.float32]) -> list[str]:
    if find_spec("matplotlib") is None:
        return []
    from matplotlib.image import imsave

    planes = imgs.reshape(-1, *imgs.shape[-2:])
    chosen = planes[np.unique(np.linspace(0, len(planes) - 1, MOST_PICTURES).round().astype(int))]
    white = max(float(np.percentile(chosen, BRIGHTEST)), float(np.finfo(np.float32).tiny))
    return [_png(imsave, _small(plane), white) for plane in chosen]


def _small(img: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means of blocks of pixels, as few as keep the longer edge short."""
    step = min(-(-max(img.shape) // LONGEST_EDGE), *img.shape)
    n_y, n_x = (n // step for n in img.shape)
    blocks: npt.NDArray[np.float32] = img[: n_y * step, : n_x * step].reshape(n_y, step, n_x, step).mean(axis=(1, 3))
    return blocks


def _png(imsave: Callable[..., None], img: npt.NDArray[np.float32], white: float) -> str:
    file = io.BytesIO()
    imsave(file, img, cmap="gray", vmin=0, vmax=white, format="png")
    return base64.b64encode(file.getvalue()).decode()
