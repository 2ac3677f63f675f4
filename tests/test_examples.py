"""The examples run; smaller than they are printed."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from untrained_recon.kinds import KINDS

EXAMPLES = sorted((Path(__file__).parents[1] / "docs" / "examples").glob("*.py"))
SMALLER = {
    r"^SHAPE = .*$": "SHAPE = (64, 64)",
    r"^(SETTINGS: .*) = \{\}": r'\1 = {"fit": {"iterations": 3}, "refine": {"iterations": 2}}',
}


@pytest.fixture
def same_kinds() -> Iterator[None]:
    """Rows that an example adds to the table of networks go again."""
    before = KINDS.copy()
    yield
    KINDS.clear()
    KINDS.update(before)


@pytest.mark.usefixtures("same_kinds")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jinja2", reason="the page of a study needs the extra 'report'")
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib").use("Agg")
    text = path.read_text(encoding="utf-8")
    for printed, smaller in SMALLER.items():
        text, count = re.subn(printed, smaller, text, flags=re.MULTILINE)
        assert count == 1, f"{path.name} has no line {printed}"
    (tmp_path / path.name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(path.name)
    assert len(capsys.readouterr().out.splitlines()) >= 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_notebooks_too(path: Path) -> None:
    first, *cells = re.split(r"^# %%", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert first == ""
    assert cells[0].startswith(" [markdown]\n# # ")
    for cell in cells:
        if cell.startswith(" [markdown]"):
            assert all(line.startswith("#") for line in cell.strip().splitlines()[1:])
