from importlib import resources
from pathlib import Path

import pytest

from untrained_recon.config import PRESETS, Config, load_config, preset_names
from untrained_recon.errors import ConfigError


def test_presets_hold_the_papers_settings() -> None:
    assert preset_names() == [
        "authors-4x",
        "best",
        "brain-4x",
        "brain-4x-dd",
        "brain-4x-dip",
        "fast",
        "knee-4x",
        "knee-4x-dd",
        "knee-4x-dip",
        "knee-8x",
    ]
    knee_4x, knee_8x, brain = (load_config(name) for name in ("knee-4x", "knee-8x", "brain-4x"))
    assert (knee_4x.network.layers, knee_4x.network.channels, knee_4x.network.in_size) == (8, 256, [5, 10])
    assert (knee_8x.network.layers, knee_8x.network.channels, knee_8x.network.in_size) == (6, 64, [4, 4])
    assert (brain.network.layers, brain.network.channels, brain.recon.mode) == (5, 64, "maps")
    authors = load_config("authors-4x")
    assert (authors.network.input, authors.network.extra_layer, authors.fit.keep, authors.fit.lr) == (
        "uniform",
        True,
        "lowest-loss",
        8e-3,
    )
    others = [load_config(f"{organ}-4x-{kind}") for organ in ("knee", "brain") for kind in ("dip", "dd")]
    assert [(c.network.kind, c.network.layers, c.network.channels, c.network.skips) for c in others] == [
        ("dip", 16, 256, 2),
        ("deep-decoder", 10, 368, 0),
        ("dip", 12, 64, 4),
        ("deep-decoder", 10, 64, 0),
    ]
    for paper in (knee_4x, knee_8x, brain, *others):
        assert (paper.fit.lr, paper.fit.schedule, paper.fit.weighting) == (0.01, "constant", 0)


