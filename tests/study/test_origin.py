"""What a report says of its making."""

import torch

from untrained_recon.bench.quality.contenders import lamda_grid
from untrained_recon.config import load_config
from untrained_recon.study.origin import Origin


def test_settings_are_told_by_what_differs_from_the_preset_of_the_name() -> None:
    methods = {"fast": load_config("fast"), "tv": load_config("fast", {"recon.method": "tv"}), "a@b": load_config("best")}
    fast, tv, odd = Origin(methods=methods).settings()
    assert (fast.config, fast.hash, fast.changes) == ("fast", load_config("fast").hash, {})
    assert tv.changes == {"recon.method": '"tv"'}
    assert tv.all == methods["tv"].assignments()
    assert (odd.method, odd.config, odd.changes) == ("a@b", "best", {})


def test_a_grid_of_lambdas_is_one_row() -> None:
    (grid,) = Origin(methods=lamda_grid("tv", (1.0, 2.0))).settings()
    assert (grid.method, grid.hash) == ("tv@λ", "")
    assert len(grid.changes["baseline.lamda"].split(", ")) == 2


def test_facts_name_version_date_and_machine() -> None:
    facts = Origin(device=torch.device("cpu")).facts()
    assert list(facts) == ["made", "version", "computed on"]
    assert facts["computed on"].startswith("cpu, ")
