import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from untrained_recon.bench import gpu as bench_gpu
from untrained_recon.bench.gpu_sizes import Figures
from untrained_recon.cli.main import cli
from untrained_recon.errors import FitError


@pytest.mark.gpu
def test_every_step_reports_figures_beside_their_targets(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    result = CliRunner().invoke(cli, ["bench", "gpu", "-o", str(output)])
    assert result.exit_code == 0, result.output
    found = json.loads(output.read_text())
    assert json.loads(result.output) == found
    assert (found["errors"], found["not_run"]) == ({}, [])
    assert {name for name, row in found["figures"].items() if "target" in row} == set(bench_gpu.TARGETS)
    assert all(row["value"] is None or math.isfinite(row["value"]) for row in found["figures"].values())
    assert found["figures"]["same seed, deterministic: difference"] == {"value": 0.0, "target": "≤ 0", "met": True}


def test_a_step_that_fails_and_a_budget_that_ends_cost_nothing_that_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(*_: object) -> Figures:
        yield "maps, s", 1.0
        raise FitError("diverged")

    def other(*_: object) -> Figures:
        yield "figure", 2.0

    monkeypatch.setattr(bench_gpu, "STEPS", (one, other))
    output, device = tmp_path / "gpu.json", torch.device("cpu")
    found = bench_gpu.bench_gpu(device, output)
    assert found["errors"] == {"one": "FitError: diverged"}
    assert found["figures"]["maps, s"] == {"value": 1.0, "target": "≤ 0.03", "met": False}
    assert found["figures"]["figure"] == {"value": 2.0}
    assert json.loads(output.read_text()) == found
    assert bench_gpu.bench_gpu(device, output, budget_s=-1)["not_run"] == ["one", "other"]
