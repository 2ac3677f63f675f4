"""Pictures of a study: images side by side with zooms and error maps. Drawn without any state of matplotlib's own."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from untrained_recon.errors import MissingExtraError
from untrained_recon.metrics import match_scale
from untrained_recon.types import FloatArray

ERROR_GAIN = 5


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


def embedded(figure: Any) -> str:
    """A figure as the address of a PNG that an HTML page can hold in itself."""
    png = io.BytesIO()
    figure.savefig(png, dpi=90, format="png")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
