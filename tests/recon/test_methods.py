import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.doubles.helpers import read_raw
from untrained_recon.config import Config, ScanConfig, load_config
from untrained_recon.errors import FitError
from untrained_recon.masks import line_codes
from untrained_recon.metrics import nrmse
from untrained_recon.phantom.head import coil_covariance, coil_maps, draw_noise, head
from untrained_recon.physics.operators import fft2, rss, rss_image
from untrained_recon.recon.fit.loop import FitResult
from untrained_recon.recon.fit.loop import fit as real_fit
from untrained_recon.recon.fit.warm_start import Neighbour
from untrained_recon.recon.fit.watch import Watch
from untrained_recon.recon.methods import solve, solve_without_network
from untrained_recon.recon.plane import reconstruct
from untrained_recon.recon.untrained import Solution
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.types import KSpace

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(small_scan: Path) -> KSpace:
    xml, acquisitions = read_raw(small_scan)
    return next(iter(assemble([acquisitions], parse_header(xml), ScanConfig())))


@pytest.fixture(scope="module")
def truth(small_scan: Path) -> np.ndarray:
    truth: np.ndarray = np.load(small_scan.with_suffix(".truth_white.npy"))[0]
    return truth


def config(**changes: str) -> Config:
    overrides = {
        "fit.iterations": "100",
        "fit.discrepancy": "0",
        "network.layers": "4",
        "network.channels": "32",
        "network.in_size": "[8, 6]",
        "refine.iterations": "0",
    }
    return load_config("fast", overrides | {key.replace("__", "."): value for key, value in changes.items()})


def solved(data: KSpace, **changes: str) -> Solution:
    return solve(data, config(**changes), CPU, Watch.of(1000.0))


def test_one_network_for_each_coil_equals_a_fit_of_that_coil_alone(data: KSpace) -> None:
    separate = solved(data, recon__mode="separate", fit__iterations="5")
    for coil in range(len(data.ksp)):
        alone = dataclasses.replace(data, ksp=data.ksp[coil : coil + 1], calib=data.calib[coil : coil + 1])
        assert torch.equal(separate.coil_imgs[coil : coil + 1], solved(alone, recon__mode="coils", fit__iterations="5").coil_imgs)
    assert (separate.account.method, separate.account.iterations) == ("separate", 5 * len(data.ksp))


def test_one_network_for_each_coil_survives_a_dead_coil(data: KSpace, truth: np.ndarray) -> None:
    dead = dataclasses.replace(data, ksp=data.ksp * np.array([1, 1, 0, 1])[:, None, None])
    imgs = solved(dead, recon__mode="separate").coil_imgs
    assert not imgs[2].any()
    assert torch.isfinite(torch.view_as_real(imgs)).all()


def test_a_fit_from_the_neighbours_network_starts_where_that_ended(data: KSpace) -> None:
    settings, neighbour = config(fit__following_iterations="1", fit__schedule="constant"), Neighbour()
    cold, warm = (solve(data, settings, CPU, Watch(warm_start=neighbour)) for _ in range(2))
    assert (cold.account.iterations, warm.account.iterations) == (100, 1)
    assert warm.account.loss < 1.1 * cold.account.loss < 0.5 * solved(data, fit__iterations="1").account.loss


def test_the_average_of_runs_is_the_mean_of_the_single_ones(data: KSpace) -> None:
    average = solved(data, recon__runs="3", fit__iterations="5")
    singles = [solved(data, seed=str(seed), fit__iterations="5").coil_imgs for seed in range(3)]
    torch.testing.assert_close(average.coil_imgs, sum(singles) / 3, rtol=1e-4, atol=1e-4)
    assert average.account.iterations == 15


def test_refinement_brings_the_networks_image_closer_to_the_truth(data: KSpace, truth: np.ndarray) -> None:
    plain, refined = (rss(solved(data, refine__iterations=n).coil_imgs).numpy() for n in ("0", "25"))
    assert nrmse(refined, truth) < 0.95 * nrmse(plain, truth)  # more on larger images, which hold more that is alike
    spent = solved(data, refine__iterations="25", fit__iterations="1000000", fit__discrepancy="0", fit__time_budget_s="1")
    assert spent.account.stop_reason == "time budget"


def test_refinement_helps_without_maps_too(data: KSpace, truth: np.ndarray) -> None:
    plain, refined = (rss(solved(data, recon__mode="coils", refine__iterations=n).coil_imgs).numpy() for n in ("0", "25"))
    assert nrmse(refined, truth) < 0.9 * nrmse(plain, truth)


def test_runs_share_the_time_of_an_image(data: KSpace) -> None:
    budgeted = solved(data, recon__runs="4", fit__iterations="1000000", fit__discrepancy="0", fit__time_budget_s="2")
    assert budgeted.account.stop_reason == "time budget"
    assert budgeted.account.iterations >= 4


