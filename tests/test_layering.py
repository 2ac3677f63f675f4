"""Imports point downwards, and only ``gadgets`` knows Gadgetron."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = [
    {"errors", "types", "wire", "chain"},
    {"config", "operators", "header", "cli_options", "cfl"},
    {"noise", "readout", "rawfile", "masks", "openrecon"},
    {"assemble", "coils", "networks", "phantom", "metrics"},
    {"fit"},
    {"progress", "baselines"},
    {"pipeline", "simulate"},
    {"images", "buffers", "jobs", "pool"},
    {"stream", "inspection", "report", "host", "monitor", "cases"},
    {"replay", "bench", "integration"},
    {"junit"},
    {"cli_service", "cli_integration"},
    {"cli"},
]
LEVEL = {name: n for n, names in enumerate(LEVELS) for name in names}
MODULES = sorted((ROOT / "untrained_recon").glob("[!_]*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_the_core_imports_downwards_and_knows_no_gadgetron(path: Path) -> None:
    names = imports(path)
    assert not [name for name in names if name.split(".")[0] in ("gadgetron", "gadgets")]
    own = {name.split(".")[1] for name in names if name.startswith("untrained_recon.") and name.split(".")[1] in LEVEL}
    assert path.stem in LEVEL, f"give {path.stem} a level"
    assert not [name for name in own if LEVEL[name] >= LEVEL[path.stem]]


@pytest.mark.parametrize("path", sorted((ROOT / "gadgets").glob("*.py")), ids=lambda p: p.stem)
def test_gadgets_stay_thin(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] in ("torch", "sigpy", "scipy", "h5py")]


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "gadgets").glob("*.py"))], ids=lambda p: p.stem)
def test_modules_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 260
