"""Pictures as PNG, and curves as the points of SVG lines."""

import base64
import io
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from untrained_recon.serving.entries import Point
from untrained_recon.serving.glimpse import GreyImage

WIDTH, HEIGHT = 320, 96


class Curve(NamedTuple):
    """How the residual fell, on a logarithmic scale.

    Attributes:
        lines: Stage and points ``x,y x,y …`` in a box of :data:`WIDTH` × :data:`HEIGHT`; several runs have their stages anew.
        stages: The stages, each once.
        low: Lowest value.
        high: Highest value.
        seconds: Length of the time axis.
    """

    lines: list[tuple[str, str]]
    stages: list[str]
    low: float
    high: float
    seconds: float


def png(pixels: GreyImage) -> bytes:
    """A grey image as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def data_uri(pixels: GreyImage) -> str:
    """A grey image that comes with the page itself."""
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"


def curve_of(points: Sequence[Point]) -> Curve | None:
    """A curve; None where there is too little for one."""
    good = [point for point in points if math.isfinite(point[2]) and point[2] > 0]
    if len(good) < 2:
        return None
    first, seconds = good[0][0], max(good[-1][0] - good[0][0], 1e-9)
    low, high = min(point[2] for point in good), max(point[2] for point in good)
    span = math.log(high / low) or 1.0

    def place(point: Point) -> str:
        return f"{(point[0] - first) / seconds * WIDTH:.1f},{HEIGHT * (1 - math.log(point[2] / low) / span):.1f}"

    groups = ((stage, [place(point) for point in points]) for stage, points in itertools.groupby(good, lambda point: point[1]))
    lines = [(stage, " ".join(places if len(places) > 1 else 2 * places)) for stage, places in groups]
    return Curve(lines, list(dict.fromkeys(stage for stage, _ in lines)), low, high, seconds)
