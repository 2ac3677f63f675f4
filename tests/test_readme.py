"""README and docs say what is true now."""

import re
import runpy
from pathlib import Path

import click
import pytest

import untrained_recon as ur
from tests.test_layering import MAY_IMPORT, MUST_NOT_IMPORT
from untrained_recon import errors
from untrained_recon.cautions import SENTENCES
from untrained_recon.cli.main import cli as commands
from untrained_recon.config import DEFAULT_PRESET, load_config, preset_names
from untrained_recon.scan.series import SERIES

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
    for series in SERIES.values():
        assert f"| `image_{series.number}` |" in text(DOCS / "researcher.md")
    assert "docs/demo.png" in text(ROOT / "README.md")
    assert (DOCS / "demo.png").exists()


def test_every_error_and_every_caution_is_explained() -> None:
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.ReconError) and error is not errors.ReconError:
            assert f"| `{name}` |" in text(DOCS / "troubleshooting.md")
    for code in SENTENCES:
        assert f"| `{code}` |" in text(DOCS / "scans.md")
        assert f"`{code}`" in text(DOCS / "troubleshooting.md")


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_the_table_of_imports_is_the_one_that_is_tested(folder: str) -> None:
    name = f"`{folder}/`" if folder else "modules beside the folders"
    allowed, never = (", ".join(sorted(names)) or "–" for names in (MAY_IMPORT[folder], MUST_NOT_IMPORT.get(folder, set())))
    row = next(line for line in text(DOCS / "architecture.md").splitlines() if line.startswith(f"| {name} |"))
    assert row.endswith(f" | {allowed} | {never} |")


def test_the_reference_has_every_public_name() -> None:
    for name in ur.__all__:
        assert f"::: untrained_recon.{name}\n" in text(DOCS / "reference.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_make_targets_commands_and_links_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", text(page), re.MULTILINE)) <= targets
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text(page)):
        assert link.startswith("https://") or (page.parent / link).exists(), link
    for line in re.findall(r"untrained-recon ([a-z-]+[^`\n#]*)", text(page)):
        command: click.Command = commands
        words = line.split()
        while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z-]+", words[0]):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        options = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        assert {word.rstrip(".,;:)") for word in words if word.startswith("--")} <= options, line
