import numpy as np
import pytest
import torch

from untrained_recon.recon.fit.held_out import FEWEST_LINES, held_out, held_out_error
from untrained_recon.types import BoolArray


def mask(n_y: int = 64, acs: int = 12, step: int = 3) -> BoolArray:
    lines = np.zeros(n_y, bool)
    lines[::step] = True
    lines[n_y // 2 - acs // 2 : n_y // 2 + acs // 2] = True
    return np.repeat(lines[:, None], 40, axis=1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_whole_lines_outside_the_calibration_block_are_held_out() -> None:
    sampled = mask()
    held = held_out(sampled, 0.25, generator())
    assert held is not None
    lines: BoolArray = np.any(held.numpy(), axis=1)
    assert np.array_equal(held.numpy(), np.repeat(lines[:, None], 40, axis=1))
    assert not (lines & ~sampled[:, 0]).any()
    assert not lines[26:38].any()
    assert lines.sum() == round(0.25 * (sampled[:, 0].sum() - 12))


def test_parts_of_lines_stay_parts() -> None:
    sampled = mask()
    sampled[:, :10] = False
    held = held_out(sampled, 0.25, generator())
    assert held is not None
    assert not held[:, :10].any()


def test_another_seed_holds_out_other_lines() -> None:
    first, again, other = (held_out(mask(), 0.25, generator(seed)) for seed in (0, 0, 1))
    assert first is not None
    assert again is not None
    assert other is not None
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_none_are_held_out_where_none_can_be_spared_or_none_are_asked_for() -> None:
    few = mask()
    few[: 64 - 12 - FEWEST_LINES] = False
    few[26:38] = True
    assert held_out(few, 0.1, generator()) is None
    assert held_out(mask(), 0.0, generator()) is None


def test_the_error_is_relative_to_the_energy_held_out() -> None:
    ksp = torch.ones(2, 8, 8, dtype=torch.complex64)
    held = torch.zeros(8, 8, dtype=torch.bool)
    held[1] = True
    predicted = torch.full_like(ksp, 7.0)
    predicted[:, 1] = torch.tensor(1 + 0.5j)
    assert held_out_error(predicted, ksp, held) == pytest.approx(0.5)
