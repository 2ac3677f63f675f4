import dataclasses

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch

from tests.conftest import SMALL
from tests.helpers import header_xml
from tests.scans import Protocol, body, measure
from untrained_recon.coils import (
    calibration_block,
    calibration_width,
    compress,
    estimate_map_sets,
    estimate_maps,
    low_resolution_maps,
)
from untrained_recon.config import MapsConfig
from untrained_recon.encoding import ImageIndex
from untrained_recon.errors import CalibrationError
from untrained_recon.header import parse_header
from untrained_recon.phantom import coil_maps, head
from untrained_recon.types import BoolArray, ComplexArray, KSpace

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


def test_the_calibration_block_is_as_wide_as_its_lines_allow() -> None:
    mask = lines((64, 64), 27, 37)
    assert calibration_block(mask, 24) == (10, 24)
    mask[:, :26] = False
    assert calibration_block(mask, 24) == (10, 13)
    assert calibration_block(np.ones((64, 20), bool), 24) == (24, 20)
    assert calibration_block(lines((64, 64), 33, 64), 24) == (0, 0)


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


def image_of(ksp: ComplexArray, mask: BoolArray) -> KSpace:
    encoding = parse_header(header_xml(SMALL)).encodings[0]
    ksp = ksp * mask
    return KSpace(ksp, mask, ksp, mask, ImageIndex(0, 0, 0, 0, 0, 0, 0), encoding, None, prewhitened=False)


def rss_of(ksp: ComplexArray) -> ComplexArray:
    found: ComplexArray = np.linalg.norm(sigpy.ifft(ksp, axes=[-2, -1]), axis=0)
    return found


@pytest.mark.parametrize("n_coils", [64, 128])
def test_many_coils_are_compressed_without_visible_loss(n_coils: int) -> None:
    ksp, _ = phantom((48, 48), n_coils)
    data = compress(image_of(ksp, np.ones((48, 48), bool)), 16)
    assert data.ksp.shape == (16, 48, 48)
    assert data.ksp.dtype == np.complex64
    assert data.calib is data.ksp
    full = rss_of(ksp)
    assert np.linalg.norm(rss_of(data.ksp) - full) / np.linalg.norm(full) < 0.005


def test_compression_keeps_noise_white_and_takes_calibration_scans_along() -> None:
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal((12, 64, 64)) + 1j * rng.standard_normal((12, 64, 64))).astype(np.complex64)
    ksp, _ = phantom((64, 64), 12)
    data = dataclasses.replace(image_of(noise, np.ones((64, 64), bool)), calib=ksp)
    found = compress(data, 5)
    assert found.calib.shape == (5, 64, 64)
    flat = found.ksp.reshape(5, -1)
    np.testing.assert_allclose(flat @ flat.conj().T / flat.shape[1], 2 * np.eye(5), atol=0.1)
    assert compress(data, 12) is data
    empty = image_of(0 * ksp, np.ones((64, 64), bool))
    assert compress(empty, 5) is empty


def test_coils_of_noise_alone_get_next_to_no_weight() -> None:
    ksp, _ = phantom((64, 64))
    rng = np.random.default_rng(0)
    noise = 0.01 * (rng.standard_normal((2, 64, 64)) + 1j * rng.standard_normal((2, 64, 64)))
    mask = lines((64, 64), 20, 44)
    mps = estimate_maps(np.concatenate([ksp, noise]).astype(np.complex64) * mask, mask, MapsConfig(), CPU)
    inside = np.abs(head((64, 64), 0.0, 0)) > 0.3
    assert np.abs(mps[6:, inside]).mean() < 0.05
    assert (np.linalg.norm(mps, axis=0)[inside] > 0.9).mean() > 0.9


def test_one_coil_has_a_map_of_ones() -> None:
    ksp, _ = phantom((64, 64), 1)
    mps = estimate_maps(ksp, np.ones((64, 64), bool), MapsConfig(), CPU)
    np.testing.assert_allclose(mps[0, np.abs(head((64, 64), 0.0, 0)) > 0.3], 1, atol=1e-3)


def test_the_first_of_several_sets_is_the_one_of_a_single_set() -> None:
    ksp, _ = phantom((48, 40))
    mask = lines((48, 40), 14, 34)
    settings = MapsConfig(calib_width=20)
    one = estimate_maps(ksp, mask, settings, CPU)
    np.testing.assert_array_equal(estimate_map_sets(ksp, mask, settings, CPU), one[None])
    two = estimate_map_sets(ksp, mask, MapsConfig(calib_width=20, sets=2), CPU)
    assert two.shape == (2, 6, 48, 40)
    common = one.any(axis=0) & two[0].any(axis=0)
    assert common.sum() > 0.9 * one.any(axis=0).sum()
    assert np.median(np.abs((one.conj() * two[0]).sum(axis=0))[common]) > 0.999
    both = two[1].any(axis=0)
    assert np.abs((two[0].conj() * two[1]).sum(axis=0))[both].max(initial=0) < 1e-4


def test_two_sets_describe_an_object_beyond_the_field_of_view() -> None:
    narrow = Protocol(matrix=(1, 32, 48), recon=(1, 32, 48), fov=(5.0, 160.0, 240.0), recon_fov=(5.0, 160.0, 240.0))
    ksp = measure(body(8), narrow)[:, 0]  # the head is 211 mm high
    imgs = sigpy.ifft(ksp, axes=[-2, -1])

    def left_over(sets: int) -> float:
        mps = estimate_map_sets(ksp, np.ones(ksp.shape[1:], bool), MapsConfig(sets=sets), CPU)
        explained = (mps * (mps.conj() * imgs).sum(axis=1, keepdims=True)).sum(axis=0)
        return float(np.linalg.norm(imgs - explained) / np.linalg.norm(imgs))

    assert left_over(2) < 0.6 * left_over(1)
