"""Figures 11 and 12: what the layers of a fitted ConvDecoder hold, and how fast optimisers move them (paper, appendix C)."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from untrained_recon.config import Config
from untrained_recon.metrics import nrmse
from untrained_recon.physics.operators import CoilFourier, ifft2, rss
from untrained_recon.recon.fit.loop import fit
from untrained_recon.recon.fit.optimisers import StepSizes
from untrained_recon.recon.networks import ImageGenerator, build_network
from untrained_recon.study.kept import Kept
from untrained_recon.study.panels import new_figure
from untrained_recon.study.reproduce.context import Context
from untrained_recon.study.reproduce.figures import good
from untrained_recon.study.reproduce.outcome import Outcome, long_table
from untrained_recon.types import KSpace

PRESET = "knee-4x"
LAYERS = 7
ADAM_STEP = 0.01  # the paper's
GD_STEPS = (0.01, 0.03, 0.1, 0.3, 1.0)
STEP_IMAGES = 6

Steps = npt.NDArray[np.float64]


def fig11(context: Context) -> Outcome:
    """Every layer's best linear combination beside the truth of its matrix."""
    path = context.paths(1)[0]
    ksp, data = context.middle_image(path, 4)
    config = context.config(PRESET, {"network.layers": LAYERS})
    network = _network(config, data, context.device)
    _fit(network, data, config, context.device)
    hidden = network.layer_outputs()[:-1]
    truths = [resized(rss(ifft2(torch.from_numpy(ksp))), layer.shape[-2:]) for layer in hidden]
    fits = [best_combination(layer.cpu(), truth) for layer, truth in zip(hidden, truths, strict=True)]
    cells = []
    figure = new_figure(2 * len(hidden), 4.4)
    field_of_view = (0, ksp.shape[2], ksp.shape[1], 0)  # the same for all matrices
    axes = figure.subplots(2, len(hidden), squeeze=False)
    for n, (truth, combination) in enumerate(zip(truths, fits, strict=True)):
        n_y, n_x = truth.shape
        error = nrmse(combination.numpy(), truth.numpy())
        cells.append((f"layer {n + 1}, {n_y}×{n_x}", "NRMSE of the combination", math.nan, error, 1))
        for axis, img in zip(axes[:, n], (truth, combination), strict=True):
            axis.imshow(img.numpy(), cmap="gray", vmin=0, vmax=float(truth.quantile(0.998)), extent=field_of_view)
            axis.set_axis_off()
        axes[0, n].set_title(f"truth {n_y}×{n_x}", fontsize=9)
        axes[1, n].set_title(f"layer {n + 1}, NRMSE {error:.3f}", fontsize=9)
    notes = [
        context.data_note("one knee image; the figure gives no numbers", [path]),
        f"{LAYERS - 1} layers of {config.network.channels} channels. Where a layer has no more pixels than channels, a combination "
        "meets the truth whatever the network has learnt.",
        "Truth: root sum of squares of the full coil images, averaged over the pixels of the layer's matrix.",
        *context.reductions({"ConvDecoder": PRESET}),
    ]
    return Outcome("Figure 11: what the layers hold", long_table(cells), notes, figure=figure)


def best_combination(channels: Tensor, truth: Tensor) -> Tensor:
    """The linear combination of channels that is closest to an image in the least-squares sense (paper, C.1).

    Args:
        channels: Real ``(n_channels, n_y, n_x)``.
        truth: Real ``(n_y, n_x)``.

    Returns:
        Real ``(n_y, n_x)``; of several equally good combinations that of the smallest coefficients.
    """
    columns = channels.flatten(1).T.double().numpy()
    coefficients, *_ = np.linalg.lstsq(columns, truth.flatten().double().numpy(), rcond=None)
    return torch.from_numpy(columns @ coefficients).reshape(truth.shape).float()


def resized(img: Tensor, shape: torch.Size) -> Tensor:
    """An image ``(n_y, n_x)`` averaged over the pixels of a smaller matrix."""
    return interpolate(img[None, None], size=tuple(shape), mode="area")[0, 0]


