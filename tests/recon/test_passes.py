"""More steps, runs or time never make an image worse: on scans whose maps are good, poor and wrong."""

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import untrained_recon
from untrained_recon.metrics import foreground, nrmse
from untrained_recon.phantom.head import coil_covariance, draw_noise
from untrained_recon.phantom.simulation import Simulation, scan
from untrained_recon.physics.operators import fft2, ifft2
from untrained_recon.recon import passes
from untrained_recon.recon.fit.held_out import held_out_samples
from untrained_recon.recon.fit.watch import Progress
from untrained_recon.recon.refine.steps import FIRST_PASS
from untrained_recon.types import BoolArray, ComplexArray, FloatArray, Reconstruction

SHAPE, COILS = (64, 64), 8
WORSE = 10 ** (0.1 / 20)  # 0.1 dB
SMALL: dict[str, Any] = {"network": {"layers": 4, "channels": 16, "in_size": [8, 8]}, "fit": {"iterations": 30}}


@dataclasses.dataclass(frozen=True)
class Case:
    """A scan: of ``folded`` field of view lines are ``accel`` times fewer, ``acs`` calibrate, and noise is added."""

    accel: int
    acs: int
    noise: float = 0.01
    folded: bool = False
    sets: int | str = "auto"


CASES = {
    "few steps suffice": Case(3, 16),
    "hard": Case(6, 8),
    "maps of six lines": Case(4, 6, noise=0.003),
    "noisy": Case(4, 12, noise=0.05),
    "wrong maps": Case(3, 16, folded=True, sets=1),
}


@cache
def acquired(case: Case) -> tuple[ComplexArray, BoolArray, FloatArray]:
    """Samples, mask and truth."""
    clean = scan(Simulation(SHAPE, COILS, 1, SHAPE[0], "equispaced", slices=1, noise=0.0, seed=3)).ksp
    if case.folded:  # the outer eighths of the field of view lie on the rest
        imgs = ifft2(torch.from_numpy(clean)).numpy()
        eighth = SHAPE[0] // 8
        middle = imgs[:, eighth:-eighth].copy()
        middle[:, -eighth:] += imgs[:, :eighth]
        middle[:, :eighth] += imgs[:, -eighth:]
        clean = fft2(torch.from_numpy(middle)).numpy()
    rng = np.random.default_rng(0)
    lines = np.asarray(rng.uniform(size=clean.shape[1]) < 1 / case.accel)
    start = len(lines) // 2 - case.acs // 2
    lines[start : start + case.acs] = True
    mask = np.repeat(lines[:, None], clean.shape[2], axis=1)
    noise = draw_noise(coil_covariance(COILS, case.noise), clean.shape[1:], rng)
    truth = np.linalg.norm(ifft2(torch.from_numpy(clean)).numpy(), axis=0)
    return ((clean + noise) * mask).astype(np.complex64), mask, truth


@cache
def reconstructed(case: Case, iterations: int, runs: int = 1, of_fit: int = 30) -> Reconstruction:
    ksp, mask, _ = acquired(case)
    settings: dict[str, Any] = {"refine": {"iterations": iterations}, "recon": {"runs": runs}, "maps": {"sets": case.sets}}
    settings = {**SMALL, **settings, "fit": {"iterations": of_fit}}
    return untrained_recon.reconstruct(ksp, mask, device="cpu", **settings)


def error(case: Case, iterations: int, runs: int = 1) -> float:
    """Where there is something to see."""
    truth = acquired(case)[2]
    inside = foreground(truth)
    return nrmse(inside * reconstructed(case, iterations, runs).magnitude, inside * truth)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_more_steps_are_never_worse(name: str) -> None:
    once, more, most = (error(CASES[name], FIRST_PASS + n * passes.STEPS) for n in (0, 1, 3))
    assert more < WORSE * once
    assert most < WORSE * min(more, once)


@pytest.mark.parametrize("name", CASES)
def test_more_iterations_of_the_fit_than_it_needs_change_nothing(name: str) -> None:
    enough, many = (reconstructed(CASES[name], FIRST_PASS, of_fit=n) for n in (150, 1500))
    assert many.account.stop_reason == "discrepancy"
    assert many.account.iterations < 150
    np.testing.assert_array_equal(many.magnitude, enough.magnitude)


def test_more_runs_are_never_worse() -> None:
    case = CASES["hard"]
    assert error(case, FIRST_PASS, runs=2) < WORSE * error(case, FIRST_PASS)


def test_passes_pay_where_few_lines_calibrate_and_where_the_data_are_noisy() -> None:
    for name in ("maps of six lines", "noisy"):
        assert error(CASES[name], FIRST_PASS + passes.STEPS) < 0.95 * error(CASES[name], FIRST_PASS)


def test_no_steps_are_wasted() -> None:
    assert (
        reconstructed(CASES["few steps suffice"], FIRST_PASS + 3 * passes.STEPS).account.refinements < FIRST_PASS + 3 * passes.STEPS
    )


def test_only_whole_passes_are_made() -> None:
    case = CASES["few steps suffice"]
    almost = reconstructed(case, FIRST_PASS + passes.STEPS - 1)
    assert almost.account.refinements == FIRST_PASS
    np.testing.assert_array_equal(almost.magnitude, reconstructed(case, FIRST_PASS).magnitude)


def test_too_few_sets_of_maps_are_not_refined_on() -> None:
    found = reconstructed(CASES["wrong maps"], FIRST_PASS + passes.STEPS)
    assert found.account.refinements == FIRST_PASS
    assert "model-misfit" in {caution.code for caution in found.cautions}


