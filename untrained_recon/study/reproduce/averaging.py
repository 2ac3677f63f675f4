"""Table 7 and figure 6: averaging the images of several fits (paper, section 6)."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from untrained_recon.config import Config
from untrained_recon.metrics import PAPER, psnr
from untrained_recon.physics.operators import rss, rss_image
from untrained_recon.recon.methods import solve
from untrained_recon.study.kept import Kept
from untrained_recon.study.panels import new_figure
from untrained_recon.study.reproduce.context import Context
from untrained_recon.study.reproduce.outcome import Outcome, long_table
from untrained_recon.types import ComplexArray, FloatArray

RUNS, IMAGES, PRESET = 10, 10, "knee-4x"
PAPER_AVERAGE_IMAGE, PAPER_AVERAGE_RUN, PAPER_BEST_RUN = 33.70, 32.46, 32.71

Scores = npt.NDArray[np.float64]


def table7(context: Context) -> Outcome:
    """PSNR of the average image, of the average run and of the best run."""
    paths, single, averaged = _scores(context)
    n = len(paths)
    table = long_table(
        [
            ("average image", "PSNR", PAPER_AVERAGE_IMAGE, float(averaged[:, -1].mean()), n),
            ("average run", "PSNR", PAPER_AVERAGE_RUN, float(single.mean()), n),
            ("best run", "PSNR", PAPER_BEST_RUN, float(single.max(axis=1).mean()), n),
        ]
    )
    return Outcome("Table 7: averaging the images of several runs", table, _notes(context, paths, single), ranked=["PSNR"])


def fig6(context: Context) -> Outcome:
    """PSNR of the average of k runs."""
    paths, single, averaged = _scores(context)
    published = {1: PAPER_AVERAGE_RUN, RUNS: PAPER_AVERAGE_IMAGE}
    means = averaged.mean(axis=0)
    ours = dict(enumerate(means, start=1))
    cells = [(f"k = {k}", "PSNR", published.get(k, np.nan), ours.get(k, np.nan), len(paths)) for k in range(1, RUNS + 1)]
    figure = new_figure(5, 3.6)
    axes = figure.subplots()
    axes.plot(list(ours), means - means[0], "o-", label="ours")
    gains = [value - PAPER_AVERAGE_RUN for value in published.values()]
    axes.plot(list(published), gains, "s", color="tab:red", label="paper, Table 7")
    axes.set(xlabel="number of runs k", ylabel="gain in PSNR over a single run / dB", xticks=range(1, RUNS + 1))
    axes.legend()
    notes = [
        *_notes(context, paths, single),
        "The paper gives k = 1 and k = 10 in Table 7, and for k = 2 a gain of more than 0.5 dB. Ours are means over "
        "groups of k runs in which each run is as often.",
    ]
    return Outcome("Figure 6: PSNR of the average of k runs", long_table(cells), notes, figure=figure)


def averages(coil_imgs: ComplexArray, k: int) -> Iterator[ComplexArray]:
    """Means of k runs, of ``(runs, n_coils, n_y, n_x)``: from the first run on, from the second, … round in a circle.

    Every run counts as often as any other. Putting measured samples back is the same for every run, so that the mean of the runs'
    final coil images is what ``recon.runs`` makes.
    """
    n = len(coil_imgs)
    for start in range(n if k < n else 1):
        yield coil_imgs[(start + np.arange(k)) % n].mean(axis=0)


def _scores(context: Context) -> tuple[list[Path], Scores, Scores]:
    """The files, PSNR ``(images, runs)`` of single runs, and of the averages of 1, 2, … runs."""
    paths = context.paths(IMAGES)
    fits = {path: _fits(context, path) for path in paths}
    context.keep([fit for each in fits.values() for fit in each])
    single, averaged = [], []
    for path, kept in fits.items():
        ksp, data = context.middle_image(path, 4)
        reference, runs = rss_image(ksp, data.encoding), np.stack([fit.load() for fit in kept])
        single.append([_psnr(run, reference) for run in runs])
        averaged.append(
            [np.mean([_psnr(img, reference) for img in averages(runs, k)]) for k in range(1, len(runs) + 1)],
        )
    return paths, np.array(single), np.array(averaged)


def _psnr(coil_imgs: ComplexArray, reference: FloatArray) -> float:
    return psnr(rss(torch.from_numpy(coil_imgs)).numpy(), reference, PAPER)


def _fits(context: Context, path: Path) -> list[Kept]:
    """The coil images of a file's middle image, run by run; they are kept on disk for both targets."""
    configs = [context.config(PRESET, {"seed": seed}) for seed in range(context.runs(RUNS))]
    folder, small = context.output / "table7" / "runs", context.for_workers()
    return [Kept(folder / f"{path.name}-{each.digest()}.npy", partial(_coil_imgs, small, path, each)) for each in configs]


def _coil_imgs(context: Context, path: Path, config: Config, device: torch.device) -> ComplexArray:
    _, data = context.middle_image(path, 4)
    coil_imgs: ComplexArray = solve(data, config, device).coil_imgs.cpu().numpy()
    return coil_imgs


def _notes(context: Context, paths: list[Path], single: Scores) -> list[str]:
    runs = single.shape[1]
    return [
        context.data_note("10 proton-density knee images of fastMRI's validation set", paths),
        f"Mean over the images; {runs} runs of each (seeds 0 … {runs - 1}; paper: {RUNS}), whose complex coil images are averaged.",
        "PSNR of each image with the truth moved to its mean and standard deviation (the paper's convention).",
        *context.reductions({"ConvDecoder": PRESET}),
    ]
