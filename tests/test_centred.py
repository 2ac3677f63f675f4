import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sigpy

from untrained_recon.centred import fft, ifft, resize


@pytest.mark.parametrize("kind", [np.complex64, np.complex128])
@pytest.mark.parametrize("shape", [(3, 8, 6), (2, 7, 5), (1, 4, 9)])
@pytest.mark.parametrize("axes", [[-1], [1], [-2, -1], [0, 1, 2]])
def test_transforms_are_sigpys(kind: type, shape: tuple[int, ...], axes: list[int]) -> None:
    rng = np.random.default_rng(0)
    x: npt.NDArray[Any] = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(kind)
    for ours, theirs in ((fft, sigpy.fft), (ifft, sigpy.ifft)):
        assert ours(x, axes).dtype == kind
        np.testing.assert_array_equal(ours(x, axes), theirs(x, axes=axes))


@pytest.mark.parametrize("shape", [(3, 8, 6), (3, 4, 5), (3, 9, 7), (1, 11, 2), (5, 1, 6)])
def test_cuts_and_padding_are_sigpys(shape: tuple[int, ...]) -> None:
    for odd in ((3, 8, 6), (2, 7, 5)):
        x = np.arange(np.prod(odd), dtype=np.complex64).reshape(odd)
        np.testing.assert_array_equal(resize(x, shape), sigpy.resize(x, shape))


def test_an_image_is_made_without_loading_sigpy() -> None:
    program = "import sys, untrained_recon.recon.volume, untrained_recon.scan.assemble; sys.exit('sigpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
