"""How many sets of maps a calibration asks for [Uecker et al., MRM 71:990, 2014, section on reduced fields of view].

Where the object reaches beyond the field of view, a pixel holds what several places fold onto it, and one set of maps explains
neither. Two sets where one suffices, though, are twice the unknowns. The calibration block decides, at its own resolution: every
line of it is left out once and predicted from the others by SENSE, with one set and with two.

Ratio of the squared errors, and what two sets gained in the image (eight real images of 128×128, whole and folded to 0.9 … 0.6 of
their field of view, R = 2, 4 and 8, 24 and 16 calibration lines, 160 cases): where two sets gain 3 dB or more, the ratio is 0.02 to
0.67, but for one case of 4 coils; where they lose 0.5 dB or more, it is 0.75 or more. 154 choices were right or within 0.3 dB, the
others lost 0.3 to 3.6 dB. Noise draws the ratio towards 1: folds gain less there, and are seen less surely.
"""

import torch
from torch import Tensor

from untrained_recon.conjugate import cg_sense
from untrained_recon.espirit import eigen_maps, fade
from untrained_recon.operators import Sense, resize

AUTO_SETS = 2
GAIN = 0.8  # two sets must bring the squared error below this share of that of one
FILLED = 0.95  # kernels of noise fill the space: any map explains anything
LEFT_OUT = 4  # every so many lines at once
GRID = 2  # times the block, so that the image may hold what the maps blur away
LAMDA, ITERATIONS = 1e-3, 15


def sets_needed(kernels: Tensor, block: Tensor, crop: float) -> int:
    """1 or :data:`AUTO_SETS`.

    Args:
        kernels: Those of the block, see :func:`~untrained_recon.espirit.signal_kernels`.
        block: complex ``(n_coils, b_y, b_x)``, fully sampled calibration data.
        crop: See :func:`~untrained_recon.espirit.fade`.
    """
    if len(block) <= AUTO_SETS or len(kernels) > FILLED * kernels[0].numel():
        return 1
    height, width = block.shape[-2:]
    shape = (GRID * height, GRID * width)
    vectors, values = eigen_maps(kernels, shape, AUTO_SETS)
    mps = vectors * fade(values, crop)[:, None]
    ksp = resize(block, shape)
    inside = resize(torch.ones_like(block[0].real), shape)
    row = torch.arange(shape[0], device=block.device)[:, None]
    one, two = (
        torch.stack([_error(mps[:sets], ksp, inside, row % LEFT_OUT == first) for first in range(LEFT_OUT)]).sum()
        for sets in (1, AUTO_SETS)
    )
    return AUTO_SETS if bool(two < GAIN * one) else 1


def _error(mps: Tensor, ksp: Tensor, inside: Tensor, left_out: Tensor) -> Tensor:
    """Squared error of the predicted lines."""
    seen = Sense(mps, inside * ~left_out)
    img = cg_sense(seen, ksp * seen.mask, LAMDA, ITERATIONS)
    wrong = (Sense(mps, inside)(img) - ksp) * left_out
    return torch.view_as_real(wrong).square().sum()
