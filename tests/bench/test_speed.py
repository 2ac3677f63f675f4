import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

from tests.doubles.helpers import assert_adjoint, random_complex
from untrained_recon.bench.fits import (
    PLAIN,
    SIGNAL,
    Case,
    PlainSense,
    Variant,
    iteration_flops,
    phantom,
    plain_fit,
    timed,
    true_maps,
)
from untrained_recon.bench.images import Stopwatch
from untrained_recon.cli.main import cli
from untrained_recon.config import ComputeConfig, FitConfig, NetworkConfig
from untrained_recon.phantom.head import head
from untrained_recon.physics.operators import Sense, fft2
from untrained_recon.recon.fit.loop import fit
from untrained_recon.recon.fit.watch import Progress, Watch
from untrained_recon.recon.networks import build_network

CPU = torch.device("cpu")


def test_operations_of_an_iteration_are_three_times_those_that_pytorch_counts_forward() -> None:
    case = Case(shape=(40, 24), coils=4, layers=4, channels=8, in_size=(5, 6))
    network = build_network(case.network, 2, case.shape, torch.Generator().manual_seed(0), PLAIN)
    with FlopCounterMode(display=False) as counter:
        network()
    assert iteration_flops(case) == 3 * counter.get_total_flops()
    assert iteration_flops(Case((8, 8), 4, 2, 8)) == 3 * 64 * (18 * 8**2 + 2 * 8 * 2)


def test_the_plain_loop_is_the_same_fit() -> None:
    """In double precision; in single precision Adam makes steps of full length from rounding errors."""
    mps, ksp, mask = random_complex((3, 64, 64), seed=1), random_complex((3, 64, 64), seed=2), torch.ones(64, 64)
    settings, losses = FitConfig(iterations=5), []
    small = NetworkConfig(layers=4, channels=6)
    plain, fast = (
        build_network(small, 2, (64, 64), torch.Generator().manual_seed(0), compute).double()
        for compute in (PLAIN, ComputeConfig(precision="float32"))
    )
    plain_fit(plain, PlainSense(mps, mask), ksp, settings, lambda progress: losses.append(progress.loss))
    fit(fast, Sense(mps, mask), ksp, settings, Watch(follow=lambda progress: losses.append(progress.loss)))
    assert losses[:5] == pytest.approx(losses[5:], rel=1e-9)


def test_the_plain_operator_is_adjoint_to_itself() -> None:
    assert_adjoint(PlainSense(random_complex((3, 6, 5), 0), torch.rand(6, 5) < 0.6))


def test_phantoms_are_heads_with_noise_of_unit_variance() -> None:
    case = Case((64, 48), coils=4, layers=3, channels=4, slices=3)
    (one, truth), (other, _) = phantom(case), phantom(case, 2)
    clean = fft2(torch.from_numpy(true_maps(case) * SIGNAL * head(case.shape, 0.0, seed=0))).numpy()
    noise = (one.ksp - clean)[:, one.mask]
    assert (noise.real.std(), noise.imag.std()) == pytest.approx((1, 1), abs=0.05)
    assert not one.ksp[:, ~one.mask].any()
    assert not np.array_equal(one.ksp, other.ksp)
    np.testing.assert_allclose(truth, np.abs(SIGNAL * head(case.shape, 0.0, seed=0)))


def test_every_slice_is_fitted_and_timed_without_its_first_iteration() -> None:
    run = timed(Case((32, 32), coils=2, layers=3, channels=4, iterations=4, slices=3), Variant("ours", ComputeConfig()), CPU)
    assert [len(ticks) for ticks in run.ticks] == [4, 4, 4]
    assert len(run.losses) == 12
    run.ticks = [[5.0, 6.0, 7.0], [20.0, 22.0]]
    run.starts[0] = 1.0
    assert (run.seconds, run.warm_up) == (1.0, 4.0)


def test_the_clock_stands_while_images_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 50.0, 53.0, 90.0, 91.0])
    monkeypatch.setattr("untrained_recon.bench.images.now", lambda device: next(clock))
    truth = torch.tensor([[1.0, 2.0]])
    watch = Stopwatch(CPU, truth, torch.tensor([[[0.6, 0.6]], [[0.8j, 0.8j]]]))
    watch(Progress("fit", 1, 9, 0.5, 1j * (truth + 0.1)))
    watch(Progress("refine", 1, 9, 0.5, (truth + 0.2).to(torch.complex64)[None]))
    assert watch.stop() == 6
    assert watch.times == [2, 5]
    assert watch.scores == pytest.approx([20 * math.log10(2 / 0.1), 20 * math.log10(2 / 0.2)], abs=1e-4)
    assert (watch.last("fit"), watch.last("refine")) == (2, 5)
    assert math.isnan(watch.last("neither"))


def test_one_command_measures_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.bench.device.MATMUL_SIZE", {"cpu": 64})
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: True, raising=False)
    tf32 = torch.backends.cudnn.allow_tf32
    options = [
        "--shape",
        "48x40",
        "--coils",
        "4",
        "--layers",
        "3",
        "--channels",
        "8",
        "--iterations",
        "5",
        "--paper-iterations",
        "5",
    ]
    small = [
        "--set",
        "network.layers=3",
        "--set",
        "network.channels=8",
        "--set",
        "refine.iterations=4",
        "--set",
        "fit.iterations=9",
    ]
    command = ["bench", "speed", *options, *small, "--device", "cpu", "-o", str(tmp_path / "speed.json")]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0
    figures = json.loads((tmp_path / "speed.json").read_text())
    parts = {"case", "flops_per_iteration", "matmul_flops_per_s", "variants", "growth", "one_image", "equal_quality"}
    assert set(figures) == {"untrained_recon", *parts}
    assert set(figures["matmul_flops_per_s"]) == {"float32", "bf16"}
    assert set(figures["variants"]) == {"plain-float32", "ours-float32", "ours-bf16"}
    for row in figures["variants"].values():
        assert set(row) == {"s_per_iteration", "speedup", "warm_up_s", "peak_share", "peak_bytes", "loss", "loss_ratio"}
        assert all(row[name] > 0 for name in ("s_per_iteration", "speedup", "warm_up_s", "peak_share", "loss"))
    assert figures["variants"]["plain-float32"]["speedup"] == figures["variants"]["plain-float32"]["loss_ratio"] == 1
    assert figures["variants"]["ours-float32"]["loss_ratio"] == pytest.approx(1, rel=0.02)
    assert figures["variants"]["ours-bf16"]["loss_ratio"] == pytest.approx(1, rel=0.1)
    assert {axis: list(row) for axis, row in figures["growth"].items()} == {
        "coils": ["1", "2", "4"],
        "channels": ["2", "4", "8"],
        "matrix": ["12x10", "24x20", "48x40"],
        "slices": ["1", "2", "4"],
    }
    image = figures["one_image"]
    assert image["method"] == "maps"
    assert image["start"] + image["fit"] + image["refine"] + image["end"] == pytest.approx(image["whole"])
    assert all(image[name] > 0 for name in ("start", "fit", "refine", "end", "maps", "cg-sense"))
    quality = figures["equal_quality"]
    assert 1 <= quality["paper_iterations"] <= 5
    assert quality["ours_s"] is None or 0 < quality["ours_s"] <= quality["ours_whole_s"]
    assert torch.backends.cudnn.allow_tf32 == tf32
