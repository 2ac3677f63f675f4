"""A sample that outshines a whole image: of it nothing else would be seen."""

import math
from collections.abc import Sequence

import numpy as np

from untrained_recon.encoding import Encoding
from untrained_recon.errors import SpikeError
from untrained_recon.scan.readout import Readout

SPIKE, SPIKE_AT_CENTRE = 10.0, 1e6
"""Magnitude of a sample, relative to the root of the energy of all others, from which on it is a spike: away from the centre of
k-space, and at the centre, which may hold nearly all of an object without structure, where no receiver reaches so far."""
NEAR = 1 / 8
"""Share of an axis that is near the centre, to either side."""


def require_no_spike(readouts: Sequence[Readout], encoding: Encoding, grid: int) -> None:
    """Look at the samples as they were acquired, before anything smears them.

    Args:
        readouts: All of an image.
        encoding: Its encoding space.
        grid: Columns that the samples lie on.

    Raises:
        SpikeError: One sample is a spike.
    """
    largest = others = 0.0
    place = 0, 0, 0, 0
    for readout in readouts:
        power = readout.data.real.astype(np.float64) ** 2 + readout.data.imag.astype(np.float64) ** 2
        coil, column = np.unravel_index(int(power.argmax()), power.shape)
        peak, power[coil, column] = float(power[coil, column]), 0.0
        others += float(power.sum()) + min(peak, largest)
        if peak > largest:
            largest, place = peak, (int(coil), readout.partition, readout.line, int(column) - readout.center)
    at_coil, partition, line, away = place
    n_y, n_z = encoding.encoded_shape[0], encoding.partitions
    near = all(abs(far) <= NEAR * n for far, n in ((away, grid), (line - n_y // 2, n_y), (partition - n_z // 2, n_z)))
    bound = SPIKE_AT_CENTRE if near else SPIKE
    if largest > bound**2 * others and (others or not near):
        raise SpikeError(
            f"a sample of coil {at_coil}, line {line}, {away:+d} from the centre, is {math.sqrt(largest):.3g}, more than {bound:g} "
            f"times all others together ({math.sqrt(others):.3g}); check the receive chain for spikes and repeat the scan"
        )
