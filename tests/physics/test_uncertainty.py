import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.doubles.helpers import read_raw
from untrained_recon.config import ScanConfig
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import CoilFourier, Sense
from untrained_recon.physics.uncertainty import noise_level, noise_sd, uncertainty
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header

SHAPE = (64, 64)
NOISE = 0.02 * 2**0.5


def noisy(mps: torch.Tensor) -> tuple[Sense, torch.Tensor]:
    """A head through maps, every third line and the centre, with noise."""
    rng = np.random.default_rng(0)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[::3] = True
    mask[24:40] = True
    operator = Sense(mps, mask)
    noise = torch.from_numpy((rng.standard_normal((*mps.shape, 2)) * NOISE / 2**0.5).astype(np.float32))
    truth = torch.from_numpy(np.abs(head(SHAPE, 0.0, 0)).astype(np.complex64))
    return operator, operator(truth) + torch.view_as_complex(noise) * mask


def centre() -> np.ndarray:
    lines = np.zeros(SHAPE, bool)
    lines[24:40] = True
    return lines


def unit_maps() -> torch.Tensor:
    mps = coil_maps(SHAPE, 6)
    return torch.from_numpy((mps / np.linalg.norm(mps, axis=0)).astype(np.complex64))


def test_the_uncertainty_is_the_noise_where_the_maps_are_right_and_more_where_they_are_not() -> None:
    operator, ksp = noisy(unit_maps())
    assert uncertainty(operator, ksp, ksp, centre()) == pytest.approx(NOISE, rel=0.3)
    wrong = Sense(operator.mps.roll(8, -1), operator.mask)
    assert uncertainty(wrong, ksp, ksp, centre()) > 2 * NOISE


def test_calibration_of_another_loudness_tells_the_same() -> None:
    operator, ksp = noisy(unit_maps())
    alone = uncertainty(operator, ksp, ksp.clone(), centre())
    assert alone == pytest.approx(uncertainty(operator, ksp, ksp, centre()), rel=1e-5)
    assert uncertainty(operator, ksp, 40 * ksp, centre()) == pytest.approx(alone, rel=1e-5)


def test_edges_in_the_corners_of_k_space_are_no_noise() -> None:
    operator, ksp = noisy(unit_maps())
    loud = ksp.clone()
    loud[:, :12] *= 20
    loud[:, -12:] *= 20
    assert noise_level(loud, operator.mask) > 10 * noise_level(ksp, operator.mask)
    assert uncertainty(operator, loud, ksp, centre()) < 1.5 * uncertainty(operator, ksp, ksp, centre())


def test_coil_images_explain_all_but_the_noise() -> None:
    operator, ksp = noisy(unit_maps())
    assert uncertainty(CoilFourier(operator.mask, 6), ksp, ksp, centre()) == noise_level(ksp, operator.mask)


def test_the_noise_level_is_that_of_the_corners() -> None:
    noise = torch.randn(4, 128, 128, 2, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[::2] = True
    assert noise_level(torch.view_as_complex(noise), mask) == pytest.approx(2**0.5, rel=0.05)
    assert noise_level(torch.view_as_complex(noise), torch.zeros(128, 128, dtype=torch.bool)) == 0.0


def test_the_noise_is_known_after_a_noise_scan_and_estimated_without(small_scan: Path) -> None:
    xml, acquisitions = read_raw(small_scan)
    data = next(iter(assemble([acquisitions], parse_header(xml), ScanConfig())))
    samples = torch.view_as_complex(torch.randn(*data.ksp.shape, 2, generator=torch.Generator().manual_seed(0)))
    assert noise_sd(data, samples) == 1
    assert noise_sd(dataclasses.replace(data, averages=4.0), samples) == 0.5
    assert noise_sd(dataclasses.replace(data, prewhitened=False), samples) == pytest.approx(1, rel=0.1)
