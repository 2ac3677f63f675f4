"""Tables 9 to 11: the networks' dimensions, searched on a grid and chosen."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import pandas
import torch
from torch import nn

from untrained_recon.config import Config, NetworkConfig, load_config
from untrained_recon.recon.networks import build_network
from untrained_recon.recon.networks.unet import UNet
from untrained_recon.study.reproduce.context import Context
from untrained_recon.study.reproduce.outcome import Outcome, long_table
from untrained_recon.study.summary import frame

SCORES = ["paper: vif", "paper: ms_ssim", "paper: ssim", "paper: psnr"]
CHOICE = "paper: ssim"
IMAGES = 10


@dataclass(frozen=True)
class Grid:
    """The dimensions that are tried for one network; the preset holds the paper's choice among them."""

    method: str
    preset: str
    layers: Sequence[int]
    channels: Sequence[int]
    residuals: Sequence[int] = (0,)


@dataclass(frozen=True)
class Point:
    """One network of a grid, in the paper's numbers of channels."""

    grid: Grid
    layers: int
    channels: int
    residuals: int

    @property
    def name(self) -> str:
        """For the results."""
        return f"{self.grid.preset}-{self.layers}-{self.channels}-{self.residuals}"


KNEE = (
    Grid("ConvDecoder", "knee-4x", (6, 7, 8, 9), (160, 256, 480)),
    Grid("DIP", "knee-4x-dip", (12, 14, 16, 18), (160, 256, 360), (2, 4)),
    Grid("DD", "knee-4x-dd", (6, 7, 8, 9, 10), (256, 368, 512)),
)
BRAIN = (
    Grid("ConvDecoder", "brain-4x", (4, 5, 6, 7, 8), (32, 64, 128)),
    Grid("DIP", "brain-4x-dip", (10, 12, 14), (64,), (4,)),
    Grid("DD", "brain-4x-dd", (6, 7, 8, 9, 10, 11), (64, 128, 256)),
)


def table9(context: Context) -> Outcome:
    """The grid search for knees."""
    return _search(context, "table9", "Table 9: grid search, knees, 4x (Table 10: what the paper chose)", KNEE)


def table11(context: Context) -> Outcome:
    """The grid search for brains."""
    return _search(context, "table11", "Table 11: grid search, brains, 4x", BRAIN)


def table10(context: Context) -> Outcome:
    """Dimensions of the networks for knees as built, and their parameters."""
    cells = []
    published = {"ConvDecoder": (8, 256, 3, 0), "DIP": (16, 256, 3, 2), "DD": (10, 368, 1, 0), "U-net": (8, 32, 3, 4)}
    built = {grid.method: _dimensions(load_config(grid.preset).network) for grid in KNEE} | {"U-net": _unet_dimensions()}
    for method, numbers in published.items():
        for column, value, ours in zip(("layers", "channels", "kernel", "residuals"), numbers, built[method], strict=False):
            cells.append((method, column, float(value), float(ours), 0))
        cells.append((method, "parameters", math.nan, float(built[method][-1]), 0))
    notes = [
        "Ours are counted in the networks as built from the presets, for 15 coils (30 output channels), and in fastMRI's U-net; "
        "parameters do not depend on the matrix. The paper gives no numbers of parameters. Nothing is fitted.",
        "Layers: decoders with, DIP without the final 1×1 convolution; U-net: pooling and upsampling layers, without the middle.",
    ]
    return Outcome("Table 10: dimensions of the networks, knees, 4x", long_table(cells), notes)


def _search(context: Context, target: str, title: str, grids: Sequence[Grid]) -> Outcome:
    points = {point.name: point for grid in grids for point in _points(grid)}
    paths = context.paths(IMAGES)[: 1 if context.reduction else None]
    methods = {name: _config(context, point) for name, point in points.items()}
    rows = context.evaluate(target, dict.fromkeys(paths, methods), 4)
    means = frame(rows).groupby("method", sort=False)[SCORES].mean()
    searched = pandas.DataFrame(
        {"network": p.grid.method, "layers": p.layers, "channels": p.channels, "residuals": p.residuals} | dict(means.loc[name])
        for name, p in points.items()
        if name in means.index
    )
    cells = []
    for grid in grids:
        chosen = load_config(grid.preset).network
        of_grid = searched[searched["network"] == grid.method].reset_index(drop=True)
        best = of_grid.loc[of_grid[CHOICE].idxmax()]
        as_paper = of_grid.query(f"layers == {chosen.layers} and channels == {chosen.channels} and residuals == {chosen.skips}")
        for column, value in (("layers", chosen.layers), ("channels", chosen.channels), ("residuals", chosen.skips)):
            cells.append((grid.method, column, float(value), float(best[column]), len(paths)))
        cells.append((grid.method, "SSIM of our choice", math.nan, float(best[CHOICE]), len(paths)))
        cells.append((grid.method, "SSIM of the paper's choice", math.nan, float(as_paper[CHOICE].mean()), len(paths)))
    notes = [
        context.data_note("10 images of fastMRI's validation set", paths),
        f"All {len(points)} networks are in {target}-grid.csv; here the one with the highest mean SSIM of every kind. The paper "
        "looks at all four scores and gives none.",
        *context.reductions(),
        *_grid_reduction(context, grids),
        *[f"Failed: {row.key.volume}, {row.key.method}: {row.error}" for row in rows if row.error],
    ]
    return Outcome(title, long_table(cells), notes, grids={f"{target}-grid": searched})


def _points(grid: Grid) -> Iterator[Point]:
    for layers, channels, residuals in product(grid.layers, grid.channels, grid.residuals):
        yield Point(grid, layers, channels, residuals)


def _config(context: Context, point: Point) -> Config:
    dimensions = {"network.layers": point.layers, "network.channels": point.channels, "network.skips": point.residuals}
    shorter = {"fit.iterations": context.reduction.grid_iterations} if context.reduction else {}
    return context.config(point.grid.preset, {"name": point.name, **dimensions, **shorter})


def _grid_reduction(context: Context, grids: Sequence[Grid]) -> Iterator[str]:
    if context.reduction is not None:
        share = 256 / context.channels(grids[0].preset, 256)
        yield (
            f"Reduced (--quick): one image, {context.reduction.grid_iterations} iterations, channels divided by {share:g}; the "
            "tables keep the paper's numbers of channels."
        )


def _dimensions(settings: NetworkConfig) -> tuple[int, int, int, int, int]:
    """Layers, channels, kernel, residuals and parameters, counted in the network."""
    network = build_network(settings, 2 * 15, (64, 64), torch.Generator().manual_seed(0))
    layers = len(network.layers) - (1 if settings.kind == "dip" else 0)
    skips = sum(getattr(layer, "skip", None) is not None for layer in network.layers)
    return layers, network.z.shape[1], _kernel(network), skips, _parameters(network)


def _unet_dimensions() -> tuple[int, int, int, int, int]:
    unet = UNet()
    down, up = len(unet.down_sample_layers), len(unet.up_conv)
    first = next(layer for layer in unet.modules() if isinstance(layer, nn.Conv2d))
    return down + up, first.out_channels, _kernel(unet), up, _parameters(unet)


def _kernel(network: nn.Module) -> int:
    return max(int(layer.kernel_size[0]) for layer in network.modules() if isinstance(layer, nn.Conv2d))


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
