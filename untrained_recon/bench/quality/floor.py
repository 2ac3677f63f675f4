"""The noise floor of a root sum of squares: what scores of noisy scans hold that no method can know.

The truth of a measured scan is the root sum of squares (RSS) of noisy coil images. Where there is no object it shows the noise of
all lines, also of those that a method never saw; a method that leaves the noise of these lines out is blamed for it in all of the
background. :func:`with_floor` adds the expected energy of this noise, known from the prewhitening, to every method's image.
"""

import math

import numpy as np

from untrained_recon.files.volume import Volume
from untrained_recon.types import BoolArray, FloatArray


def expected_floor(volume: Volume, item: int, lines: BoolArray) -> float:
    """Expected mean square over the pixels of the RSS of the noise in the lines that the truth has and the samples have not.

    It is ``2 n_coils`` times their share of all lines, as the Fourier transform is orthonormal and coils have independent noise of
    standard deviation 1 in real and imaginary part. Interpolation to a finer matrix keeps it; a coarser matrix leaves as much of
    the noise as it leaves of k-space (taken to hold the same share of these lines).

    Args:
        volume: Prewhitened k-space, see :class:`untrained_recon.study.whiten.Prewhitened`.
        item: Number of the image.
        lines: bool ``(n_y,)``, the lines of the mask.
    """
    missing = np.mean(volume.lines(item) & ~lines)
    shapes = zip(volume.encoding.crop_shape, volume.encoding.recon_shape, strict=True)
    return float(2 * volume.shape[0] * missing * math.prod(min(1.0, recon / crop) for crop, recon in shapes))


def with_floor(img: FloatArray, floor: float) -> FloatArray:
    """``sqrt(img² + floor)`` of a magnitude image."""
    found: FloatArray = np.sqrt(np.square(img) + np.float32(floor))
    return found