def test_overrides_are_yaml_and_change_the_hash() -> None:
    plain, changed = (
        load_config("fast"),
        load_config("fast", {"fit.lr": "1e-3", "network.in_size": "[3, 5]", "output.complex": "true"}),
    )
    assert changed.fit.lr == 1e-3
    assert changed.network.in_size == [3, 5]
    assert changed.output.complex
    assert changed.name == "fast"
    assert changed.hash != plain.hash
    assert load_config("fast").hash == plain.hash


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("fit.iteratons", "3", r"fit\.iteratons: unknown key \(did you mean fit\.iterations\?\)"),
        ("speed", "3", "speed: unknown key"),
        ("fit.iterations", "many", r"fit\.iterations: .*integer, got 'many'"),
        ("fit.iterations", "2.5", r"fit\.iterations: .*got 2\.5"),
        ("fit.iterations", "0", r"fit\.iterations: .*greater than or equal to 1, got 0"),
        ("fit.lr", ".nan", r"fit\.lr: .*finite.*got nan"),
        ("seed", "true", "seed: .*integer, got True"),
        ("device", "gpu", "device: .*got 'gpu'"),
        ("network.in_size", "[8]", r"network\.in_size: .*got \[8\]"),
        ("network.in_size", "[8, 0]", r"network\.in_size\.1: .*got 0"),
        ("fit.lr.x", "1", r"fit\.lr\.x: 'lr' is a value, not a section"),
        ("fit", "3", "fit: .*got 3"),
        ("fit.lr", "[", r"fit\.lr: not valid YAML"),
    ],
)
def test_bad_settings_name_the_dotted_path(path: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("fast", {path: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network.kind": "dip", "network.layers": "7"}, "network: .*dip takes an even number of layers"),
        ({"network.kind": "dip", "network.layers": "6", "network.skips": "4"}, "network: .*at most one skip for every two"),
        ({"network.kind": "dip", "network.layers": "6", "network.extra_layer": "true"}, "network: .*extra_layer is not for dip"),
        ({"network.kind": "unet"}, "network: .*kind: expected convdecoder, deep-decoder, dip, got 'unet'"),
        ({"network.skips": "1"}, "network: .*skips are for dip, not for convdecoder"),
    ],
)
def test_settings_must_suit_the_kind_of_network(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("fast", settings)


def test_files_go_through_the_same_checks(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("extends: fast\nfit: {iterations: 7, lr: 5e-3}\n")
    config = load_config(str(path))
    assert (config.name, config.fit.iterations, config.fit.lr) == ("site", 7, 5e-3)
    for text, message in (("fit: {iteration: 7}", "fit.iteration: unknown key"), ("- 1", "got list"), ("a: [", "not valid YAML")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config(str(path))


def test_missing_configurations_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'brain' is neither a preset \(authors-4x, .*, knee-8x\)"):
        load_config("brain")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config("nowhere/site.yaml")
    with pytest.raises(ConfigError, match="neither a preset"):
        load_config("")


@pytest.mark.parametrize(
    "value",
    ["[" * 5000, "{a: " * 5000, "&a [*a]", "&a [1, 2]\n- *a", "2020-99-99", "!!timestamp x", "!!bool maybe", "1" * 100_000],
    ids=["lists", "maps", "itself", "alias", "date", "timestamp", "bool", "long"],
)
def test_values_from_outside_are_bounded(value: str) -> None:
    with pytest.raises(ConfigError, match=r"fit\.lr: "):
        load_config("fast", {"fit.lr": value})


BOMB = (
    "[&a [x,x,x,x,x,x,x,x,x,x]"
    + "".join(f",&{n} [{','.join([f'*{m}'] * 10)}]" for m, n in zip("abcdefg", "bcdefgh", strict=True))
    + "]"
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("fit.lr", BOMB),
        ("name", "x" * 100_000),
        ("name", "[" + "x," * 30_000 + "]"),
        ("name", '"a\\e[1mb"'),
        ("name", '"a\\ud800b"'),
        ("name", "[" * 30_000),
        ("name", "[" * 50 + "]" * 50),
        ("name", "2026-99-99"),
        ("name", "1" * 6000),
        ("x\x1b[1m\ny" + "z" * 10_000, "3"),
        (".".join("a" * 30_000), "3"),
    ],
)
def test_settings_from_outside_cost_little_and_are_shown_safely(path: str, value: str) -> None:
    with pytest.raises(ConfigError) as found:
        load_config("fast", {path: value})
    assert str(found.value).isprintable()
    assert len(str(found.value)) < 500


def test_errors_tell_nothing_of_a_files_text(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("password: hunter2: x\n")
    with pytest.raises(ConfigError) as found:
        load_config(str(tmp_path / "secret.yaml"))
    assert "hunter2" not in str(found.value)
    assert "line 1" in str(found.value)


def test_many_wrong_keys_are_told_in_few_words() -> None:
    with pytest.raises(ConfigError, match="and 1995 more"):
        load_config("fast", {f"key{n}": "1" for n in range(2000)})


def test_a_file_extends_a_preset_or_a_file_beside_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "hospital.yml").write_text("extends: fast\nfit: {iterations: 40}\noutput: {complex: true}\n")
    scanner = tmp_path / "sites" / "scanner.yaml"
    scanner.write_text("extends: ../hospital.yml\nfit: {lr: 0.03}\n")
    config, fast = load_config(str(scanner), {"seed": "5"}), load_config("fast")
    changes = {"iterations": 40, "lr": 0.03}
    assert config.fit == fast.fit.model_copy(update=changes)
    assert (config.name, config.seed, config.output.complex, config.network) == ("scanner", 5, True, fast.network)
    assert not caplog.records


def test_a_file_that_extends_none_says_so_unless_it_sets_what_the_default_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, top = tmp_path / "site.yaml", tmp_path / "top.yaml"
    path.write_text("")
    top.write_text("extends: site.yaml\nname: ours\n")
    assert load_config(str(path)) == Config(name="site, on the schema's defaults")
    assert load_config(str(top)).name == "ours, on the schema's defaults"
    assert caplog.text.count("extends none") == 2
    assert "refine.iterations" in caplog.text
    caplog.clear()
    path.write_text(resources.files(PRESETS).joinpath("fast.yaml").read_text().replace("channels: 64", "extra_layer: false"))
    assert load_config(str(path)) == load_config("fast").model_copy(update={"name": "site"})
    assert not caplog.records


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: site.yaml", "extends itself, by way of .*site.yaml"),
        ("extends: other.yaml", "extends itself, by way of .*site.yaml and .*other.yaml"),
        ("extends: nowhere.yaml", "nowhere.yaml' cannot be read"),
        ("extends: quick", "quick' is neither a preset"),
        ("extends: [fast, knee-4x]", r"extends: expected the name of a preset .* got \['fast', 'knee-4x'\]"),
        ("extends: wrong.yaml", r"wrong.yaml': fit.iteration: unknown key"),
        ("extends: fast\nnetwork: {kind: dip, layers: 7}", r"site.yaml': network: .*even number"),
    ],
)
def test_what_cannot_be_extended_is_named(text: str, message: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path = tmp_path_factory.mktemp("a")  # long paths are told in part
    (tmp_path / "site.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("extends: ./site.yaml")
    (tmp_path / "wrong.yaml").write_text("fit: {iteration: 7}")
    with pytest.raises(ConfigError, match=message):
        load_config(str(tmp_path / "site.yaml"))


def test_the_schema_has_no_extends() -> None:
    with pytest.raises(ConfigError, match="extends: unknown key"):
        load_config("fast", {"extends": "knee-4x"})
