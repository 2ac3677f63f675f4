"""Settings that were used before are found again, and make the same image."""

from pathlib import Path

import ismrmrd
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from untrained_recon.cli.main import cli
from untrained_recon.config import Config, load_config, preset_names
from untrained_recon.errors import ConfigError
from untrained_recon.files import images as imagefile
from untrained_recon.files.images import read_images
from untrained_recon.files.made_before import find_config, properties_of_images
from untrained_recon.phantom.simulation import Simulation, simulate

CHANGED = {"fit.iterations": "3", "fit.lr": "2e-5", "network.channels": "8", "refine.iterations": "2", "seed": "5"}


def image_file(path: Path, *settings: str) -> Path:
    with imagefile.image_file(path, b"<ismrmrdHeader/>") as file:
        for text in settings:
            image = ismrmrd.Image.from_array(np.ones((4, 4), np.float32), transpose=False)
            image.meta = {"untrained_recon_settings": text} if text else {}
            file.append_image(0, image)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": "7"},
        {"device": "cpu"},
        {"name": "other"},
        {"output.form": "arrays"},
        {"output.form": "images", "output.complex": "true", "seed": "1"},
    ],
)
def test_what_does_not_decide_the_image_does_not_change_the_hash(changes: dict[str, str]) -> None:
    plain, changed = load_config("fast"), load_config("fast", changes)
    assert changed.hash == plain.hash
    assert changed.digest() != plain.digest()


@pytest.mark.parametrize("changes", [{"fit.lr": "1e-3"}, {"scan.average": "false"}, {"recon.runs": "2"}, {"maps.sets": "2"}])
def test_what_decides_the_image_changes_the_hash(changes: dict[str, str]) -> None:
    assert load_config("fast", changes).hash != load_config("fast").hash


def test_all_presets_are_told_apart() -> None:
    assert len({load_config(name).hash for name in preset_names()}) == len(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_settings_survive_every_way_of_writing_them_down(name: str, tmp_path: Path) -> None:
    config = load_config(name, CHANGED)
    assert Config.model_validate_json(config.changes()) == config
    assert load_config("fast", config.assignments()) == config
    shown = tmp_path / "shown.yaml"
    file = image_file(tmp_path / "images.h5", config.changes())
    shown.write_text(CliRunner().invoke(cli, ["config", "show", str(file)]).output, encoding="utf-8")
    assert load_config(str(shown)) == config


def test_the_command_shows_presets_by_name_and_by_hash() -> None:
    plain = load_config("knee-8x")
    for name in ("knee-8x", plain.hash, plain.hash[:8]):
        assert Config.model_validate(yaml.safe_load(CliRunner().invoke(cli, ["config", "show", name]).output)) == plain
    both = list(yaml.safe_load_all(CliRunner().invoke(cli, ["config", "show", "fast", plain.hash]).output))
    assert [found["name"] for found in both] == ["fast", "knee-8x"]


def test_what_cannot_be_found_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no preset's settings have the hash 000000000000 \(authors-4x .*name the image file"):
        find_config("000000000000")
    with pytest.raises(ConfigError, match="neither a preset"):
        find_config("nothing")
    with pytest.raises(ConfigError, match="hold no settings"):
        find_config(str(image_file(tmp_path / "old.h5", "", "")))
    with pytest.raises(ConfigError, match="hold different settings"):
        find_config(str(image_file(tmp_path / "mixed.h5", "{}", '{"seed": 1}')))
    with pytest.raises(ConfigError, match=r"fit\.iteration: unknown key"):
        find_config(str(image_file(tmp_path / "newer.h5", '{"fit": {"iteration": 1}}')))


def test_images_of_arrays_are_made_again_as_images(tmp_path: Path) -> None:
    file = image_file(tmp_path / "images.h5", load_config("fast", {"output.form": "arrays"}).changes())
    assert properties_of_images(file)["output.form"] == "auto"


@pytest.mark.slow
def test_an_image_file_says_how_to_make_it_again(tmp_path: Path) -> None:
    raw, first, second = (tmp_path / name for name in ("raw.h5", "first.h5", "second.h5"))
    simulate(raw, Simulation((32, 24), 2, 2, 8, "equispaced", 1, 0.01, 0))
    settings = [option for key, value in CHANGED.items() for option in ("--set", f"{key}={value}")]
    for options in (["-o", str(first), "--config", "knee-8x", *settings], ["-o", str(second), "--config", str(first)]):
        done = CliRunner().invoke(cli, ["replay", str(raw), *options])
        assert done.exit_code == 0, done.output
    (before,), (after,) = read_images(first, 0), read_images(second, 0)
    assert before.meta["untrained_recon_iterations"] == "3"
    np.testing.assert_array_equal(after.data, before.data)
    for name in ("config", "config_hash", "settings", "seed"):
        assert after.meta[f"untrained_recon_{name}"] == before.meta[f"untrained_recon_{name}"]
