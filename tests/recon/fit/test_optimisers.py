"""Optimisers, on a loss whose steps are known in closed form."""

import pytest
import torch
from torch import nn

from untrained_recon.config import FitConfig
from untrained_recon.recon.fit.optimisers import DECAY, WARM_UP, StepSizes, WarmupStableDecay, build_optimiser


def layers() -> list[list[nn.Parameter]]:
    return [[nn.Parameter(torch.tensor([1.0, -2.0]))], [nn.Parameter(torch.tensor([3.0]))]]


def descend(made: list[list[nn.Parameter]], settings: FitConfig, steps: StepSizes | None, iterations: int) -> None:
    """Minimise ``½ (x₁² + x₂²) + 5 y²``."""
    optimiser, schedule = build_optimiser(made, settings, steps)
    for _ in range(iterations):
        optimiser.zero_grad()
        (0.5 * made[0][0].square().sum() + 5 * made[1][0].square().sum()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if steps is not None and isinstance(optimiser, torch.optim.Adam):
            steps.record(optimiser)
        schedule.step()


def test_the_first_step_sizes_of_adam_are_those_of_its_definition() -> None:
    made = layers()
    steps = StepSizes(made)
    descend(made, FitConfig(lr=0.1), steps, 1)
    # after one step the corrected second moment is the squared gradient: (1, 4) and 900
    assert steps.values[0] == pytest.approx([0.1 * (1 / 1 + 1 / 2) / 2, 0.1 / 30], rel=1e-5)
    assert made[1][0].item() == pytest.approx(3 - 0.1, rel=1e-5)


def test_gradient_descent_takes_its_step_along_the_gradient() -> None:
    made = layers()
    descend(made, FitConfig(optimiser="gd", lr=0.1), None, 2)
    torch.testing.assert_close(made[0][0].detach(), torch.tensor([1.0, -2.0]) * 0.9**2)
    one_cycle = layers()
    descend(one_cycle, FitConfig(optimiser="gd", lr=0.1, schedule="one-cycle", iterations=100), None, 1)
    torch.testing.assert_close(one_cycle[0][0].detach(), torch.tensor([1.0, -2.0]) * (1 - 0.1 / 25))  # it starts at lr / 25


def step_sizes(iterations: int, falls_after: int) -> list[float]:
    optimiser, schedule = build_optimiser(layers(), FitConfig(lr=0.1, schedule="warmup-stable-decay", iterations=iterations), None)
    assert isinstance(schedule, WarmupStableDecay)
    sizes = []
    for iteration in range(falls_after + schedule.decay):
        if iteration == falls_after:
            schedule.fall()
        sizes.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return sizes


def test_warmup_stable_decay_rises_stays_and_falls_when_it_is_told_to() -> None:
    sizes = step_sizes(1000, 60)
    assert sizes[0] == pytest.approx(0.1 / 25)
    assert sizes[WARM_UP : 60 + 1] == pytest.approx([0.1] * (60 + 1 - WARM_UP))
    assert sizes == sorted(sizes[:61]) + sorted(sizes[61:], reverse=True)
    assert len(sizes) == 60 + DECAY
    assert sizes[-1] < 0.01 * 0.1
    assert step_sizes(500, 60) == sizes  # however many iterations there might have been
    assert step_sizes(9, 6) == pytest.approx([0.004, 0.028, 0.076, 0.1, 0.1, 0.1, 0.1, 0.075, 0.025])  # a third each


def test_gd_a_follows_the_recorded_step_sizes_layer_by_layer() -> None:
    made, steps = layers(), StepSizes([])
    steps.values = [[0.5, 0.01], [0.1, 0.02]]
    descend(made, FitConfig(optimiser="gd-a"), steps, 3)  # the last is kept when the record ends
    torch.testing.assert_close(made[0][0].detach(), torch.tensor([1.0, -2.0]) * 0.5 * 0.9 * 0.9)
    torch.testing.assert_close(made[1][0].detach(), torch.tensor([3.0]) * 0.9 * 0.8 * 0.8)
