import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch

from untrained_recon.coils import calibration_block, calibration_width, estimate_maps, low_resolution_maps
from untrained_recon.config import MapsConfig
from untrained_recon.errors import CalibrationError
from untrained_recon.phantom import coil_maps, head
from untrained_recon.types import BoolArray, ComplexArray

CPU = torch.device("cpu")


def lines(shape: tuple[int, int], start: int, stop: int) -> BoolArray:
    mask = np.zeros(shape, bool)
    mask[start:stop] = True
    return mask


def phantom(shape: tuple[int, int], n_coils: int = 6) -> tuple[ComplexArray, ComplexArray]:
    mps = coil_maps(shape, n_coils)
    return sigpy.fft(mps * head(shape, 0.0, 0), axes=[-2, -1]).astype(np.complex64), mps


@pytest.mark.parametrize(
    ("n", "start", "stop", "width"),
    [(64, 20, 44, 24), (64, 21, 44, 23), (64, 20, 43, 22), (63, 20, 43, 23), (64, 33, 50, 0), (64, 32, 33, 1), (64, 0, 64, 64)],
)
def test_calibration_width_counts_symmetrically_about_the_centre(n: int, start: int, stop: int, width: int) -> None:
    assert calibration_width(lines((n, 200), start, stop)) == width


def test_calibration_width_needs_the_columns_too() -> None:
    mask = lines((64, 64), 20, 44)
    mask[:, :26] = False  # asymmetric echo
    assert calibration_width(mask) == 13


@pytest.mark.parametrize("shape", [(64, 64), (63, 61), (64, 49)])
def test_maps_match_the_true_sensitivities_up_to_phase(shape: tuple[int, int]) -> None:
    ksp, true = phantom(shape)
    mask = lines(shape, shape[0] // 2 - 12, shape[0] // 2 + 12)
    mps = estimate_maps(ksp * mask, mask, MapsConfig(), CPU)
    assert mps.shape == ksp.shape
    assert mps.dtype == np.complex64
    inside = np.abs(head(shape, 0.0, 0)) > 0.3
    unit = true / np.linalg.norm(true, axis=0)
    alignment = np.abs((mps.conj() * unit).sum(axis=0))[inside]
    assert np.median(alignment) > 0.995
    norm = np.linalg.norm(mps, axis=0)
    assert norm.max() == pytest.approx(1, abs=1e-4)
    assert np.median(norm[inside]) == pytest.approx(1, abs=1e-4)


def test_maps_agree_with_those_of_sigpy() -> None:
    ksp, _ = phantom((64, 60))
    mask = lines((64, 60), 20, 44)
    theirs = sigpy.mri.app.EspiritCalib(ksp * mask, calib_width=24, thresh=0.02, crop=0.8, show_pbar=False).run()
    ours = estimate_maps(ksp * mask, mask, MapsConfig(thresh=0.02, crop=0.89), CPU)
    both = theirs.any(axis=0) & ours.any(axis=0)
    assert both.sum() > 0.9 * theirs.any(axis=0).sum()
    assert np.median(np.abs((ours.conj() * theirs).sum(axis=0))[both]) > 0.9999


@pytest.mark.parametrize("n_lines", [6, 8, 10, 12])
def test_few_calibration_lines_still_give_maps_that_explain_the_coils(n_lines: int) -> None:
    ksp, _ = phantom((64, 60))
    imgs = sigpy.ifft(ksp, axes=[-2, -1])
    mask = lines((64, 60), 32 - n_lines // 2, 32 + n_lines // 2)
    mps = estimate_maps(ksp * mask, mask, MapsConfig(), CPU)
    explained = mps * (mps.conj() * imgs).sum(axis=0)
    assert np.linalg.norm(imgs - explained) < 0.15 * np.linalg.norm(imgs)


def test_the_calibration_block_grows_along_the_axis_that_has_more() -> None:
    assert calibration_block(lines((64, 60), 28, 36), 24) == (8, 24)
    assert calibration_block(lines((64, 20), 28, 36), 24) == (8, 20)
    assert calibration_block(lines((64, 60), 10, 60), 24) == (24, 24)
    assert calibration_block(np.zeros((64, 60), bool), 24) == (0, 0)


def test_a_coil_without_signal_gets_a_zero_map_and_leaves_the_others_alone() -> None:
    ksp, _ = phantom((64, 64))
    dead = np.insert(ksp, 0, 0, axis=0)
    mask = np.ones((64, 64), bool)
    mps = estimate_maps(dead, mask, MapsConfig(), CPU)
    assert not mps[0].any()
    np.testing.assert_allclose(mps[1:], estimate_maps(ksp, mask, MapsConfig(), CPU), atol=1e-4)


def test_calibration_that_cannot_work_is_refused() -> None:
    ksp, _ = phantom((64, 64))
    with pytest.raises(CalibrationError, match=r"4 contiguous calibration lines .* needs 6"):
        estimate_maps(ksp, lines((64, 64), 30, 34), MapsConfig(), CPU)
    with pytest.raises(CalibrationError, match="no signal"):
        estimate_maps(np.zeros_like(ksp), np.ones((64, 64), bool), MapsConfig(), CPU)
    with pytest.raises(CalibrationError, match=r"no pixel of the maps passes maps\.crop"):
        estimate_maps(ksp, np.ones((64, 64), bool), MapsConfig(crop=0.9999999), CPU)


def test_low_resolution_maps_keep_the_phase_of_the_object() -> None:
    ksp, true = phantom((64, 60))
    mps = low_resolution_maps(torch.from_numpy(ksp), torch.ones(64, 60, dtype=torch.bool)).numpy()
    inside = np.abs(head((64, 60), 0.0, 0)) > 0.3
    strongest = np.linalg.norm(mps, axis=(1, 2)).argmax()
    unit = true / np.linalg.norm(true, axis=0) * np.exp(-1j * np.angle(true[strongest]))
    error = np.linalg.norm(mps - unit, axis=0)[inside]
    assert np.median(error) < 0.1
    assert not low_resolution_maps(torch.zeros(2, 8, 8, dtype=torch.complex64), torch.ones(8, 8, dtype=torch.bool)).any()