def fig12(context: Context) -> Outcome:
    """SSIM of the optimisers over runs, and the step sizes of Adam by layer."""
    scores, gd_step = _optimiser_scores(context)
    paths = context.paths(STEP_IMAGES)
    kept = [_adam_steps(context, path) for path in paths]
    context.keep(kept)
    steps = np.mean([each.load() for each in kept], axis=0)
    cells = [
        (name, "SSIM", math.nan, float(group["SSIM"].mean()), len(group)) for name, group in scores.groupby("optimiser", sort=False)
    ]
    for layer in range(steps.shape[1]):
        cells.append(
            (
                f"step size, layer {layer + 1}",
                "first iterations",
                math.nan,
                float(steps[: len(steps) // 10 + 1, layer].mean()),
                len(paths),
            )
        )
        cells.append(
            (
                f"step size, layer {layer + 1}",
                "last iterations",
                math.nan,
                float(steps[-(len(steps) // 10 + 1) :, layer].mean()),
                len(paths),
            )
        )
    figure = new_figure(10, 3.8)
    left, right = figure.subplots(1, 2)
    for name, group in scores.groupby("optimiser", sort=False):
        left.plot(group["seed"], group["SSIM"], "o-", label=name)
    left.set(xlabel="run", ylabel="SSIM", xticks=sorted(set(scores["seed"])))
    left.legend()
    for layer in range(steps.shape[1]):
        right.semilogy(np.arange(1, len(steps) + 1), steps[:, layer], label=f"layer {layer + 1}")
    right.set(xlabel="iteration", ylabel="mean step size of Adam")
    right.legend(fontsize=7)
    notes = [
        "The paper shows no numbers: Adam about 3 % above GD in SSIM, GD-A essentially as Adam; larger steps in earlier layers, "
        "growing with the iterations.",
        context.data_note("one knee image (left), mean of 6 (right)", paths),
        f"GD with the step size {gd_step:g}, of {GD_STEPS} the best by SSIM in the first run; the paper gives none.",
        *context.reductions({"ConvDecoder": PRESET}),
    ]
    by_layer = pandas.DataFrame(steps, columns=[f"layer {n + 1}" for n in range(steps.shape[1])])
    grids = {"fig12-scores": scores, "fig12-steps": by_layer.rename_axis("iteration").reset_index()}
    return Outcome("Figure 12: optimisers, step sizes by layer", long_table(cells), notes, figure=figure, grids=grids)


def _optimiser_scores(context: Context) -> tuple[pandas.DataFrame, float]:
    """SSIM by optimiser and seed, and the step size of GD."""
    path, seeds = context.paths(1)[0], range(context.runs(10))

    def evaluate(methods: dict[str, Config]) -> pandas.DataFrame:
        return good(context.evaluate("fig12", {path: methods}, 4)).set_index("method")["paper: ssim"]

    def config(optimiser: str, seed: int, step: float) -> Config:
        return context.config(PRESET, {"fit.optimiser": optimiser, "fit.lr": step, "seed": seed})

    first = evaluate({f"{step:g}": config("gd", 0, step) for step in GD_STEPS})
    gd_step = float(first.idxmax())
    cells = []
    for name, optimiser, step in (("Adam", "adam", ADAM_STEP), ("GD", "gd", gd_step), ("GD-A", "gd-a", ADAM_STEP)):
        found = evaluate({f"{name} {seed}": config(optimiser, seed, step) for seed in seeds})
        cells += [(name, seed, found[f"{name} {seed}"]) for seed in seeds if f"{name} {seed}" in found]
    return pandas.DataFrame(cells, columns=["optimiser", "seed", "SSIM"]), gd_step


def _adam_steps(context: Context, path: Path) -> Kept:
    """Step sizes ``(iterations, layers)`` of a fit to a file's middle image."""
    config = context.config(PRESET)
    name = f"steps-{path.name}-{config.digest()}.npy"
    return Kept(context.output / "fig12" / name, partial(_fitted_steps, context.for_workers(), path, config))


def _fitted_steps(context: Context, path: Path, config: Config, device: torch.device) -> Steps:
    _, data = context.middle_image(path, 4)
    network = _network(config, data, device)
    steps = StepSizes(network.layer_parameters())
    _fit(network, data, config, device, steps)
    return np.array(steps.values)


def _network(config: Config, data: KSpace, device: torch.device) -> ImageGenerator:
    n_coils, n_y, n_x = data.ksp.shape
    generator = torch.Generator().manual_seed(config.seed)
    return build_network(config.network, 2 * n_coils, (n_y, n_x), generator, config.compute, device)


def _fit(network: ImageGenerator, data: KSpace, config: Config, device: torch.device, steps: StepSizes | None = None) -> None:
    ksp, mask = torch.from_numpy(data.ksp).to(device), torch.from_numpy(data.mask).to(device)
    fit(network, CoilFourier(mask, len(ksp)), ksp, config.fit, steps=steps)
