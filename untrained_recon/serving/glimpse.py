"""Small grey pictures: of an image that is being fitted, once a second, and of those that are ready."""

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # a worker gives its signs of life before it loads PyTorch
    from untrained_recon.recon.fit.watch import Progress

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
LONGEST_EDGE = 128
BRIGHTEST = 99.5  # percentile that is shown white

GreyImage = npt.NDArray[np.uint8]


class Picture(NamedTuple):
    """An image made small.

    Attributes:
        pixels: ``(n_y, n_x)``, at most :data:`LONGEST_EDGE` pixels long; black is 0.
        white: Value that is shown white, and all above it.
    """

    pixels: GreyImage
    white: float


class Glimpse(NamedTuple):
    """How far a fit is.

    Attributes:
        stage: ``fit`` or ``refine``.
        iteration: Iterations of the stage done.
        iterations: Most that the stage may take.
        loss: Squared residual relative to the data.
        seconds: Since the image was begun.
        picture: The present image; None where it could not be made.
    """

    stage: str
    iteration: int
    iterations: int
    loss: float
    seconds: float
    picture: Picture | None


def picture_of(img: npt.NDArray[Any]) -> Picture:
    """A picture of the magnitude.

    Args:
        img: ``(n_y, n_x)``, or ``(n_z, n_y, n_x)``, of which the plane in the middle is shown.
    """
    plane = np.abs(img.reshape(-1, *img.shape[-2:])[img[..., 0, 0].size // 2]).astype(np.float32)
    step = max(1, min(-(-max(plane.shape) // LONGEST_EDGE), *plane.shape))
    n_y, n_x = (n // step for n in plane.shape)
    small = plane[: n_y * step, : n_x * step].reshape(n_y, step, n_x, step).mean(axis=(1, 3))[:LONGEST_EDGE, :LONGEST_EDGE]
    small = np.nan_to_num(small, posinf=0.0)
    white = float(np.percentile(small, BRIGHTEST))
    grey = np.clip(small * (255 / white) if white > 0 else small * 0, 0, 255)
    return Picture(grey.astype(np.uint8), white)


class Glimpses:
    """Looks at the progress of one image, once in ``INTERVAL_S``."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._next = self._begun

    def of(self, progress: "Progress") -> Glimpse | None:
        """A glimpse where one is due."""
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + INTERVAL_S
        return Glimpse(
            progress.stage, progress.iteration, progress.iterations, progress.loss, now - self._begun, _present(progress)
        )


def _present(progress: "Progress") -> Picture | None:
    """The image at hand, of several sets or coils the root sum of squares; a fit does not fail because it cannot be shown."""
    try:
        img = progress.img.detach().reshape(-1, *progress.img.shape[-2:])
        return picture_of(img.abs().square().sum(0).sqrt().cpu().numpy())
    except Exception:
        logger.debug("no picture of the fit", exc_info=True)
        return None
