import numpy as np
import pytest
import sigpy
import torch

from tests.doubles.helpers import random_complex
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.espirit import eigen_maps, reference_phase, signal_kernels
from untrained_recon.physics.operators import ifft2, resize


def test_kernels_are_orthonormal_and_span_the_patches() -> None:
    block = random_complex((3, 9, 12), 0)
    kernels = signal_kernels(block, 3, 1e-9).reshape(-1, 27)
    torch.testing.assert_close(kernels @ kernels.mH, torch.eye(len(kernels), dtype=kernels.dtype))
    patch = block[:, 2:5, 4:7].reshape(-1)
    torch.testing.assert_close(kernels.mT @ (kernels.conj() @ patch), patch)


def test_weak_kernels_are_left_out() -> None:
    plane = torch.ones(2, 12, 12, dtype=torch.complex128)
    block = plane + 1e-4 * random_complex((2, 12, 12), 1)
    assert len(signal_kernels(block, 3, 0.01)) == 1
    assert len(signal_kernels(block, 3, 1e-9)) == 18


@pytest.mark.parametrize("shape", [(8, 6), (7, 9)])
def test_eigenvectors_are_those_of_the_projection_at_every_pixel(shape: tuple[int, int]) -> None:
    kernels = random_complex((4, 3, 3, 3), 2)
    maps, values = eigen_maps(kernels / 10, shape, n_sets=3)
    n_y, n_x = shape
    for y, x in ((0, 0), (n_y // 2, n_x // 2), (n_y - 1, 2)):
        phase = torch.tensor(
            [[2 * torch.pi * ((y - n_y // 2) * dy / n_y + (x - n_x // 2) * dx / n_x) for dx in range(3)] for dy in range(3)]
        )
        spectra = (kernels / 10 * torch.polar(torch.ones_like(phase), phase)).sum(dim=(-2, -1))  # one vector for each kernel
        projection = spectra.mT @ spectra.conj() / 9
        found = maps[:, :, y, x]
        torch.testing.assert_close(projection @ found.mT, found.mT * values[:, y, x].to(found.dtype), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(found.conj() @ found.mT, torch.eye(3, dtype=found.dtype), atol=1e-6, rtol=1e-6)


def test_the_phase_is_that_of_the_strongest_combination() -> None:
    block = random_complex((2, 6, 6), 3)
    block[1] = 0
    maps = reference_phase(random_complex((1, 2, 4, 4), 4), block)
    torch.testing.assert_close(maps[0, 0].imag, torch.zeros(4, 4, dtype=torch.float64), atol=1e-9, rtol=0)
    assert (maps[0, 0].real > 0).all()


def test_columns_make_up_for_lines() -> None:
    ksp = torch.from_numpy(sigpy.fft(coil_maps((64, 64), 8) * head((64, 64), 0.0, 0), axes=[-2, -1]).astype(np.complex64))
    imgs = ifft2(ksp)

    def left_over(block: tuple[int, int]) -> float:
        mps = eigen_maps(signal_kernels(resize(ksp, block), 6, 0.02), (64, 64), 1)[0][0]
        return float(torch.linalg.vector_norm(imgs - mps * (mps.conj() * imgs).sum(dim=0)) / torch.linalg.vector_norm(imgs))

    assert left_over((10, 24)) < 0.5 * left_over((10, 10))
    assert left_over((10, 24)) < 0.05
