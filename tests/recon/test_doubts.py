import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.conftest import SMALL
from tests.doubles.helpers import header_xml
from untrained_recon.account import Account
from untrained_recon.cautions import Caution
from untrained_recon.encoding import ImageIndex
from untrained_recon.masks import Pattern, line_codes
from untrained_recon.physics.operators import Sense
from untrained_recon.recon.doubts import (
    FEWEST_STEPS,
    MISFIT,
    REGULAR,
    acceleration,
    alias,
    alias_shifts,
    aliasing,
    coils_alike,
    independent_coils,
    misfit,
    out_of_time,
    too_few_sets,
)
from untrained_recon.scan.header import parse_header
from untrained_recon.types import BoolArray, ComplexArray, KSpace

SHAPE = (96, 80)


def lines(pattern: Pattern, accel: int, acs: int = 16, seed: int = 0) -> BoolArray:
    sampled = line_codes(SHAPE[0], pattern, accel, acs, np.random.default_rng(seed)) > 0
    return np.repeat(sampled[:, None], SHAPE[1], axis=1)


def noise(n_coils: int, seed: int = 0) -> ComplexArray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n_coils, *SHAPE)) + 1j * rng.standard_normal((n_coils, *SHAPE))).astype(np.complex64)


def data(mask: BoolArray, n_coils: int = 4, signal: float = 20.0) -> KSpace:
    """Whitened samples: a bright centre, independent in all coils, and noise of standard deviation 1 in both parts."""
    y, x = (np.abs(np.arange(n) - n // 2) for n in SHAPE)
    bright = signal * noise(n_coils, 1) * ((y < 12)[:, None] & (x < 12))
    ksp, encoding = (noise(n_coils) + bright) * mask, parse_header(header_xml(SMALL)).encodings[0]
    return KSpace(ksp, mask, ksp, mask, ImageIndex(0, 0, 0, 0, 0, 0, 0), encoding, None, prewhitened=True)


def codes(cautions: list[Caution]) -> list[str]:
    return [caution.code for caution in cautions]


def misfits(scan: KSpace, change: Callable[[torch.Tensor], object]) -> list[str]:
    residual = torch.from_numpy(noise(len(scan.ksp), 2) * scan.mask)
    change(residual)
    return codes(misfit(residual, scan, torch.from_numpy(scan.ksp)))


def test_a_residual_of_noise_is_no_misfit() -> None:
    assert misfits(data(lines("equispaced", 4)), lambda r: None) == []


def test_more_than_noise_is_a_misfit_in_all_lines_or_in_one() -> None:
    scan = data(lines("equispaced", 4))
    assert misfits(scan, lambda r: r.mul_(math.sqrt(1.2 * MISFIT))) == ["model-misfit"]
    assert misfits(scan, lambda r: r[:, SHAPE[0] // 2].mul_(3)) == ["model-misfit"]
    assert misfits(scan, lambda r: r[:, SHAPE[0] // 2].mul_(1.5)) == []


def test_what_nobody_can_see_is_no_misfit() -> None:
    assert misfits(data(lines("equispaced", 4), signal=20000), lambda r: r.mul_(3)) == []


def test_a_noise_scan_of_too_low_a_level_raises_no_false_alarm() -> None:
    scan = data(lines("equispaced", 4))
    scan = dataclasses.replace(scan, ksp=3 * scan.ksp)
    assert misfits(scan, lambda r: r.mul_(3)) == []


def test_without_any_known_noise_most_of_the_energy_must_be_explained() -> None:
    scan = data(lines("equispaced", 4))
    scan.ksp[..., :16] = scan.ksp[..., -16:] = 0
    scan = dataclasses.replace(scan, prewhitened=False)
    ksp = torch.from_numpy(scan.ksp)
    assert misfit(0.1 * ksp, scan, ksp) == []
    assert codes(misfit(0.5 * ksp, scan, ksp)) == ["model-misfit"]


def test_fewer_sets_than_needed_are_a_misfit() -> None:
    assert codes(too_few_sets(1, 2)) == ["model-misfit"]
    assert too_few_sets(2, 1) == too_few_sets(2, 2) == []


@pytest.mark.parametrize("accel", [2, 3, 4, 6])
def test_acceleration_is_that_between_the_calibration_lines(accel: int) -> None:
    assert acceleration(lines("equispaced", accel)) == pytest.approx(accel, rel=0.15)
    half = lines("equispaced", accel)
    half[:24] = False  # partial Fourier
    assert acceleration(half) == pytest.approx(accel, rel=0.15)


def test_acceleration_of_partial_fourier_alone_is_1() -> None:
    full = np.ones(SHAPE, bool)
    assert acceleration(full) == 1
    full[:30] = False
    full[:, :20] = False
    assert acceleration(full) == 1
    assert acceleration(lines("equispaced", 1)) == 1
    centre = np.zeros(SHAPE, bool)
    centre[40:56] = True
    assert acceleration(centre) == acceleration(np.zeros(SHAPE, bool)) == 1


def test_acceleration_of_two_axes_is_their_product_within_the_ellipse() -> None:
    y, x = ((np.arange(n) - n // 2) / (n / 2) for n in SHAPE)
    ellipse = np.hypot(y[:, None], x[None, :]) < 1
    mask = np.zeros(SHAPE, bool)
    mask[::2, ::2] = True
    mask[40:56, 32:48] = True
    assert acceleration(mask & ellipse) == pytest.approx(4, rel=0.15)


def test_regular_lines_alias_and_random_ones_do_not() -> None:
    assert all(alias(lines("equispaced", accel)) > REGULAR for accel in (2, 3, 4, 5))
    assert all(alias(lines("random", 4, 8, seed)) < REGULAR for seed in range(5))
    assert alias(np.ones(SHAPE, bool)) == 0


@pytest.mark.parametrize(("accel", "rows"), [(2, {48}), (3, {32, 64}), (4, {24, 48, 72}), (5, {19, 38, 58, 77})])
def test_regular_lines_shift_the_image_by_parts_of_the_field_of_view(accel: int, rows: set[int]) -> None:
    for mask in (lines("equispaced", accel), lines("equispaced", accel, acs=0)):
        assert set(alias_shifts(mask)) == {(row, 0) for row in rows}
    assert alias_shifts(lines("random", 4, 8)) == alias_shifts(np.ones(SHAPE, bool)) == []


def test_regular_samples_of_two_axes_shift_it_along_both() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[::2, ::4] = mask[1::2, 2::4] = True  # CAIPIRINHA
    assert set(alias_shifts(mask)) == {(48, 20), (0, 40), (48, 60)}


def test_places_that_coils_cannot_tell_apart_are_said() -> None:
    y = torch.linspace(0, 2 * torch.pi, SHAPE[0])[:, None].expand(SHAPE)
    img = torch.full(SHAPE, 100.0, dtype=torch.complex64)

    def raised(mask: BoolArray, contrast: float, error: float) -> list[str]:
        mps = torch.polar(torch.stack([1 + contrast * torch.cos(y - c * torch.pi / 2) for c in range(4)]), torch.zeros(4, *SHAPE))
        operator = Sense(mps / torch.linalg.vector_norm(mps, dim=0), torch.from_numpy(mask))
        return codes(coils_alike(data(mask), operator, img * torch.from_numpy(texture), error))

    texture = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    regular = lines("equispaced", 2, acs=0)
    assert raised(regular, 0.9, 1.0) == raised(regular, 0.01, 0.0) == raised(lines("random", 2, 8), 0.01, 1.0) == []
    assert raised(regular, 0.01, 1.0) == ["acceleration-beyond-coils"]
    texture[:] = 1  # which the calibration lines hold
    assert raised(lines("equispaced", 2, acs=8), 0.01, 1.0) == []


def test_coils_count_that_see_something_of_their_own() -> None:
    scan = data(lines("equispaced", 4), 4)
    assert independent_coils(scan) == 4
    doubled = np.concatenate([scan.ksp, 2j * scan.ksp[:2], 0 * scan.ksp[:1]])
    assert independent_coils(dataclasses.replace(scan, ksp=doubled)) == 4


def test_more_acceleration_than_coils_is_said() -> None:
    assert aliasing(data(lines("equispaced", 4), 4), True, False) == []
    assert codes(aliasing(data(lines("equispaced", 4), 2), True, False)) == ["acceleration-beyond-coils"]
    assert codes(aliasing(data(lines("random", 4, 8), 2), True, False)) == ["acceleration-beyond-coils"]
    assert aliasing(data(np.ones(SHAPE, bool), 1), True, False) == []


def test_without_maps_regular_lines_are_said_to_alias() -> None:
    assert codes(aliasing(data(lines("equispaced", 2), 8), False, False)) == ["acceleration-beyond-coils"]
    assert aliasing(data(lines("random", 4, 8), 8), False, False) == []


def test_maps_that_are_missing_are_said_where_lines_are() -> None:
    assert codes(aliasing(data(lines("random", 4, 8), 8), False, True)) == ["maps-missing"]
    assert aliasing(data(np.ones(SHAPE, bool), 8), False, True) == []


def test_time_that_ends_a_reconstruction_is_said_unless_it_was_nearly_done() -> None:
    def raised(stop_reason: str, refinement_stop: str, refinements: int) -> list[str]:
        run = Account(stop_reason=stop_reason, refinement_stop=refinement_stop, refinements=refinements)
        return codes(out_of_time(run))

    assert raised("time budget", "", 0) == ["time-budget"]
    assert raised("time budget", "time budget", FEWEST_STEPS - 1) == ["time-budget"]
    assert raised("time budget", "time budget", FEWEST_STEPS) == []
    assert raised("time budget", "discrepancy", 5) == raised("iterations", "", 0) == []
