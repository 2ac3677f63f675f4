"""A picture and a table: the comparison of images with a truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from untrained_recon.config import ScanConfig
from untrained_recon.encoding import ImageIndex
from untrained_recon.errors import MissingExtraError, RawFileError, UnsupportedScanError
from untrained_recon.files.images import read_images
from untrained_recon.files.raw import RawFile
from untrained_recon.metrics import Quality, match_scale, quality
from untrained_recon.output import NO_INPUTS, Inputs, written
from untrained_recon.physics.operators import rss_image
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.series import counters_of
from untrained_recon.types import FloatArray

ERROR_GAIN = 5
MAKER, HEAD_BYTES = "untrained-recon", 4096


@dataclass(frozen=True)
class Comparison:
    """One image beside its truth: ``(n_y, n_x)`` arrays and the quality of the two reconstructions."""

    index: ImageIndex
    truth: FloatArray
    zero_filled: FloatArray
    ours: FloatArray

    def qualities(self) -> tuple[Quality, Quality]:
        """Quality of the zero-filled image and of ours."""
        return quality(self.zero_filled, self.truth), quality(self.ours, self.truth)


def require_matplotlib() -> ModuleType:
    """``matplotlib`` with a backend for files. Raises MissingExtraError where it is not installed."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("pictures need matplotlib: pip install 'untrained-recon[report]'") from error
    matplotlib.use("Agg")
    module: ModuleType = matplotlib
    return module


def compare(raw_path: Path, image_path: Path, truth_path: Path, group: str = "") -> list[Comparison]:
    """Pair every image of a replay with the truth of its slice and the zero-filled image of the same prewhitened data.

    Args:
        raw_path: The raw file that was replayed.
        image_path: The image file that came out.
        truth_path: float32 ``.npy`` ``(slices, n_y, n_x)``.
        group: Group of the raw file, see :class:`~untrained_recon.files.raw.RawFile`.

    Raises:
        RawFileError: The files do not belong together.
        UnsupportedScanError: A 3-D scan.
    """
    try:
        truths = np.load(truth_path)
    except (OSError, ValueError) as error:
        raise RawFileError(f"{truth_path}: cannot be read as .npy ({error})") from error
    ours = {counters_of(i): i.data[0, 0] for i in read_images(image_path, 0)}
    rows = []
    with RawFile(raw_path, group) as raw:
        for data in assemble([raw.acquisitions()], parse_header(raw.header), ScanConfig(flush="close")):
            if data.index.encoding:
                continue  # the truth is that of the first encoding space
            if data.mask.ndim == 3:
                raise UnsupportedScanError(f"{raw_path}: {data.index} is 3-D; only 2-D scans are compared")
            if data.index not in ours:
                raise RawFileError(f"{image_path}: no image for {data.index} of {raw_path}")
            if data.index.slice >= len(truths) or truths[data.index.slice].shape != ours[data.index].shape:
                raise RawFileError(f"{truth_path}: shape {truths.shape} has no truth for {data.index}")
            rows.append(Comparison(data.index, truths[data.index.slice], rss_image(data.ksp, data.encoding), ours[data.index]))
    return rows


def save_panel(rows: Sequence[Comparison], path: Path, inputs: Inputs = NO_INPUTS) -> None:
    """Write a PNG: per image truth, zero-filled, ours, and the error maps of both, on common scales.

    Args:
        rows: The images.
        path: The file; an existing one is replaced.
        inputs: See :func:`untrained_recon.output.require_place`.

    Raises:
        RawFileError: It cannot be written there.
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(len(rows), 5, figsize=(15, 3.5 * len(rows)), squeeze=False, layout="constrained")
    for row, line in zip(rows, axes, strict=True):
        top = float(np.percentile(row.truth, 99.8))
        zero, ours = (match_scale(img, row.truth) for img in (row.zero_filled, row.ours))
        pictures = [row.truth, zero, ours, ERROR_GAIN * np.abs(zero - row.truth), ERROR_GAIN * np.abs(ours - row.truth)]
        captions = [
            f"truth ({row.index})",
            *(_caption(*pair) for pair in zip(("zero-filled", "ours"), row.qualities(), strict=True)),
        ]
        captions += [f"zero-filled\nerror × {ERROR_GAIN}", f"ours\nerror × {ERROR_GAIN}"]
        for axis, picture, caption in zip(line, pictures, captions, strict=True):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=top)
            axis.set_title(caption, fontsize=9)
            axis.set_axis_off()
    with written(path, inputs) as part:
        figure.savefig(part, dpi=110, bbox_inches="tight", format="png", metadata={"Software": MAKER})
    pyplot.close(figure)


def is_panel(path: Path) -> bool:
    """Whether a file is a picture that :func:`save_panel` wrote."""
    with path.open("rb") as file:
        return MAKER.encode() in file.read(HEAD_BYTES)


def _pyplot() -> ModuleType:
    require_matplotlib()
    import matplotlib.pyplot as pyplot

    module: ModuleType = pyplot
    return module


def _caption(name: str, q: Quality) -> str:
    return f"{name}\nNRMSE {q.nrmse:.3f}  PSNR {q.psnr:.1f} dB  SSIM {q.ssim:.3f}"
