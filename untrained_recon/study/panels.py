"""Pictures of a study: images side by side with zooms and error maps. Drawn without any state of matplotlib's own."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from untrained_recon.errors import MissingExtraError
from untrained_recon.metrics import match_scale
from untrained_recon.types import FloatArray

ERROR_GAIN = 5
LONGEST = 320  # pixels of a picture on a page
GAP = 2


class Picture(NamedTuple):
    """A picture of a page: what it shows, and the address of a PNG that the page holds in itself."""

    caption: str
    src: str


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, sizes in inches. Raises MissingExtraError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("pictures need matplotlib: pip install 'untrained-recon[report]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def draw_images(truth: FloatArray, imgs: Mapping[str, FloatArray]) -> Any:
    """A figure of three rows: the truth and every image, their middle enlarged, and the errors times :data:`ERROR_GAIN`.

    Args:
        truth: ``(n_y, n_x)``; white is its 99.8th percentile in all pictures.
        imgs: Images of the same shape by their captions; each is shown after one least-squares scale.
    """
    scaled = {caption: match_scale(img, truth) for caption, img in imgs.items()}
    figure = new_figure(2.6 * (1 + len(imgs)), 8)
    axes = figure.subplots(3, 1 + len(imgs), squeeze=False)
    top = float(np.percentile(truth, 99.8))
    for column, (caption, img) in enumerate({"truth": truth, **scaled}.items()):
        error = ERROR_GAIN * np.abs(img - truth)
        for axis, picture in zip(axes[:, column], (img, enlarged(img), error), strict=True):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=top)
            axis.set_axis_off()
        axes[0, column].set_title(caption, fontsize=9)
    axes[2, 0].set_title(f"error × {ERROR_GAIN}", fontsize=9)
    return figure


def enlarged(img: FloatArray) -> FloatArray:
    """The middle third of an image along both axes."""
    n_y, n_x = img.shape
    return img[n_y // 3 : n_y - n_y // 3, n_x // 3 : n_x - n_x // 3]


def strips(truth: FloatArray, imgs: Mapping[str, FloatArray]) -> list[Picture]:
    """The truth and every image, each above its enlarged middle and its error times :data:`ERROR_GAIN`, as pages hold them.

    Args:
        truth: ``(n_y, n_x)``; white is its 99.8th percentile in all pictures.
        imgs: Images of the same shape by their captions; each is shown after one least-squares scale.
    """
    top = float(np.percentile(truth, 99.8)) or 1.0
    scaled = {"truth": truth, **{caption: match_scale(img, truth) for caption, img in imgs.items()}}
    return [
        Picture(caption, _png([_grey(part, truth.shape, top) for part in (img, enlarged(img), ERROR_GAIN * np.abs(img - truth))]))
        for caption, img in scaled.items()
    ]


def _grey(img: FloatArray, shape: tuple[int, int], top: float) -> npt.NDArray[np.uint8]:
    """An image as large as another of this shape is shown, black at 0 and white from ``top`` on."""
    from PIL import Image

    n_y, n_x = (max(1, round(n * min(1.0, LONGEST / max(shape)))) for n in shape)
    grey = Image.fromarray(np.uint8(np.clip(np.nan_to_num(img) / top, 0, 1) * 255))
    return np.asarray(grey.resize((n_x, n_y), Image.Resampling.BILINEAR))


def _png(parts: Sequence[npt.NDArray[np.uint8]]) -> str:
    """Pictures of the same width below one another, as the address of a PNG that an HTML page can hold in itself."""
    from PIL import Image

    gap = np.full((GAP, parts[0].shape[1]), 128, np.uint8)
    png = io.BytesIO()
    Image.fromarray(np.concatenate([parts[0], *(row for part in parts[1:] for row in (gap, part))])).save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
