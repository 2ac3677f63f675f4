"""What is measured of a device: cases, and the settings of whole images; small on a CPU."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from untrained_recon.bench.fits import Case
from untrained_recon.config import Config, load_config


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        usual: An image as most are.
        large: Many coils, a large matrix.
        network: A fit of the paper's network.
        tiny: The same at a quarter of the edge, where launches are all there is.
        config: Settings of whole images.
    """

    usual: Case
    large: Case
    network: Case
    tiny: Case
    config: Config


def sizes(device: torch.device) -> Sizes:
    """Those of the targets on a GPU, small ones on a CPU."""
    if device.type == "cuda":
        paper = Case((368, 640), 15, 8, 256, (5, 10), 30)
        large = Case((368, 640), 15, 6, 64)
        return Sizes(Case((256, 256), 8, 6, 64), large, paper, replace(paper, shape=(92, 160)), load_config("fast"))
    few = {"fit.iterations": "4", "refine.iterations": "3", "network.layers": "4", "network.channels": "8"}
    small = Case((48, 40), 3, 4, 8, (8, 8), 4)
    return Sizes(small, replace(small, coils=4), small, replace(small, shape=(24, 20)), load_config("fast", few))


Figures = Iterator[tuple[str, float | None]]
"""Names and values, as they are measured."""

Step = Callable[[Sizes, torch.device], Figures]


def computed(config: Config, **changes: object) -> Config:
    """The same settings, computed in another way."""
    return config.model_copy(update={"compute": config.compute.model_copy(update=changes)})
