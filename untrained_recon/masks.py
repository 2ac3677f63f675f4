"""Sampling patterns along the phase encode direction, as fastMRI defines them.

The definitions are those of fastMRI's mask functions; the random numbers are NumPy's ``default_rng``, so that a mask has the same
properties as theirs but not the same lines.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from untrained_recon.errors import ConfigError
from untrained_recon.types import BoolArray

Pattern = Literal["random", "equispaced", "equispaced-fraction"]


@dataclass(frozen=True)
class Sampling:
    """How the lines of a volume are chosen; all its slices get the same.

    The authors' mask of the paper's experiments at fourfold acceleration is ``Sampling("random", 4, acs=0.07, kept=320)``.

    Attributes:
        pattern: See :func:`grid_lines`.
        accel: Acceleration.
        acs: Lines of the ACS block; below 1 the share of all lines (fastMRI's centre fraction).
        seed: Another seed, other masks for all volumes.
        kept: Lines around the centre outside of which nothing is sampled, below 1 the share of all; None keeps all.
    """

    pattern: Pattern
    accel: int
    acs: float
    seed: int = 0
    kept: float | None = None

    @property
    def label(self) -> str:
        """A short name that tells samplings apart: ``random-4x-acs0.08-seed0``."""
        kept = "" if self.kept is None else f"-kept{self.kept:g}"
        return f"{self.pattern}-{self.accel}x-acs{self.acs:g}{kept}-seed{self.seed}"

    def codes(self, n_y: int, name: str) -> npt.NDArray[np.uint8]:
        """The :func:`line_codes` of a volume, the same whenever it has the same name.

        Args:
            n_y: Lines of the full grid.
            name: Name of the volume; its characters seed the draw, as in fastMRI.

        Raises:
            ConfigError: As :func:`grid_lines`; also ``kept`` lines that there are not.
        """
        rng = np.random.default_rng([self.seed, *map(ord, name)])
        codes = line_codes(n_y, self.pattern, self.accel, block_lines(n_y, self.acs), rng)
        kept = n_y if self.kept is None else block_lines(n_y, self.kept)
        if not 0 < kept <= n_y:
            raise ConfigError(f"{kept} lines cannot be kept of {n_y}")
        return codes * acs_lines(n_y, kept)

    def lines(self, n_y: int, name: str) -> BoolArray:
        """The sampled lines, bool ``(n_y,)``: see :meth:`codes`."""
        return self.codes(n_y, name) > 0


def block_lines(n_y: int, amount: float) -> int:
    """Number of lines in a block around the centre: ``amount`` itself, or below 1 that share of ``n_y``, rounded.

    Raises:
        ConfigError: It is not finite.
    """
    if not math.isfinite(amount):
        raise ConfigError(f"{amount} is no number of lines")
    return round(n_y * amount) if amount < 1 else round(amount)


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
            ``equispaced-fraction``: as regular as whole lines allow, at the step that makes one in ``accel`` lines be acquired,
            the ACS block included.
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
    lines = np.zeros(n_y, bool)
    if pattern == "equispaced":
        lines[rng.integers(accel) :: accel] = True
        return lines
    if accel == 1:
        return ~lines
    probability = (n_y / accel - acs) / (n_y - acs) if acs < n_y else 0.0
    if probability <= 0:
        raise ConfigError(f"{acs} ACS lines are {n_y}/{accel} lines or more; use a smaller acceleration or fewer ACS lines")
    if pattern == "random":
        return rng.uniform(size=n_y) < probability
    step = 1 / probability
    lines[np.rint(np.arange(rng.integers(round(step)), n_y - 1, step)).astype(int)] = True
    return lines


def line_codes(n_y: int, pattern: Pattern, accel: int, acs: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What each line is for, as scanners flag it: uint8 ``(n_y,)``, 0 not acquired, 1 imaging, 2 calibration only, 3 both.

    ACS lines off the regular grid of ``equispaced`` are for calibration only; the other patterns have no grid to keep free.
    Arguments and errors as :func:`grid_lines`.
    """
    grid, block = grid_lines(n_y, pattern, accel, acs, rng), acs_lines(n_y, acs)
    imaging = grid if pattern == "equispaced" else grid | block
    return (imaging + 2 * block).astype(np.uint8)
