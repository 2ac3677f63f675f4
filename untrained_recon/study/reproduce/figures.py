"""Figures 7 and 10: an image of another kind, and the sensitivity to seed and width."""

import math

import numpy as np
import pandas
import torch

from untrained_recon.errors import EvaluationError, MissingExtraError
from untrained_recon.output import make_folder, write_array
from untrained_recon.physics.operators import fft2
from untrained_recon.study.panels import draw_images, new_figure
from untrained_recon.study.reproduce.context import Context
from untrained_recon.study.reproduce.outcome import Outcome, long_table
from untrained_recon.study.reproduce.tables import CONVENTION, MEASURES
from untrained_recon.study.reproduce.trained import unet, unet_note
from untrained_recon.study.results import Row
from untrained_recon.study.summary import frame

PRESET = "knee-4x"
WIDTHS = (16, 32, 64, 128, 200, 256, 400)
WIDTH_LAYERS = {"network.layers": 7}


def fig7(context: Context) -> Outcome:
    """The photograph of a cameraman, undersampled as a scan of a single coil."""
    folder = context.output / "fig7"
    make_folder(folder)
    path = folder / "cameraman.npy"
    write_array(path, fft2(_cameraman())[None].numpy())
    methods = {
        "zero-filled": context.config(PRESET, {"recon.method": "zero-filled"}),
        **unet(context, None, 4),
        "ConvDecoder": context.config(PRESET),
    }
    rows = context.evaluate("fig7", {path: methods}, 4)
    found = good(rows)
    imgs = {
        f"{row['method']}\nPSNR {row['paper: psnr']:.1f} dB, SSIM {row['paper: ssim']:.3f}": np.load(folder / row["image_path"])
        for _, row in found.iterrows()
    }
    figure = draw_images(np.load(folder / found["truth_path"].iloc[0]), imgs)
    cells = [(row["method"], column, math.nan, row[score], 1) for _, row in found.iterrows() for column, score in MEASURES.items()]
    notes = [
        "The paper shows this image and gives no numbers: its U-net, trained on knees, brings in artefacts, its ConvDecoder does "
        "not. The photograph is the one that scikit-image ships; single coil, real, 4x random mask along its rows.",
        CONVENTION,
        unet_note(context),
        *context.reductions({"ConvDecoder": PRESET}),
    ]
    return Outcome("Figure 7: an image out of distribution", long_table(cells), notes, figure=figure)


def fig10(context: Context) -> Outcome:
    """Spread of the scores over seeds, and SSIM by width."""
    runs = _runs(context)
    widths = _widths(context)
    cells = [(f"runs, {column}, {what}", "value", math.nan, value, len(runs)) for column, what, value in _spread(runs)]
    for (volume, width), group in widths.groupby(["volume", "width"], sort=False):
        cells.append((f"width {width}, {volume}", "value", math.nan, float(group["SSIM"].mean()), len(group)))
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    shown = [column for column in MEASURES if not runs[column].isna().all()]
    left.boxplot([100 * (runs[column] / runs[column].mean() - 1) for column in shown], tick_labels=shown)
    left.set(ylabel="difference to the mean / %", title=f"{len(runs)} runs on {runs['volume'].iloc[0]}")
    for volume, group in widths.groupby("volume", sort=False):
        means = group.groupby("width")["SSIM"].mean()
        right.plot(means.index, means, "o-", label=volume)
    right.set(xlabel="channels", ylabel="SSIM", title="width", xscale="log")
    tried = sorted(set(widths["width"]))
    right.set_xticks(tried, [str(width) for width in tried])
    right.minorticks_off()
    right.legend()
    notes = [
        "The paper shows no numbers: little spread, the most in VIF, the least in PSNR and MS-SSIM; SSIM is "
        "best about 200 channels and falls for narrower and wider networks.",
        context.data_note("one image (left) and three images (right) of fastMRI's knee validation set", context.paths(3)),
        f"Left: {len(runs)} seeds (paper: 10). Right: 7 layers, mean of {len(widths.groupby('seed'))} seed(s) (paper: 4).",
        CONVENTION,
        *context.reductions({"ConvDecoder": PRESET}),
    ]
    grids = {"fig10-runs": runs, "fig10-widths": widths}
    return Outcome("Figure 10: spread over runs, SSIM by width", long_table(cells), notes, figure=figure, grids=grids)


def good(rows: list[Row]) -> pandas.DataFrame:
    """The rows without an error, see :func:`untrained_recon.study.summary.frame`.

    Raises:
        EvaluationError: There is none.
    """
    found = frame(rows)
    if found.empty:
        raise EvaluationError(f"no image for the figure: {rows[0].error}" if rows else "no image for the figure")
    return found


def _runs(context: Context) -> pandas.DataFrame:
    methods = {f"run {seed}": context.config(PRESET, {"seed": seed}) for seed in range(context.runs(10))}
    found = good(context.evaluate("fig10", {context.paths(1)[0]: methods}, 4))
    return found[["volume", "method", *MEASURES.values()]].rename(columns={score: column for column, score in MEASURES.items()})


def _spread(runs: pandas.DataFrame) -> list[tuple[str, str, float]]:
    found = []
    for column in MEASURES:
        mean, deviation = float(runs[column].mean()), float(runs[column].std())
        found += [(column, "mean", mean), (column, "standard deviation / mean in %", 100 * deviation / mean)]
    return found


def _widths(context: Context) -> pandas.DataFrame:
    """SSIM of every image, width and seed."""
    tried = {
        f"width-{width}-seed-{seed}": (context.channels(PRESET, width), seed)
        for width in WIDTHS
        for seed in range(1 if context.reduction else 4)
    }
    methods = {}
    for name, (_, seed) in tried.items():
        width = int(name.split("-")[1])
        methods[name] = context.config(PRESET, WIDTH_LAYERS | {"network.channels": width, "seed": seed})
    found = good(context.evaluate("fig10", dict.fromkeys(context.paths(3), methods), 4))
    table = found[["volume", "method", "paper: ssim"]].rename(columns={"paper: ssim": "SSIM"})
    return table.assign(width=[tried[name][0] for name in table["method"]], seed=[tried[name][1] for name in table["method"]])


def _cameraman() -> torch.Tensor:
    try:
        from skimage.data import camera
    except ImportError as error:
        raise MissingExtraError("the photograph needs scikit-image: pip install 'untrained-recon[report]'") from error
    return torch.from_numpy(camera().astype(np.float32) / 255).to(torch.complex64)
