"""Memory of a fit, known before it begins, and what is free for it.

A GPU says when its memory is spent, and the fit is tried again with less. A CPU's operating system kills the process instead, and
with it whatever else it does; there the fit is judged beforehand.
"""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from untrained_recon.errors import FitError
from untrained_recon.memory import free_memory, gib
from untrained_recon.physics.operators import CoilFourier, Sense
from untrained_recon.recon.networks import ImageGenerator

WEIGHTS = 4  # copies: weights, gradients and the two moments of Adam
SAMPLES = 6  # likewise: measurement, target, prediction, residual, gradient, and a transform on its way
LIBRARIES = 1.5  # what convolutions take beside their results; measured 1.0 to 1.4 beyond the first BASE bytes
BASE = 64 << 20


class Demand(NamedTuple):
    """Bytes that a fit takes: with all activations kept for the backward pass, and with those inside a layer computed twice."""

    usual: int
    least: int


def demand(network: ImageGenerator, operator: CoilFourier | Sense) -> Demand:
    """By one pass of the network without gradients.

    Args:
        network: Ready to be fitted.
        operator: Forward model, for its matrix and coils.
    """
    layers, inside = _outputs(network)
    kept = sum(inside)
    weights = sum(parameter.nbytes for parameter in network.parameters())
    samples = 8 * math.prod(operator.oshape)
    common = WEIGHTS * weights + SAMPLES * samples + 2 * max(layers)
    usual, least = (int(BASE + LIBRARIES * (common + held)) for held in (kept, min(kept, sum(layers) + 2 * max(layers))))
    return Demand(usual, least)


def must_save(network: ImageGenerator, operator: CoilFourier | Sense) -> bool:
    """Whether the memory of a CPU suffices only if it is used sparingly.

    Raises:
        FitError: It does not suffice at all.
    """
    if network.z.device.type != "cpu":
        return False
    needed, free = demand(network, operator), free_memory()
    if needed.least > free:
        raise FitError(f"the fit needs {gib(needed.least)} of memory, and {gib(free)} are free; fewer network.channels need less")
    return needed.usual > free


@torch.no_grad()
def _outputs(network: ImageGenerator) -> tuple[list[int], list[int]]:
    """Bytes that each layer puts out, and each of the operations that layers are made of."""
    layers: list[int] = []
    inside: list[int] = []

    def noting(found: list[int], module: nn.Module) -> RemovableHandle:
        return module.register_forward_hook(lambda _module, _inputs, output: found.append(output.nbytes))

    hooks = [noting(layers, layer) for layer in network.layers]
    hooks += [noting(inside, module) for module in network.modules() if not list(module.children())]
    try:
        network()
    finally:
        for hook in hooks:
            hook.remove()
    return layers, inside
