"""What each folder may import; a new module needs no entry here, a new folder does."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "untrained_recon"

EVERYWHERE = {"", "text", "config"}  # "": the modules beside the folders
MAY_IMPORT = {
    "": {"text"},
    "text": set(),
    "config": set(),
    "physics": set(),
    "scan": set(),
    "files": {"scan", "physics"},
    "phantom": {"files", "scan", "physics"},
    "recon": {"physics", "files.cfl"},
    "serving": {"recon", "scan"},
    "host": {"files", "scan"},
    "site": {"host", "files", "phantom", "scan"},
    "workers": {"recon", "serving"},
    "study": {"recon", "files", "scan", "physics", "workers"},
    "batch": {"files", "recon", "scan", "serving", "workers"},
    "bench": {"study", "recon", "files", "scan", "physics", "phantom", "host", "serving", "workers"},
    "api": {"recon", "files", "scan", "physics", "phantom"},
    "gadgets": {"serving", "scan", "site.openrecon"},
    "web": {"serving", "scan"},
    "cli": {
        *("api", "batch", "bench", "files", "gadgets", "host", "phantom"),
        *("physics", "recon", "scan", "serving", "site", "study", "web", "workers"),
    },
}
INSIDE_RECON = {"networks": set(), "fit": {"networks"}, "refine": {"networks", "fit"}, "conventional": set()}
MUST_NOT_IMPORT = {
    "physics": {"ismrmrd", "h5py", "socket", "click"},
    "scan": {"torch", "h5py", "socket", "click"},
    "files": {"socket", "click"},
    "phantom": {"socket", "click"},
    "recon": {"ismrmrd", "h5py", "socket", "click"},
    "serving": {"click"},
    "host": {"torch", "click"},
    "site": {"torch", "click"},
    "workers": {"h5py", "ismrmrd", "click"},
    "batch": {"click"},
    "api": {"click"},
    "gadgets": {"torch", "sigpy", "scipy", "h5py", "click"},
    "web": {"torch", "sigpy", "scipy", "h5py", "ismrmrd", "click"},
}
HEAVY = {"torch", "sigpy", "scipy", "h5py", "pandas", "matplotlib", "ismrmrd"}
MODULES = [*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "gadgets").glob("*.py"))]


def name(path: Path) -> str:
    """``recon.fit.loop``, ``gadgets.service``."""
    return ".".join(path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).with_suffix("").parts)


def folder(module: str) -> str:
    first, _, rest = module.partition(".")
    return first if rest or first == "gadgets" or (PACKAGE / first).is_dir() else ""


def imports(path: Path, top_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    """Modules of the package and gadgets that a module imports."""
    names = {n.removeprefix("untrained_recon.") for n in imports(path) if n.startswith(("untrained_recon.", "gadgets"))}
    return {n for n in names if n.startswith("gadgets") or PACKAGE.joinpath(*n.split(".")).with_suffix(".py").exists()}


@pytest.mark.parametrize("path", [path for path in MODULES if path != PACKAGE / "__init__.py"], ids=name)
def test_a_folder_imports_what_it_may(path: Path) -> None:
    here = folder(name(path))
    allowed = MAY_IMPORT[here] | EVERYWHERE | {here}
    assert not [n for n in ours(path) if folder(n) not in allowed and n not in allowed]
    libraries = {n.split(".")[0] for n in imports(path)}
    assert not libraries & MUST_NOT_IMPORT.get(here, set())
    assert here == "gadgets" or "gadgetron" not in libraries


@pytest.mark.parametrize(
    "path", [path for path in MODULES if name(path).count(".") > 1 and folder(name(path)) == "recon"], ids=name
)
def test_the_rooms_of_reconstruction_build_on_each_other(path: Path) -> None:
    here = name(path).split(".")[1]
    others = {n.split(".")[1] for n in ours(path) if n.startswith("recon.")}
    assert others <= INSIDE_RECON[here] | {here}


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=name)
def test_the_command_line_answers_at_once(path: Path) -> None:
    assert not {n.split(".")[0] for n in imports(path, top_level=True)} & HEAVY


def test_the_hosts_side_loads_no_torch_by_whatever_it_imports() -> None:
    """A process that only plays bytes is there at once."""
    modules = [f"untrained_recon.{name(path)}" for path in sorted((PACKAGE / "host").glob("[!_]*.py"))]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 260
