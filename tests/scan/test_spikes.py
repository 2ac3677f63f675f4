import re

import numpy as np
import pytest

from tests.conftest import SMALL
from tests.doubles.helpers import header_xml
from untrained_recon.errors import SpikeError
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.readout import Readout
from untrained_recon.scan.spikes import require_no_spike
from untrained_recon.types import ComplexArray

ENCODING = parse_header(header_xml(SMALL)).encodings[0]  # 64 lines, readout 96
GRID = 96


def readouts(ksp: ComplexArray) -> list[Readout]:
    """The lines of ``(n_coils, n_y, n_x)``."""
    n = ksp.shape[2]
    return [Readout(line, 0, n // 2, n // 2, n - n // 2, ksp[:, line]) for line in range(ksp.shape[1])]


def noise(n_coils: int, seed: int = 0) -> ComplexArray:
    rng = np.random.default_rng(seed)
    shape = (n_coils, 64, GRID)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e18])
@pytest.mark.parametrize("place", [(0, 3, 50), (2, 30, 90), (1, 63, 0)])
def test_a_sample_that_outshines_all_others_is_refused(place: tuple[int, int, int], scale: float) -> None:
    ksp = scale * noise(3)
    require_no_spike(readouts(ksp), ENCODING, GRID)
    ksp[place] = 11 * np.linalg.norm(ksp.astype(np.complex128))
    named = re.escape(f"coil {place[0]}, line {place[1]}, {place[2] - GRID // 2:+d} from the centre")
    with pytest.raises(SpikeError, match=named):
        require_no_spike(readouts(ksp), ENCODING, GRID)


def test_the_centre_may_hold_nearly_everything() -> None:
    flat = np.zeros((1, 64, GRID), np.complex64)
    flat[0, 32, GRID // 2] = 1e20  # an object without structure, in a file without noise
    require_no_spike(readouts(flat), ENCODING, GRID)
    bright = noise(2)
    bright[0, 33, GRID // 2 + 2] = 1e4 * np.linalg.norm(bright)
    require_no_spike(readouts(bright), ENCODING, GRID)
    bright[0, 33, GRID // 2 + 2] *= 1e3
    with pytest.raises(SpikeError, match=r"more than 1e\+06 times"):
        require_no_spike(readouts(bright), ENCODING, GRID)


def test_scans_without_signal_or_with_repeated_lines_have_no_spikes() -> None:
    require_no_spike(readouts(np.zeros((2, 64, GRID), np.complex64)), ENCODING, GRID)
    twice = readouts(noise(2)) + readouts(noise(2, seed=1))
    require_no_spike(twice, ENCODING, GRID)
