"""Measured lines that a reconstruction does not see until its end: what it makes of them tells how well it knows the others."""

import torch
from torch import Tensor

from untrained_recon.sampled import calibration_region
from untrained_recon.types import BoolArray

FEWEST_LINES = 10  # outside the calibration block; of fewer, none can be spared


def held_out(mask: BoolArray, share: float, generator: torch.Generator) -> Tensor | None:
    """Whole lines outside the calibration block, drawn at random, as what is missing are whole lines too.

    Args:
        mask: bool ``(n_y, n_x)``, True where sampled.
        share: Of the lines outside the calibration block; 0 holds none out.
        generator: Source of randomness.

    Returns:
        bool ``(n_y, n_x)``, True for the samples held out; None where none are.
    """
    lines = torch.from_numpy(mask.any(axis=1))
    lines[calibration_region(mask)[0]] = False
    outer = lines.nonzero()[:, 0]
    if share == 0 or len(outer) < FEWEST_LINES:
        return None
    chosen = outer[torch.randperm(len(outer), generator=generator)[: max(1, round(share * len(outer)))]]
    held = torch.zeros(mask.shape, dtype=torch.bool)
    held[chosen] = True
    return held & torch.from_numpy(mask)


def held_out_samples(mask: BoolArray, share: float, generator: torch.Generator) -> Tensor:
    """Single samples outside the calibration block, drawn at random: what is missing stays nearly the same without them.

    They tell how far an image follows noise and the errors of maps, and little of what whole lines would tell.

    Args:
        mask: bool ``(n_y, n_x)``, True where sampled.
        share: Of the samples outside the calibration block.
        generator: Source of randomness.

    Returns:
        bool ``(n_y, n_x)``, True for the samples held out.
    """
    outer = torch.from_numpy(mask.copy())
    outer[calibration_region(mask)[0]] = False
    return outer & (torch.rand(mask.shape, generator=generator) < share)


def held_out_error(predicted: Tensor, ksp: Tensor, held: Tensor) -> float:
    """Root of the squared error on the held-out samples relative to their energy.

    Args:
        predicted: complex ``(..., n_y, n_x)``.
        ksp: complex, of the same shape, the measurement.
        held: bool ``(n_y, n_x)``.
    """
    samples = ksp[..., held]
    return float((predicted[..., held] - samples).norm() / samples.norm())