def test_known_maps_stay() -> None:
    ksp, mask, _ = acquired(CASES["few steps suffice"])
    maps = reconstructed(CASES["few steps suffice"], FIRST_PASS).maps
    assert maps is not None
    settings: dict[str, Any] = {**SMALL, "refine": {"iterations": FIRST_PASS + passes.STEPS}}
    found = untrained_recon.reconstruct(ksp, mask, maps=maps, device="cpu", **settings)
    assert found.account.refinements == FIRST_PASS + passes.STEPS
    assert found.maps is not None
    np.testing.assert_array_equal(found.maps, maps)


def test_a_callback_follows_the_passes_and_stops_them() -> None:
    ksp, mask, _ = acquired(CASES["few steps suffice"])
    seen: list[int] = []

    def follow(progress: Progress) -> bool:
        if progress.stage == "refine":
            seen.append(progress.iteration)
        return len(seen) < FIRST_PASS + 5

    settings: dict[str, Any] = {**SMALL, "refine": {"iterations": 1000}}
    found = untrained_recon.reconstruct(ksp, mask, device="cpu", follow=follow, **settings)
    assert len(seen) == found.account.refinements == FIRST_PASS + 5


@pytest.mark.parametrize("step", [FIRST_PASS + passes.STEPS + 5, FIRST_PASS + 2 * passes.STEPS + 5])
def test_a_callback_that_says_once_that_it_is_enough_hears_no_more(step: int) -> None:
    """In the second pass, while the first was kept, and in the trial."""
    ksp, mask, _ = acquired(CASES["hard"])
    seen: list[int] = []

    def follow(progress: Progress) -> bool:
        if progress.stage == "refine":
            seen.append(progress.iteration)
        return len(seen) != step

    settings: dict[str, Any] = {**SMALL, "refine": {"iterations": FIRST_PASS + 2 * passes.STEPS}}
    found = untrained_recon.reconstruct(ksp, mask, device="cpu", follow=follow, **settings)
    assert len(seen) == step
    assert found.account.refinements == min(step, FIRST_PASS + 2 * passes.STEPS)


def test_a_trial_is_followed_by_the_image_at_hand_and_stopped_by_the_callback() -> None:
    ksp, mask, _ = acquired(CASES["few steps suffice"])
    imgs: list[torch.Tensor] = []

    def follow(progress: Progress) -> bool:
        if progress.stage == "refine":
            imgs.append(progress.img)
        return len(imgs) <= FIRST_PASS + passes.STEPS + 10

    settings: dict[str, Any] = {**SMALL, "refine": {"iterations": FIRST_PASS + passes.STEPS}}
    found = untrained_recon.reconstruct(ksp, mask, device="cpu", follow=follow, **settings)
    assert found.account.refinements == FIRST_PASS + passes.STEPS
    trial = imgs[FIRST_PASS + passes.STEPS :]
    assert FIRST_PASS > len(trial) > 10
    assert all(img is trial[0] for img in trial)
    assert any(torch.equal(img, trial[0]) for img in imgs[FIRST_PASS : FIRST_PASS + passes.STEPS])


def test_a_trial_without_the_only_sample_that_tells_of_the_noise_costs_no_image() -> None:
    """Of a coil without others the corners of k-space tell of it; here one sample is left there, and the trial is to do without."""
    ksp, mask, _ = acquired(CASES["hard"])
    k_y, k_x = (np.abs(np.arange(n) - n // 2) / n for n in SHAPE)
    corners = mask & (k_y > 0.25)[:, None] & (k_x > 0.42)
    for place in np.argwhere(corners):
        one = mask & ~corners
        one[tuple(place)] = True
        if held_out_samples(one, passes.TRIAL, torch.Generator().manual_seed(1))[tuple(place)]:
            break
    settings: dict[str, Any] = {**SMALL, "refine": {"iterations": FIRST_PASS + passes.STEPS}}
    found = untrained_recon.reconstruct((ksp * one)[:1], one, device="cpu", **settings)
    assert found.account.refinements == FIRST_PASS + passes.STEPS
    assert np.isfinite(found.magnitude).all()


@pytest.mark.parametrize("what", ["_recalibrated", "_weight"])
@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("out of memory"), MemoryError()], ids=["gpu", "host"])
def test_where_memory_does_not_suffice_to_refine_on_the_image_stays(
    what: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise error

    case = CASES["few steps suffice"]
    ksp, mask, _ = acquired(case)
    monkeypatch.setattr(passes, what, fail)
    settings: dict[str, Any] = {**SMALL, "refine": {"iterations": FIRST_PASS + passes.STEPS}}
    found = untrained_recon.reconstruct(ksp, mask, device="cpu", **settings)
    assert (found.account.refinements, found.account.fallback_reason) == (FIRST_PASS, "")
    np.testing.assert_array_equal(found.magnitude, reconstructed(case, FIRST_PASS).magnitude)
    assert f"the image is not refined on: {type(error).__name__}" in caplog.text


def test_what_is_delivered_lies_between_the_first_image_and_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["noisy"]
    first, mixed = reconstructed(case, FIRST_PASS), reconstructed(case, FIRST_PASS + passes.STEPS)
    monkeypatch.setattr(passes, "LEAST", 1.0)
    monkeypatch.setattr(passes, "LEAST_WITH_MAPS", 1.0)
    reconstructed.cache_clear()
    last = reconstructed(case, FIRST_PASS + passes.STEPS)
    reconstructed.cache_clear()
    whole, way = last.complex_img - first.complex_img, mixed.complex_img - first.complex_img
    share = (np.vdot(whole, way) / np.vdot(whole, whole)).real
    assert 0.3 < share < 1.01
    assert np.linalg.norm(way - share * whole) < 0.1 * np.linalg.norm(whole)
