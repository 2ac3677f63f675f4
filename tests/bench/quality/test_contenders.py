"""Who takes part, and that the conventional methods' search for λ outlives changes of ours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from untrained_recon.bench.quality.contenders import FACTORS, NETWORK, OURS, OURS_BEST, contenders, lamda_grid
from untrained_recon.cli.main import cli
from untrained_recon.config import Config, load_config
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import fft2


def test_the_grid_is_geometric_around_the_default() -> None:
    grid = [config.baseline.lamda for config in lamda_grid("tv").values()]
    assert 0.002 in grid
    np.testing.assert_allclose(np.divide(grid[1:], grid[:-1]), 2, rtol=1e-3)
    coarse = [config.baseline.lamda for config in lamda_grid("tv", FACTORS[::2]).values()]
    assert 0.002 in coarse
    np.testing.assert_allclose(np.divide(coarse[1:], coarse[:-1]), 4, rtol=1e-3)


def test_all_methods_share_maps_and_data_consistency() -> None:
    found = contenders(5.0)
    assert {"zero-filled", "cg-sense@0.01", "l1-wavelet@0.001", "tv@0.002", "paper", "deepinv-settings", OURS} <= set(found)
    assert {config.maps for config in found.values()} == {load_config("fast").maps}
    assert all(config.recon.data_consistency for config in found.values())
    assert (found["paper"].fit.iterations, found["paper"].fit.time_budget_s, found[OURS].fit.time_budget_s) == (3000, 5.0, 0.0)
    deepinv = found["deepinv-settings"].network
    assert (deepinv.layers, deepinv.channels, deepinv.in_size, deepinv.extra_layer) == (7, 256, [4, 4], True)


def test_ours_take_part_with_both_presets_and_the_network_alone_on_request() -> None:
    found = contenders(5.0, network_only=True)
    assert NETWORK not in contenders(5.0)
    assert (found[OURS], found[OURS_BEST]) == (load_config("fast"), load_config("best"))
    assert (found[NETWORK].refine.iterations, found[NETWORK].fit) == (0, load_config("fast").fit)


def test_without_a_budget_published_networks_do_not_take_part() -> None:
    assert set(contenders(0.0)) - set(contenders(None)) == {"paper", "deepinv-settings"}


def test_settings_of_peers_depend_on_nothing_of_ours_but_the_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    before = contenders(5.0)
    changed = {"refine.iterations": "60", "fit.iterations": "90", "network.channels": "32", "recon.held_out": "0.2"}

    def load(name: str, settings: dict[str, str] | None = None) -> Config:
        return load_config(name, (changed if name in ("fast", "best") else {}) | (settings or {}))

    def differing() -> set[str]:
        return {name for name, config in contenders(5.0).items() if config.digest() != before[name].digest()}

    monkeypatch.setattr("untrained_recon.bench.quality.contenders.load_config", load)
    assert differing() == {OURS, OURS_BEST}
    changed["maps.kernel_width"] = "5"
    assert {name for name in before if "@" in name} <= differing()


def test_the_search_for_lamda_is_not_repeated_while_data_masks_and_peers_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ksp = fft2(torch.from_numpy(coil_maps((48, 32), 4) * head((48, 32), 0.0, 0))).numpy()
    rng = np.random.default_rng(0)
    ksp += 1e-3 * (rng.normal(size=ksp.shape) + 1j * rng.normal(size=ksp.shape))
    np.save(tmp_path / "head.npy", ksp.astype(np.complex64)[None])
    grid = dict(list(lamda_grid("cg-sense").items())[3:6])
    monkeypatch.setattr("untrained_recon.bench.quality.page.PANELS", 0)
    settings = {"network.channels": "4", "fit.iterations": "2", "refine.iterations": "1"}
    arguments = ["bench", "quality", str(tmp_path / "head.npy"), "-o", str(tmp_path / "out"), "--pattern", "random", "--acs", "10"]

    def done(*more: str) -> list[str]:
        found = grid | {OURS: load_config("fast", settings)}
        monkeypatch.setattr("untrained_recon.bench.quality.contenders.contenders", lambda *_: found)
        result = CliRunner().invoke(cli, [*arguments, "--device", "cpu", "--accel", "3", *more], catch_exceptions=False)
        return [line.split(", ")[3].partition(":")[0] for line in result.stderr.splitlines() if ", image 0, " in line]

    everything = [*grid, OURS]
    assert done() == everything
    assert done() == []
    assert done("--again") == [OURS]
    settings["fit.iterations"] = "3"  # ours has changed
    assert done() == [OURS]
    more = "--mask-seed", "0", "--mask-seed", "1"
    assert done(*more) == everything  # of the new mask
    assert done(*more, "--fold", "0.75") == everything * 2
    assert done(*more, "--fold", "0.75") == []
