"""Handing fitted networks from plane to plane of one image; never from image to image, and so never across patients."""

import torch
from torch import Tensor, nn


class Neighbour:
    """The networks that were fitted to the plane before, from which those of the next plane may start."""

    def __init__(self) -> None:
        self._weights: dict[str, dict[str, Tensor]] = {}

    def lend(self, name: str, network: nn.Module) -> bool:
        """Give a network the weights kept under its name; False where there are none that fit."""
        kept = self._weights.get(name)
        shapes = {key: value.shape for key, value in network.state_dict().items()}
        if kept is None or {key: value.shape for key, value in kept.items()} != shapes:
            return False
        network.load_state_dict(kept)
        return True

    def keep(self, name: str, network: nn.Module) -> None:
        """Take the weights of a fitted network."""
        with torch.no_grad():
            self._weights[name] = {key: value.clone() for key, value in network.state_dict().items()}