@pytest.mark.parametrize(("optimiser", "most"), [("adam", 0.7), ("gd-a", 0.85)])
def test_adam_and_the_step_sizes_it_took_come_closer_than_zero_filling(
    optimiser: str, most: float, data: KSpace, truth: np.ndarray
) -> None:
    settings = {"fit__optimiser": optimiser, "fit__schedule": "constant", "fit__lr": "0.01", "compute__precision": "float32"}
    img = rss(solved(data, **settings).coil_imgs).numpy()
    assert nrmse(img, truth) < most * nrmse(rss_image(data.ksp, data.encoding), truth)


def test_gd_a_takes_the_image_of_its_first_fit_when_time_ends_there(data: KSpace) -> None:
    early = solved(data, fit__optimiser="gd-a", fit__iterations="1000000", fit__time_budget_s="0.3")
    assert early.account.stop_reason == "time budget"


def test_the_lowest_loss_is_no_higher_than_the_last(data: KSpace) -> None:
    settings = {"fit__lr": "0.2", "fit__schedule": "constant", "fit__iterations": "40"}
    last, lowest = solved(data, **settings), solved(data, fit__keep="lowest-loss", **settings)
    assert lowest.account.loss <= last.account.loss
    assert lowest.account.iterations == last.account.iterations == 40


@pytest.mark.parametrize(("method", "most"), [("cg-sense", 0.6), ("l1-wavelet", 0.6), ("tv", 0.6), ("zero-filled", 1.001)])
def test_other_methods_deliver_through_the_same_pipeline(method: str, most: float, data: KSpace, truth: np.ndarray) -> None:
    recon = reconstruct(data, config(recon__method=method), CPU)
    assert (recon.account.method, recon.account.fallback_reason, recon.account.iterations) == (method, "", 0)
    assert nrmse(recon.magnitude, truth) < most * nrmse(rss_image(data.ksp, data.encoding), truth)


def test_a_method_that_needs_maps_falls_back_without_them(data: KSpace) -> None:
    recon = reconstruct(dataclasses.replace(data, calib_mask=np.zeros_like(data.mask)), config(recon__method="tv"), CPU)
    assert recon.account.method == "zero-filled"
    assert recon.account.fallback_reason.startswith("CalibrationError: ")


def test_the_fallback_does_not_take_the_settings_of_another_method(data: KSpace) -> None:
    tuned = config(recon__method="tv", baseline__lamda="30", baseline__iterations="1")
    first, other = (solve_without_network(data, settings, "why").coil_imgs for settings in (tuned, config()))
    assert torch.equal(first, other)


def test_no_time_left_is_an_error_here(data: KSpace) -> None:
    with pytest.raises(FitError, match="time budget of the scan is spent"):
        solve(data, config(), CPU, Watch.of(0.0))


def early(data: KSpace, img: torch.Tensor | None = None, **changes: str) -> Solution:
    """Solved with a fit that time ends after one iteration; with this image instead of its own."""

    def fit(*args: Any, **named: Any) -> FitResult:
        found = real_fit(*args, **named)
        return dataclasses.replace(found, img=found.img if img is None else img, stop_reason="time budget")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("untrained_recon.recon.run.fit", fit)
        return solved(data, fit__iterations="1", **changes)


def codes(solution: Solution) -> list[str]:
    return [caution.code for caution in solution.cautions]


def test_a_healthy_scan_raises_no_caution(data: KSpace) -> None:
    found = solved(data, refine__iterations="15")
    assert (codes(found), found.account.map_sets, found.account.method) == ([], 1, "maps")
    assert found.account.held_out_chi2 > 0.5
    assert codes(solved(data, recon__method="cg-sense")) == []


@pytest.mark.parametrize("refinements", ["0", "10"])
@pytest.mark.parametrize("lr", ["10", "1000"])
def test_a_fit_that_runs_away_without_overflow_becomes_cg_sense(lr: str, refinements: str, data: KSpace, truth: np.ndarray) -> None:
    settings = {"fit__lr": lr, "fit__schedule": "constant", "refine__iterations": refinements}
    found = solved(data, **settings)
    assert found.account.method == "cg-sense"
    assert "the fit ran away" in found.account.fallback_reason
    assert nrmse(rss(found.coil_imgs).numpy(), truth) < 0.6 * nrmse(rss_image(data.ksp, data.encoding), truth)


