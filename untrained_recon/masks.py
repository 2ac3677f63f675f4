"""Sampling patterns along the phase encode direction, as fastMRI defines them."""

from typing import Literal

import numpy as np

from untrained_recon.errors import ConfigError
from untrained_recon.types import BoolArray

Pattern = Literal["random", "equispaced"]


def acs_lines(n_y: int, acs: int) -> BoolArray:
    """The fully sampled block: bool ``(n_y,)``, starting at ``(n_y - acs + 1) // 2``."""
    lines = np.zeros(n_y, bool)
    start = (n_y - acs + 1) // 2
    lines[start : start + acs] = True
    return lines


def grid_lines(n_y: int, pattern: Pattern, accel: int, acs: int, rng: np.random.Generator) -> BoolArray:
    """The accelerated lines, without the ACS block.

    Args:
        n_y: Lines of the full grid.
        pattern: ``random``: every line with the probability that makes one in ``accel`` lines be acquired, the ACS block
            included. ``equispaced``: every ``accel``-th line from a random first one; the ACS block comes on top.
        accel: Acceleration.
        acs: Lines of the ACS block.
        rng: Source of randomness.

    Returns:
        bool ``(n_y,)``.

    Raises:
        ConfigError: The ACS block alone is as much as the acceleration allows, or more than there is.
    """
    if acs > n_y:
        raise ConfigError(f"{acs} ACS lines do not fit {n_y} lines")
    if pattern == "equispaced":
        lines = np.zeros(n_y, bool)
        lines[rng.integers(accel) :: accel] = True
        return lines
    if accel == 1:
        return np.ones(n_y, bool)
    probability = (n_y / accel - acs) / (n_y - acs) if acs < n_y else 0.0
    if probability <= 0:
        raise ConfigError(f"{acs} ACS lines are {n_y}/{accel} lines or more; use a smaller acceleration or fewer ACS lines")
    return rng.uniform(size=n_y) < probability
