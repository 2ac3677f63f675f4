import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers import random_complex
from untrained_recon.bench_speed import Case, iteration_flops, plain_fit
from untrained_recon.cli import cli
from untrained_recon.config import FitConfig, NetworkConfig
from untrained_recon.fit import fit
from untrained_recon.networks import build_network
from untrained_recon.operators import Sense


def test_operations_of_an_iteration_are_three_times_those_that_pytorch_counts_forward() -> None:
    case = Case(shape=(40, 24), coils=4, layers=4, channels=8, iterations=2)
    network = build_network(case.network, 2, case.shape, torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        network()
    assert iteration_flops(case) == 3 * counter.get_total_flops()
    assert iteration_flops(Case((8, 8), 4, 2, 8, 2)) == 3 * 64 * (18 * 8**2 + 2 * 8 * 2)


def test_the_plain_loop_is_the_same_fit() -> None:
    """In double precision; in single precision Adam makes steps of full length from rounding errors."""
    mps, ksp = random_complex((3, 20, 24), seed=1), random_complex((3, 20, 24), seed=2)
    settings, losses = FitConfig(iterations=5), []
    for loop in (plain_fit, fit):
        network = build_network(NetworkConfig(layers=3, channels=6), 2, (20, 24), torch.Generator().manual_seed(0)).double()
        loop(network, Sense(mps, torch.ones(20, 24)), ksp, settings, lambda progress: losses.append(progress.loss))
    assert losses[:5] == pytest.approx(losses[5:], rel=1e-9)


def test_one_command_measures_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.meter.MATMUL_SIZE", {"cpu": 64})
    tf32 = torch.backends.cudnn.allow_tf32
    size = ["--shape", "32x40", "--coils", "4", "--layers", "3", "--channels", "8", "--iterations", "5"]
    result = CliRunner().invoke(
        cli, ["bench", "speed", *size, "--bf16", "--device", "cpu", "-o", str(tmp_path / "speed.json")], catch_exceptions=False
    )
    assert result.exit_code == 0
    figures = json.loads((tmp_path / "speed.json").read_text())
    assert set(figures) == {"case", "flops_per_iteration", "matmul_flops_per_s", "variants", "growth", "one_image_s"}
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
        "matrix": ["8x10", "16x20", "32x40"],
    }
    assert set(figures["one_image_s"]) == {"maps", "fit", "refine", "cg-sense"}
    assert torch.backends.cudnn.allow_tf32 == tf32