@pytest.mark.parametrize(
    "settings", [{"fit__lr": "1e-6"}, {"network__channels": "1"}, {"fit__iterations": "1"}, {"fit__weighting": "2"}], ids=str
)
def test_no_setting_gives_a_wrong_image_in_silence(settings: dict[str, str], data: KSpace, truth: np.ndarray) -> None:
    assert "model-misfit" in codes(solved(data, **settings)) or settings == {"fit__weighting": "2"}
    refined = solved(data, refine__iterations="20", **settings)
    assert codes(refined) == []
    assert nrmse(rss(refined.coil_imgs).numpy(), truth) < 0.5 * nrmse(rss_image(data.ksp, data.encoding), truth)


def test_out_of_time_the_better_of_two_images_is_delivered(data: KSpace) -> None:
    conventional = early(data, fit__time_budget_s="1000")
    account = conventional.account
    assert (account.method, account.stop_reason, codes(conventional)) == ("cg-sense", "time budget", ["time-budget"])
    assert "time budget ended after 1 iterations" in account.fallback_reason
    good = solved(data, refine__iterations="20", recon__data_consistency="false")
    assert good.mps is not None
    img = (good.mps.conj() * good.coil_imgs).sum(dim=0, keepdim=True)
    kept = early(data, img, fit__time_budget_s="1000")
    assert (kept.account.method, kept.account.fallback_reason, codes(kept)) == ("maps", "", ["time-budget"])


def test_out_of_time_the_refinement_starts_from_the_better_image(data: KSpace, truth: np.ndarray) -> None:
    found = early(data, fit__time_budget_s="1000", refine__iterations="20")
    assert (found.account.method, found.account.refinements, codes(found)) == ("maps", 20, [])
    assert nrmse(rss(found.coil_imgs).numpy(), truth) < 0.5 * nrmse(rss_image(data.ksp, data.encoding), truth)


def test_out_of_time_without_maps_any_prediction_beats_none(data: KSpace) -> None:
    coils = {"recon__mode": "coils", "fit__time_budget_s": "1000"}
    assert early(data, torch.from_numpy(data.ksp), **coils).account.method == "zero-filled"
    good = solved(data, recon__mode="coils", recon__data_consistency="false").coil_imgs
    assert early(data, good, **coils).account.method == "coils"


def test_dead_coils_are_not_in_the_record(data: KSpace) -> None:
    settings = {"recon__mode": "separate", "fit__iterations": "8", "recon__held_out": "0.2", "refine__iterations": "2"}
    dead = dataclasses.replace(
        data, ksp=np.concatenate([data.ksp[:2], 0 * data.ksp[:1]]), calib=np.concatenate([data.calib[:2], 0 * data.calib[:1]])
    )
    two = dataclasses.replace(data, ksp=data.ksp[:2], calib=data.calib[:2])
    found, expected = solved(dead, **settings).account, solved(two, **settings).account
    assert found == expected
    assert (found.stop_reason, found.refinement_stop, found.iterations) == ("iterations", "discrepancy", 16)
    assert not math.isnan(found.loss + found.chi2 + found.held_out_chi2)


def test_a_folded_field_of_view_takes_two_sets_by_itself_and_says_so_where_it_may_not(data: KSpace) -> None:
    full = coil_maps((96, 64), 8) * head((96, 64), 0.0, 1) + draw_noise(
        coil_covariance(8, 0.005), (96, 64), np.random.default_rng(1)
    )
    folded = full[:, 12:-12].copy()
    folded[:, :12] += full[:, -12:]
    folded[:, -12:] += full[:, :12]
    ksp = fft2(torch.from_numpy(folded)).numpy()
    mask = np.repeat((line_codes(72, "equispaced", 3, 16, np.random.default_rng(0)) > 0)[:, None], 64, axis=1)
    encoding = dataclasses.replace(
        data.encoding, encoded_shape=mask.shape, recon_shape=mask.shape, encoded_fov=(5.0,) * 3, recon_fov=(5.0,) * 3
    )
    scan = dataclasses.replace(
        data, ksp=ksp * mask, calib=ksp * mask, mask=mask, calib_mask=mask, encoding=encoding, prewhitened=False
    )
    auto, forced = (solved(scan, refine__iterations="20", fit__iterations="10", maps__sets=sets) for sets in ("auto", "1"))
    assert (auto.account.map_sets, codes(auto)) == (2, [])
    assert (forced.account.map_sets, set(codes(forced))) == (1, {"model-misfit"})
    errors = [nrmse(rss(found.coil_imgs).numpy(), np.linalg.norm(folded, axis=0)) for found in (auto, forced)]
    assert errors[0] < 0.6 * errors[1]


def test_missing_maps_are_said(data: KSpace) -> None:
    calib_mask = np.zeros_like(data.mask)
    assert codes(solved(dataclasses.replace(data, calib_mask=calib_mask), fit__iterations="3"))[0] == "maps-missing"
