"""What differs on a GPU: `pytest -m gpu`. On a CPU the same tests run small, or are skipped by name."""

import gc
import itertools
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from untrained_recon.bench.device import now, peak_memory
from untrained_recon.bench.fits import Case, phantom, true_maps
from untrained_recon.config import ComputeConfig, Config, FitConfig, MapsConfig, load_config
from untrained_recon.errors import FitError, HostGoneError
from untrained_recon.metrics import psnr
from untrained_recon.physics.maps import estimate_maps
from untrained_recon.physics.operators import Sense
from untrained_recon.recon import methods as solve
from untrained_recon.recon import plane as pipeline
from untrained_recon.recon.demand import demand_of
from untrained_recon.recon.fit.loop import FitResult, fit
from untrained_recon.recon.fit.watch import LOOK, UNWATCHED, Progress, Watch
from untrained_recon.recon.networks import build_network
from untrained_recon.recon.networks.compute import arithmetic
from untrained_recon.recon.plane import reconstruct
from untrained_recon.recon.refine.steps import FIRST_PASS
from untrained_recon.recon.volume import reconstruct_images
from untrained_recon.serving.pool import FitPool, reconstruct_on
from untrained_recon.types import KSpace, Reconstruction

pytestmark = pytest.mark.gpu

CPU, DEVICE = torch.device("cpu"), torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
GPU = DEVICE.type == "cuda"
needs_gpu = pytest.mark.skipif(not GPU, reason="needs a GPU")
CASE = Case((256, 256), 8, 6, 64, iterations=30) if GPU else Case((48, 40), 4, 4, 8, iterations=12)
TIMEOUT_S = 120.0
DIED = "UNTRAINED_RECON_TEST_DIED"


