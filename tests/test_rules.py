"""What a service lets scans choose."""

from pathlib import Path

import pytest

from untrained_recon.errors import ConfigError
from untrained_recon.rules import Rules
from untrained_recon.stream import resolve


def test_numbers_are_taken_up_to_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    rules = Rules({"fit.iterations": 50, "recon.runs": 2, "scan.time_budget_s": 600.0})
    config = rules.load({"config": "fast", "fit.iterations": "1000000", "recon.runs": "100", "device": "cpu"})
    assert (config.fit.iterations, config.recon.runs, config.scan.time_budget_s) == (50, 2, 600.0)
    assert "fit.iterations: 1e+06 is more than this service allows; 50 is taken" in caplog.text
    within = rules.load({"fit.iterations": "20", "scan.time_budget_s": "5"})
    assert (within.fit.iterations, within.scan.time_budget_s) == (20, 5.0)


def test_a_limit_of_no_time_is_none() -> None:
    assert Rules({"scan.time_budget_s": 0.0}).load({}).scan.time_budget_s == 0.0


def test_limits_that_contradict_the_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"with the limits of this service: .*evidence\.spread"):
        Rules({"recon.runs": 1}).load({"recon.runs": "4", "evidence.spread": "true"})


@pytest.mark.parametrize("key", ["fit", "fit.speed", "fit.schedule", "recon.data_consistency", ""])
def test_limits_are_for_numbers(key: str) -> None:
    with pytest.raises(ConfigError, match="limit"):
        Rules({key: 1})


def test_only_presets_and_files_of_the_folder_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "allowed"
    folder.mkdir()
    (folder / "site.yaml").write_text("fit: {iterations: 7}\n")
    (folder / "broken.yaml").write_text("password: hunter2\n")
    (folder / "weights.pt").write_text("")
    outside = tmp_path / "secret.yaml"
    outside.write_text("password: hunter2\n")
    (folder / "link.yaml").symlink_to(outside)
    rules = Rules(folder=folder)
    assert rules.load({"config": "site.yaml"}).fit.iterations == 7
    assert rules.load({"config": str(folder / "site.yaml")}).fit.iterations == 7
    assert rules.load({"unet.weights": "weights.pt"}).unet.weights == str(folder / "weights.pt")
    said = set()
    for name in (
        str(outside),
        "../secret.yaml",
        "link.yaml",
        str(tmp_path / "missing.yaml"),
        "../missing.yaml",
        "a\0.yaml",
        "/etc/passwd",
    ):
        with pytest.raises(ConfigError) as found:
            rules.load({"config": name})
        said.add(str(found.value).split("is neither")[1])
        with pytest.raises(ConfigError, match=r"no file of the service's folder"):
            rules.load({"unet.weights": f'"{name}"' if "\0" not in name else "/dev/null"})
    assert len(said) == 1  # whether a file is there cannot be told
    with pytest.raises(ConfigError, match="not sound; see the service's log") as found:
        rules.load({"config": "broken.yaml"})
    assert "hunter2" not in str(found.value)
    assert "password" not in str(found.value)


def test_without_a_folder_there_are_presets_only(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 1\n")
    with pytest.raises(ConfigError, match="neither a preset"):
        resolve({"config": str(tmp_path / "a.yaml"), "device": "cpu"}, Rules())
    assert resolve({"config": str(tmp_path / "a.yaml"), "device": "cpu"})[0].seed == 1
