import numpy as np
import pytest
import sigpy
import torch

from tests.doubles.helpers import assert_adjoint, random_complex
from untrained_recon.physics.operators import CoilFourier, Sense, data_consistency, fft2, ifft2, resize, rss

SHAPES = [(8, 6), (7, 9), (8, 5), (1, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_operators_are_adjoint_to_themselves(shape: tuple[int, int]) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.6
    assert_adjoint(CoilFourier(mask, 3))
    assert_adjoint(Sense(random_complex((3, *shape), 4), mask))
    assert_adjoint(Sense(random_complex((2, 3, *shape), 4), mask))
    weights = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert_adjoint(Sense(random_complex((2, 3, *shape), 4), weights))


@pytest.mark.parametrize("shape", SHAPES)
def test_fft_of_a_plane_wave_is_one_sample(shape: tuple[int, int]) -> None:
    n_y, n_x = shape
    k_y, k_x = n_y // 3, n_x // 3
    y, x = np.arange(n_y) - n_y // 2, np.arange(n_x) - n_x // 2
    wave = np.exp(2j * np.pi * (k_y * y[:, None] / n_y + k_x * x[None, :] / n_x))
    expected = np.zeros(shape, complex)
    expected[n_y // 2 + k_y, n_x // 2 + k_x] = np.sqrt(n_y * n_x)
    np.testing.assert_allclose(fft2(torch.from_numpy(wave)).numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_fft_agrees_with_sigpy_and_inverts(shape: tuple[int, int]) -> None:
    x = random_complex((2, *shape), 0)
    np.testing.assert_allclose(fft2(x).numpy(), sigpy.fft(x.numpy(), axes=[-2, -1]), atol=1e-12)
    torch.testing.assert_close(ifft2(fft2(x)), x)


@pytest.mark.parametrize("shape", SHAPES)
def test_operators_are_the_centred_transform_between_maps_and_mask(shape: tuple[int, int]) -> None:
    mps, x, y = random_complex((2, 3, *shape), 0), random_complex((2, *shape), 1), random_complex((3, *shape), 2)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sense, coils = Sense(mps, mask), CoilFourier(mask, 3)
    torch.testing.assert_close(sense(x), fft2((mps * x[:, None]).sum(dim=0)) * mask)
    torch.testing.assert_close(sense.adjoint(y), (mps.conj() * ifft2(y * mask)).sum(dim=1))
    torch.testing.assert_close(coils(y), fft2(y) * mask)
    torch.testing.assert_close(coils.adjoint(y), ifft2(y * mask))


def test_sense_with_exact_maps_and_full_sampling_recovers_the_object() -> None:
    mps = random_complex((4, 9, 8), 0)
    mps = mps / rss(mps)
    img = random_complex((9, 8), 1)
    operator = Sense(mps, torch.ones(9, 8, dtype=torch.bool))
    torch.testing.assert_close(operator.adjoint(operator(img)), img)


def test_operators_name_the_shape_they_take() -> None:
    with pytest.raises(ValueError, match=r"CoilFourier takes shape \(2, 4, 4\), got \(4, 4\)"):
        CoilFourier(torch.ones(4, 4, dtype=torch.bool), 2)(torch.zeros(4, 4))


def test_data_consistency_keeps_measured_samples_and_network_samples() -> None:
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[::2] = True
    ksp, coil_imgs = random_complex((2, 6, 5), 0), random_complex((2, 6, 5), 1)
    result = fft2(data_consistency(coil_imgs, ksp, mask))
    torch.testing.assert_close(result[:, mask], ksp[:, mask])
    torch.testing.assert_close(result[:, ~mask], fft2(coil_imgs)[:, ~mask])


@pytest.mark.parametrize(("n", "size"), [(8, 5), (8, 6), (7, 4), (7, 5), (5, 8), (6, 8), (4, 7), (5, 7)])
def test_resize_agrees_with_sigpy(n: int, size: int) -> None:
    x = random_complex((2, n, n + 1), 0)
    np.testing.assert_array_equal(resize(x, (size, size)).numpy(), sigpy.resize(x.numpy(), (2, size, size)))
