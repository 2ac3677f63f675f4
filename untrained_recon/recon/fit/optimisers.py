"""The optimisers of the paper's appendix C.2: Adam, gradient descent (GD), and GD with the step sizes that Adam took (GD-A)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from untrained_recon.config import FitConfig

Layers = Sequence[Sequence[nn.Parameter]]
"""The parameters of a network, layer by layer."""

WARM_UP, DECAY = 24, 25  # iterations at most, each; a third of them all at the most
COLD = 0.04  # share of the step size to begin with


class StepSizes:
    """Records the step size that Adam gives each layer at each iteration: the mean of ``lr / (sqrt(v) + eps)`` over its parameters.

    Attributes:
        values: ``values[iteration][layer]``.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self.values: list[list[float]] = []

    def record(self, adam: torch.optim.Adam) -> None:
        """Add the step sizes of the step just taken."""
        group = adam.param_groups[0]
        self.values.append([_mean_step(adam, layer, group["lr"], group["betas"][1], group["eps"]) for layer in self._layers])


def build_optimiser(layers: Layers, settings: FitConfig, steps: StepSizes | None) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """Optimiser and course of its step size.

    Args:
        layers: What is optimised.
        settings: Kind of optimiser, step size and schedule.
        steps: The recorded step sizes that ``gd-a`` follows.
    """
    if settings.optimiser == "gd-a" and steps is not None:
        groups = [{"params": list(layer)} for layer in layers]
        descent = torch.optim.SGD(groups, lr=1.0)
        return descent, LambdaLR(descent, [_Follow(steps.values, number) for number in range(len(groups))])
    parameters = [parameter for layer in layers for parameter in layer]
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.SGD
    optimiser = kind(parameters, lr=settings.lr, fused=parameters[0].is_cuda or None)  # in one launch; elsewhere as PyTorch chooses
    if settings.schedule == "one-cycle":
        cycle = OneCycleLR(
            optimiser, max_lr=settings.lr, total_steps=settings.iterations + 1, cycle_momentum=settings.optimiser == "adam"
        )
        return optimiser, cycle
    if settings.schedule == "warmup-stable-decay":
        return optimiser, WarmupStableDecay(optimiser, settings.iterations)
    return optimiser, LambdaLR(optimiser, lambda _: 1.0)


class WarmupStableDecay(LambdaLR):
    """A step size that rises, stays, and falls to nothing when it is told to [Hu et al., MiniCPM, arXiv:2404.06395].

    So an iterate is the same whatever number of iterations it might have had.

    Args:
        optimiser: Whose step size it is.
        iterations: Of them all, at most.

    Attributes:
        decay: Iterations of the fall.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, iterations: int) -> None:
        self._warm_up, self.decay = min(WARM_UP, iterations // 3), min(DECAY, iterations // 3)
        self._falls_from = math.inf
        super().__init__(optimiser, self._factor)

    def fall(self) -> None:
        """Begin to fall."""
        self._falls_from = self.last_epoch

    def _factor(self, iteration: int) -> float:
        risen = COLD + (1 - COLD) * _cosine(iteration / self._warm_up) if iteration < self._warm_up else 1.0
        left = self._falls_from + self.decay - iteration
        return risen * (_cosine(left / self.decay) if left < self.decay else 1.0)


class _Follow:
    """The step size of one layer by iteration; the last stays when the record ends."""

    def __init__(self, values: list[list[float]], layer: int) -> None:
        self._values = [value[layer] for value in values]

    def __call__(self, iteration: int) -> float:
        return self._values[min(iteration, len(self._values) - 1)]


def _cosine(part: float) -> float:
    """From 0 to 1, level at both ends."""
    return (1 - math.cos(math.pi * part)) / 2


def _mean_step(adam: torch.optim.Adam, layer: Sequence[nn.Parameter], lr: float, beta: float, eps: float) -> float:
    total, count = 0.0, 0
    for parameter in layer:
        state = adam.state[parameter]
        second_moment: Tensor = state["exp_avg_sq"] / (1 - beta ** float(state["step"]))
        total += float((lr / (second_moment.sqrt() + eps)).sum())
        count += parameter.numel()
    return total / count
