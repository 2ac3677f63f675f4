"""The phase of an image, as far as the centre of k-space knows it.

With it taken out, the rest of the image is nearly real where its phase is smooth, and a prior that looks at real and imaginary part
apart describes it better.
"""

import torch
from torch import Tensor

from untrained_recon.physics.operators import CoilFourier, Sense, ifft2, resize
from untrained_recon.sampled import calibration_block
from untrained_recon.types import BoolArray

MOST = 32  # central lines and samples


def image_phase(operator: CoilFourier | Sense, calib: Tensor, calib_mask: BoolArray) -> Tensor:
    """The phase of the object at low resolution, as complex numbers of magnitude 1, of shape ``operator.ishape``.

    Args:
        operator: How coil images become the image.
        calib: complex ``operator.oshape``.
        calib_mask: bool ``(n_y, n_x)``, the samples that ``calib`` holds; without a fully sampled centre the phase is 0.
    """
    block = calibration_block(calib_mask, MOST)
    if 0 in block:
        return torch.ones(operator.ishape, dtype=calib.dtype, device=calib.device)
    hann_y, hann_x = (torch.hann_window(n + 2, periodic=False, device=calib.device)[1:-1] for n in block)
    window = resize(hann_y[:, None] * hann_x, (calib.shape[-2], calib.shape[-1]))
    img = operator.combine(ifft2(calib * window))
    return torch.polar(torch.ones_like(img.real), img.angle())
