"""BART sees our arrays and our Fourier transform. Skipped where the command ``bart`` is not installed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from untrained_recon.errors import BartError
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import Sense, fft2
from untrained_recon.recon.conventional import bart
from untrained_recon.recon.conventional.baselines import solve
from untrained_recon.types import BoolArray, ComplexArray

needs_bart = pytest.mark.skipif(not bart.available(), reason="the command bart is not installed")
SHAPES = [(64, 48), (46, 36), (45, 48), (48, 33), (35, 31), (230, 180)]


def unit_maps(shape: tuple[int, int], n_coils: int) -> ComplexArray:
    mps = coil_maps(shape, n_coils)
    return np.asarray(mps / np.linalg.norm(mps, axis=0), np.complex64)


def forward(img: ComplexArray, mps: ComplexArray, mask: BoolArray) -> ComplexArray:
    return np.asarray(Sense(torch.from_numpy(mps), torch.from_numpy(mask))(torch.from_numpy(img)).numpy(), np.complex64)


@needs_bart
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fft_is_ours(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    img = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    ksp = bart.run(["fft", "-u", "3", "img", "ksp"], {"img": img}, "ksp")
    np.testing.assert_allclose(ksp, fft2(torch.from_numpy(img)).numpy(), atol=1e-5)


@needs_bart
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_forward_model_of_pics_is_ours_phase_included(shape: tuple[int, int]) -> None:
    """Without regularisation the least-squares solution of what ``Sense`` made of an image is the image."""
    img, mps = head(shape, 0.0, 1), unit_maps(shape, 4)
    mask = np.ones(shape, bool)
    mask[1::2] = False  # two of four coils' worth of information is missing: the maps count
    mask[shape[0] // 2 - 6 : shape[0] // 2 + 6] = True
    found = bart.pics(["-w", "1", "-l2", "-r", "0", "-i", "100"], forward(img, mps, mask), mps, mask)
    assert np.linalg.norm(found - img) < 0.01 * np.linalg.norm(img)


@needs_bart
def test_samples_outside_the_mask_are_not_looked_at_and_zeros_inside_are() -> None:
    shape = (32, 32)
    img, mps, mask = head(shape, 0.0, 1), unit_maps(shape, 2), np.ones(shape, bool)
    mask[20:] = False
    ksp = forward(img, mps, np.ones(shape, bool))
    options = ["-w", "1", "-l2", "-r", "0.01", "-i", "30"]
    np.testing.assert_allclose(bart.pics(options, ksp, mps, mask), bart.pics(options, ksp * mask, mps, mask), atol=1e-6)
    zeroed = (ksp * mask).astype(np.complex64)
    ours = bart.pics(options, zeroed, mps, np.ones(shape, bool))
    assert np.linalg.norm(ours - bart.pics(options, zeroed, mps, mask)) > 0.05 * np.linalg.norm(ours)


@needs_bart
@pytest.mark.parametrize("shape", [(64, 48), (46, 33)], ids=str)
def test_the_tv_baseline_of_the_paper_comes_close_to_the_truth_in_its_own_scale(shape: tuple[int, int]) -> None:
    img, mps = head(shape, 0.0, 1), unit_maps(shape, 6)
    mask = np.zeros(shape, bool)
    mask[::2] = True
    mask[shape[0] // 2 - 12 : shape[0] // 2 + 12] = True
    ksp = (1e-5 * forward(img, mps, mask)).astype(np.complex64)
    found = np.abs(solve("paper-tv", ksp, bart.ecalib(ksp), mask)) * 1e5
    assert np.linalg.norm(found - np.abs(img)) < 0.1 * np.linalg.norm(img)


@needs_bart
def test_a_tool_that_fails_says_why() -> None:
    with pytest.raises(BartError, match=r"bart fft 3 img ksp: exit status -?\d+: .*img"):
        bart.run(["fft", "3", "img", "ksp"], {}, "ksp")


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command ``bart`` that sleeps."""
    command = tmp_path / "bart"
    command.write_text(f"#!{shutil.which('sh')}\nexec {shutil.which('sleep')} 30\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return command


def test_a_tool_that_takes_too_long_is_ended(pretended: Path) -> None:
    assert bart.available()
    with pytest.raises(BartError, match=r"bart fft: no result within 0\.2 s"):
        bart.run(["fft"], {}, "ksp", timeout_s=0.2)


def test_without_the_command_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not bart.available()
    with pytest.raises(BartError, match="package bart"):
        bart.run(["fft"], {}, "ksp")
