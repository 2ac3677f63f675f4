"""README and docs say what is true now."""

import re
import runpy
from pathlib import Path

import click
import pytest

import untrained_recon as ur
from untrained_recon import errors
from untrained_recon.cautions import SENTENCES
from untrained_recon.cli.main import main
from untrained_recon.config import DEFAULT_PRESET, load_config, preset_names
from untrained_recon.scan.images import SERIES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
GENERATED = runpy.run_path(str(DOCS / "generate.py"))


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("row", list(GENERATED["rows"](load_config(DEFAULT_PRESET))))
def test_configuration_table_is_the_schema_with_the_default_preset(row: str) -> None:
    assert row in text(DOCS / "configuration.md")


def test_the_page_of_settings_is_what_is_generated() -> None:
    assert text(DOCS / "configuration.md") == GENERATED["page"](), "run: python docs/generate.py"


def test_presets_series_and_the_picture_are_there() -> None:
    for name in preset_names():
        assert f"`{name}`" in text(DOCS / "configuration.md")
    for number in SERIES.values():
        assert f"| `image_{number}` |" in text(DOCS / "researcher.md")
    assert "docs/demo.png" in text(ROOT / "README.md")
    assert (DOCS / "demo.png").exists()


def test_every_error_and_every_caution_is_explained() -> None:
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.ReconError) and error is not errors.ReconError:
            assert f"| `{name}` |" in text(DOCS / "troubleshooting.md")
    for code in SENTENCES:
        assert f"| `{code}` |" in text(DOCS / "scans.md")
        assert f"`{code}`" in text(DOCS / "troubleshooting.md")


def test_the_reference_has_every_public_name() -> None:
    for name in ur.__all__:
        assert f"::: untrained_recon.{name}\n" in text(DOCS / "reference.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_make_targets_commands_and_links_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", text(page), re.MULTILINE)) <= targets
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text(page)):
        assert link.startswith("https://") or (page.parent / link).exists(), link
    for words in re.findall(r"untrained-recon ((?:[a-z-]+ ?)+)", text(page)):
        _require_command(words.split())
    for command, rest in re.findall(r"untrained-recon ([a-z-]+)([^`\n]*)", text(page)):
        known = _options(main.commands[command])
        assert {option.rstrip("`.,") for option in re.findall(r"(?<=\s)--[a-z-]+", rest.split("#")[0])} <= known, rest


def _require_command(words: list[str]) -> None:
    group: click.Command = main
    for word in words:
        if not isinstance(group, click.Group):
            return
        assert word in group.commands, words
        group = group.commands[word]


def _options(command: click.Command) -> set[str]:
    own = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    below = [_options(sub) for sub in command.commands.values()] if isinstance(command, click.Group) else []
    return own.union(*below) | {"--help"}