def config(**changes: str) -> Config:
    small = {} if GPU else {"fit.iterations": "8", "refine.iterations": "6", "network.layers": "4", "network.channels": "8"}
    return load_config("fast", small | {key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(scope="module")
def scan() -> tuple[KSpace, np.ndarray]:
    return phantom(CASE)


def fitted(compute: ComputeConfig, callback: list[float] | None = None, **settings: object) -> FitResult:
    data, _ = phantom(CASE)
    mps, mask, ksp = (torch.from_numpy(array).to(DEVICE) for array in (true_maps(CASE), data.mask, data.ksp))
    network = build_network(CASE.network, 2, CASE.shape, torch.Generator().manual_seed(0), compute, DEVICE)

    def follow(progress: Progress) -> None:
        assert callback is not None
        callback.append(progress.loss)

    chosen = FitConfig(**({"iterations": CASE.iterations} | settings))  # type: ignore[arg-type]
    with arithmetic(compute, DEVICE):
        return fit(network, Sense(mps, mask), ksp, chosen, Watch(follow=None if callback is None else follow), level=2**0.5)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@needs_gpu
def test_the_default_image_is_as_good_as_the_cpus() -> None:
    data, truth = phantom(Case((128, 128), 8, 6, 64))
    here, there = (reconstruct(data, config(), device) for device in (DEVICE, CPU))
    assert (here.account.method, here.account.fallback_reason, here.account.device) == ("maps", "", str(DEVICE))
    assert psnr(here.magnitude, truth) == pytest.approx(psnr(there.magnitude, truth), abs=0.3)
    assert difference(here.magnitude, there.magnitude) < 0.03


@pytest.mark.parametrize(("kind", "within"), [("float32", 0.03), ("tf32", 0.06), ("bf16", 0.12)])
def test_every_precision_follows_the_plain_fit(kind: str, within: float) -> None:
    compute = ComputeConfig(precision=kind)  # type: ignore[arg-type]
    assert fitted(compute).loss == pytest.approx(fitted(ComputeConfig(path="plain")).loss, rel=within)


SCHEDULES = [{"schedule": name, "weighting": 0.5} for name in ("one-cycle", "warmup-stable-decay")]


@pytest.mark.parametrize("settings", [{}, *SCHEDULES, {"keep": "lowest-loss"}], ids=str)
def test_a_recorded_fit_is_the_fit(settings: dict[str, Any]) -> None:
    each, recorded = (ComputeConfig(precision="float32", graphs=graphs, deterministic=True) for graphs in (False, True))
    followed: list[float] = []
    one, other, third = fitted(each, **settings), fitted(recorded, **settings), fitted(recorded, followed, **settings)
    assert one.iterations == other.iterations == len(followed) == CASE.iterations
    assert other.loss == pytest.approx(one.loss, rel=0.01)
    assert third.loss == pytest.approx(min(followed) if settings.get("keep") else followed[-1])
    assert difference(other.img.cpu().numpy(), one.img.cpu().numpy()) < 0.02


def test_a_fit_without_a_callback_ends_soon_after_it_might() -> None:
    easy = fitted(ComputeConfig(graphs=True), iterations=200, discrepancy=100.0)
    assert easy.stop_reason == "discrepancy"
    assert easy.iterations < 200
    with pytest.raises(FitError, match="the loss became nan"):
        fitted(ComputeConfig(), iterations=200, lr=1e6, optimiser="gd")


def test_deterministic_means_bit_for_bit(scan: tuple[KSpace, np.ndarray]) -> None:
    for graphs in ("false", "true"):
        settings = config(compute__deterministic="true", compute__graphs=graphs)
        first, again = (reconstruct(scan[0], settings, DEVICE) for _ in range(2))
        assert first.account.fallback_reason == ""
        np.testing.assert_array_equal(first.complex_img, again.complex_img)
    assert difference(reconstruct(scan[0], config(), DEVICE).magnitude, first.magnitude) < 0.02


def test_the_fallback_is_made_on_the_device(scan: tuple[KSpace, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: object) -> None:
        raise FitError("diverged")

    used: list[str] = []

    def noted(*args: object) -> np.ndarray:
        used.append(str(args[-1]))
        return estimate_maps(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "solve", diverge)
    monkeypatch.setattr(solve, "estimate_maps", noted)
    here, there = (reconstruct(scan[0], config(), device) for device in (DEVICE, CPU))
    assert used == [str(DEVICE), "cpu"]
    assert here.account.method == "cg-sense"
    assert difference(here.magnitude, there.magnitude) < 1e-3


def test_the_fallback_is_made_on_the_cpu_where_the_device_fails(
    scan: tuple[KSpace, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> np.ndarray:
        if args[-1] != CPU:
            raise RuntimeError("device lost")
        return estimate_maps(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(solve, "estimate_maps", fail)
    assert solve.solve_without_network(scan[0], config(), "why", torch.device("cuda")).account.method == "cg-sense"


def test_maps_do_not_depend_on_the_device_nor_on_how_many_pixels_are_solved_at_once(
    scan: tuple[KSpace, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = scan
    here, there = (estimate_maps(data.calib, data.calib_mask, MapsConfig(), device) for device in (DEVICE, CPU))
    monkeypatch.setattr("untrained_recon.physics.espirit.AT_ONCE", {DEVICE.type: 77})
    few = estimate_maps(data.calib, data.calib_mask, MapsConfig(), DEVICE)
    turn = np.vdot(here, there) / abs(np.vdot(here, there))  # the phase of all maps together is whatever the eigenvalue solver's
    assert difference(turn * here, there) < 1e-2
    assert difference(here, few) < 1e-3


@needs_gpu
def test_what_does_not_fit_into_memory_is_fitted_sparingly(caplog: pytest.LogCaptureFixture) -> None:
    data, _ = phantom(Case((512, 512), 2, 16, 256))
    big = {"network__layers": "16", "network__channels": "256", "compute__precision": "float32", "fit__iterations": "3"}
    settings = config(**big, refine__iterations="2")
    gc.collect()
    torch.cuda.empty_cache()
    with peak_memory(DEVICE) as peak:
        reconstruct(data, settings, DEVICE)
        usual = peak()
    assert usual is not None
    gc.collect()
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction(0.8 * usual / whole, DEVICE)
    try:
        found = reconstruct(data, settings, DEVICE)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    assert "trying again with less" in caplog.text
    assert (found.account.method, found.account.fallback_reason) == ("maps", "")


@needs_gpu
def test_an_image_of_fifteen_coils_takes_little_memory() -> None:
    data, _ = phantom(Case((368, 640), 15, 6, 64))
    torch.cuda.empty_cache()
    with peak_memory(DEVICE) as peak:
        assert reconstruct(data, config(), DEVICE).account.fallback_reason == ""
        now(DEVICE)
        assert (peak() or 0) < 3e9


@pytest.mark.parametrize("changes", [{}, {"compute__graphs": "false"}, {"compute__deterministic": "true"}], ids=str)
def test_images_side_by_side_are_those_of_each_alone(changes: dict[str, str]) -> None:
    count = 8 if GPU else 3
    scan = [phantom(replace(CASE, slices=count), number)[0] for number in range(count)]
    one, other = (reconstruct_images(scan, config(compute__at_once=n, **changes), DEVICE, UNWATCHED) for n in ("1", "4"))
    assert [image.account.fallback_reason for image in other] == [""] * len(scan)
    bound = 0.02 if GPU and "compute__deterministic" not in changes else 0.0
    assert max(difference(b.magnitude, a.magnitude) for a, b in zip(one, other, strict=True)) <= bound


@pytest.mark.parametrize("deterministic", ["true", "false"])
def test_replicas_side_by_side_are_those_made_one_by_one(scan: tuple[KSpace, np.ndarray], deterministic: str) -> None:
    settings = {"compute__deterministic": deterministic, "evidence__replicas": "8"}
    one, other = (reconstruct(scan[0], config(compute__at_once=n, **settings), DEVICE).noise for n in ("1", "4"))
    assert one is not None
    assert other is not None
    assert one.pixels is not None, one.note
    assert other.pixels is not None, other.note
    assert difference(other.pixels, one.pixels) <= (0.02 if GPU and deterministic == "false" else 0.0)


def test_who_follows_is_told_every_few_steps_and_may_give_up(scan: tuple[KSpace, np.ndarray]) -> None:
    seen: list[tuple[str, int]] = []
    watch = Watch(follow=lambda progress: seen.append((progress.stage, progress.iteration)))
    assert reconstruct(scan[0], config(), DEVICE, watch).account.fallback_reason == ""
    assert 0 < sum(stage == "refine" for stage, _ in seen) <= FIRST_PASS // LOOK[DEVICE.type] + 1
    looks = itertools.count()
    with pytest.raises(HostGoneError):
        reconstruct(scan[0], config(), DEVICE, Watch(given_up=lambda: next(looks) > 5))


@needs_gpu
def test_no_more_images_are_begun_than_the_card_holds() -> None:
    data, _ = phantom(Case((368, 640), 15, 6, 64))
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(DEVICE)
    taken = torch.empty(max(0, free - 2 * demand_of(data, config(), DEVICE)), dtype=torch.uint8, device=DEVICE)
    found = reconstruct_images([data] * 6, config(compute__at_once="6"), DEVICE, UNWATCHED)
    del taken
    assert [image.account.fallback_reason for image in found] == [""] * 6


@pytest.mark.parametrize("shape", [(128, 128), (368, 640)], ids=str)
@needs_gpu
def test_an_image_takes_no_more_than_was_estimated(shape: tuple[int, int]) -> None:
    data, _ = phantom(Case(shape, 15, 6, 64))
    with peak_memory(DEVICE) as peak:
        reconstruct(data, config(), DEVICE)
        assert (peak() or 0) < 1.2 * demand_of(data, config(), DEVICE)


OTHERS: list[dict[str, str]] = [
    {"network__kind": "deep-decoder"},
    {"network__kind": "dip", "network__skips": "1"},
    {"recon__mode": "coils"},
    {"recon__mode": "separate", "refine__iterations": "0"},
    {"maps__sets": "2", "recon__runs": "2"},
    {"fit__optimiser": "gd-a", "fit__schedule": "constant", "compute__precision": "float32"},
    {"compute__deterministic": "true", "network__kind": "dip"},
    {"compute__graphs": "false"},
]


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_other_methods_work_on_the_device(changes: dict[str, str]) -> None:
    data, _ = phantom(Case((48, 40), 3, 4, 8))
    small = {"fit__iterations": "12", "refine__iterations": "4", "network__layers": "4", "network__channels": "8"}
    found = reconstruct(data, config(**(small | changes)), DEVICE)
    assert (found.account.fallback_reason, found.account.device) == ("", str(DEVICE))


def dies_once(data: KSpace, settings: Config, device: str, seconds: float) -> Reconstruction:
    """A worker's task; the first is killed in the middle of its work on the device."""
    marker = Path(os.environ[DIED])
    if not marker.exists():
        marker.touch()
        torch.ones(1024, 1024, device=device) @ torch.ones(1024, 1024, device=device)
        os.kill(os.getpid(), signal.SIGKILL)
    return reconstruct_on(data, settings, device, seconds)


@needs_gpu
def test_several_workers_share_a_card_and_one_that_is_killed_harms_nobody(
    scan: tuple[KSpace, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIED, str(tmp_path / "died"))
    pool = FitPool([str(DEVICE)] * 2, threads=2, task=dies_once)
    try:
        futures = [pool.submit(f"scan {n % 2}", scan[0], config(), 1000.0) for n in range(4)]
        found = [future.result(TIMEOUT_S) for future in futures]
    finally:
        pool.close(1.0)
    assert (tmp_path / "died").exists()
    accounts = [one.account for one in found]
    assert [(one.method, one.fallback_reason, one.device) for one in accounts] == [("maps", "", str(DEVICE))] * 4
    assert max(difference(one.magnitude, found[0].magnitude) for one in found) < 0.02
