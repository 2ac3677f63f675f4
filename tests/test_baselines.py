import numpy as np
import pytest
import sigpy.mri
import torch

from untrained_recon import bart
from untrained_recon.baselines import METHODS, data_scale, solve
from untrained_recon.conjugate import cg_sense
from untrained_recon.errors import ConfigError
from untrained_recon.masks import acs_lines, grid_lines
from untrained_recon.operators import Sense
from untrained_recon.phantom import coil_maps, head
from untrained_recon.types import BoolArray, ComplexArray

Problem = tuple[ComplexArray, ComplexArray, ComplexArray, BoolArray]
needs_bart = pytest.mark.skipif(not bart.available(), reason="the command bart is not installed")
ALL = [pytest.param(name, marks=[needs_bart] if name.startswith("bart") else []) for name in METHODS]


def problem(shape: tuple[int, int] = (64, 64), seed: int = 0) -> Problem:
    """Image, noisy k-space, maps and mask: the phantom, six coils, random lines, R 3, 12 ACS lines."""
    rng = np.random.default_rng(seed)
    img, mps = head(shape, 0.0, 1), coil_maps(shape, 6)
    mps = np.asarray(mps / np.linalg.norm(mps, axis=0), np.complex64)
    lines = grid_lines(shape[0], "random", 3, 12, rng) | acs_lines(shape[0], 12)
    mask = np.repeat(lines[:, None], shape[1], axis=1)
    ksp = Sense(torch.from_numpy(mps), torch.from_numpy(mask))(torch.from_numpy(img)).numpy()
    noise = rng.standard_normal(ksp.shape) + 1j * rng.standard_normal(ksp.shape)
    return img, (ksp + 0.005 * mask * noise).astype(np.complex64), mps, mask


def error(img: ComplexArray, truth: ComplexArray) -> float:
    return float(np.linalg.norm(img - truth) / np.linalg.norm(truth))


def tv_objective(img: ComplexArray, ksp: ComplexArray, mps: ComplexArray, mask: BoolArray, lamda: float) -> float:
    """``½ ‖M F S x - y‖² + λ Σ |∇x|`` of the scaled data, neighbours across the border included."""
    scale = data_scale(ksp, mps, mask)
    residual = Sense(torch.from_numpy(mps), torch.from_numpy(mask))(torch.from_numpy(img)).numpy() - ksp
    gradient = np.stack([img - np.roll(img, 1, axis) for axis in (0, 1)]) / scale
    return float(0.5 * np.linalg.norm(residual / scale) ** 2 + lamda * np.linalg.norm(gradient, axis=0).sum())


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("shape", [(64, 64), (62, 45)], ids=str)
def test_every_method_beats_zero_filling_and_keeps_shape_type_and_phase(method: str, shape: tuple[int, int]) -> None:
    img, ksp, mps, mask = problem(shape)
    found = solve(method, ksp, mps, mask)
    assert found.shape == shape
    assert found.dtype == np.complex64
    zero_filled = Sense(torch.from_numpy(mps), torch.from_numpy(mask)).adjoint(torch.from_numpy(ksp)).numpy()
    assert error(found, img) < 0.8 * error(zero_filled, img)


@pytest.mark.parametrize("method", ALL)
def test_lambda_does_not_depend_on_the_units_of_the_data(method: str) -> None:
    _, ksp, mps, mask = problem()
    small = solve(method, (1e-5 * ksp).astype(np.complex64), mps, mask, iterations=20)
    assert error(1e5 * small, solve(method, ksp, mps, mask, iterations=20)) < 1e-3


@pytest.mark.parametrize("method", ALL)
def test_strong_regularisation_shrinks_or_smooths_the_image(method: str) -> None:
    img, ksp, mps, mask = problem()
    assert error(solve(method, ksp, mps, mask, lamda=10.0), img) > 1.5 * error(solve(method, ksp, mps, mask), img)


@pytest.mark.parametrize("method", ALL)
def test_the_same_input_gives_the_same_image(method: str) -> None:
    _, ksp, mps, mask = problem()
    first, again = (solve(method, ksp, mps, mask, iterations=10) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_cg_sense_solves_its_normal_equations() -> None:
    _, ksp, mps, mask = problem()
    sense = Sense(torch.from_numpy(mps), torch.from_numpy(mask))
    x = torch.from_numpy(solve("cg-sense", ksp, mps, mask, lamda=0.05, iterations=100))
    torch.testing.assert_close(sense.adjoint(sense(x)) + 0.05 * x, sense.adjoint(torch.from_numpy(ksp)), atol=1e-4, rtol=1e-4)


def test_cg_sense_takes_the_steps_of_sigpy() -> None:
    """Iteration by iteration, and on to where nothing is left to do."""
    _, ksp, mps, mask = problem()
    operator, samples = Sense(torch.from_numpy(mps), torch.from_numpy(mask)), torch.from_numpy(ksp)
    for iterations in (1, 5, 30, 200):
        weights = mask.astype(np.float32)
        app = sigpy.mri.app.SenseRecon(ksp, mps, lamda=0.05, weights=weights, max_iter=iterations, show_pbar=False)
        assert error(cg_sense(operator, samples, 0.05, iterations).numpy(), app.run()) < 1e-5
    assert not cg_sense(operator, torch.zeros_like(samples), 0.05, 3).any()


@needs_bart
@pytest.mark.parametrize("shape", [(64, 64), (46, 33)], ids=str)
def test_sigpy_and_bart_find_the_same_tv_image(shape: tuple[int, int]) -> None:
    _, ksp, mps, mask = problem(shape)
    ours, theirs = (solve(method, ksp, mps, mask, lamda=0.01, iterations=1000) for method in ("tv", "bart-tv"))
    assert error(ours, theirs) < 0.01
    values = [tv_objective(img, ksp, mps, mask, 0.01) for img in (ours, theirs)]
    assert values[0] == pytest.approx(values[1], rel=1e-3)


@needs_bart
def test_sigpy_and_bart_find_the_same_wavelet_image_up_to_the_border() -> None:
    """Without random shifts; sigpy continues the image by zeros, BART periodically, hence 3 %."""
    _, ksp, mps, mask = problem()
    ours, scale = solve("l1-wavelet", ksp, mps, mask, lamda=0.003, iterations=500), data_scale(ksp, mps, mask)
    options = ["-w", "1", "-n", "-R", "W:3:0:0.003", "-i", "500"]
    theirs = scale * bart.pics(options, (ksp / scale).astype(np.complex64), mps, mask)
    assert error(ours, theirs) < 0.03


def test_data_scale_makes_the_zero_filled_image_about_one() -> None:
    _, ksp, mps, mask = problem()
    scale = data_scale(ksp, mps, mask)
    zero_filled = Sense(torch.from_numpy(mps), torch.from_numpy(mask)).adjoint(torch.from_numpy(ksp)).abs().numpy()
    assert np.mean(zero_filled <= scale) == pytest.approx(0.99, abs=1e-3)
    only = np.zeros_like(ksp)
    assert not solve("tv", only, mps, mask).any()


def test_unknown_methods_are_named() -> None:
    _, ksp, mps, mask = problem()
    with pytest.raises(ConfigError, match=r"unknown method 'sense'; known are cg-sense, l1-wavelet, tv"):
        solve("sense", ksp, mps, mask)
