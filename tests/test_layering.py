"""Imports point downwards, and only ``gadgets`` knows Gadgetron."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = [
    {"cautions", "account", "card", "encoding"},
    {"printable"},
    {"logs"},
    {
        "errors",
        "types",
        "wire",
        "chain",
        "chainparts",
        "compression",
        "meter",
        "neighbour",
        "schema",
        "foreign",
        "layout",
        "xmltext",
        "shares",
        "recorded",
    },
    {"stockmeta"},
    {"document", "elements", "failures", "yamltext", "memory", "kinds", "extends"},
    {"config", "operators", "header", "cli_options", "cfl", "collaborative", "scan_group", "output", "extras", "brief"},
    {"rules", "settings", "checks"},
    {
        "compute",
        "conjugate",
        "scale",
        "noise",
        "readout",
        "rawfile",
        "imagefile",
        "rawwriter",
        "masks",
        "bart",
        "espirit",
        "openrecon",
        "chainours",
    },
    {"completion", "scope", "repeat", "chaincheck", "columns", "lines", "extent", "reference", "soundness", "spikes", "map_sets"},
    {"membership", "inputs"},
    {"gridding"},
    {"calibration"},
    {"networks.generator", "networks.unet"},
    {"networks.decoder", "networks.deep_image_prior"},
    {"networks.conv_decoder", "networks.deep_decoder"},
    {"networks.fused"},
    {"assemble", "coils", "networks", "phantom", "metrics", "optimisers"},
    {"held_out", "baselines", "phase", "uncertainty"},
    {"fit"},
    {"refine", "progress", "bench_fits", "doubts"},
    {"runs"},
    {"evidence"},
    {"untrained"},
    {"solve"},
    {"pipeline", "simulation"},
    {"volume"},
    {"images", "buffers", "jobs", "worker", "turns", "ledger"},
    {"supervision"},
    {"slot"},
    {"pool"},
    {"api", "api_files"},
    {"stream", "inspection", "report", "host", "monitor", "cases"},
    {"gadget_process"},
    {"replay", "bench", "bench_images", "findings"},
    {"integration"},
    {"junit", "bench_speed", "gpu_figures"},
    {"bench_gpu"},
    {"study.volume"},
    {"study.support", "study.maskfile"},
    {
        "study.sampling",
        "study.rawscan",
        "study.arrays",
        "study.resolution",
        "study.whiten",
        "study.floor",
        "study.results",
        "study.identity",
        "study.panels",
    },
    {"study.fastmri", "study.summary"},
    {"study.files", "study.trace"},
    {"study.convert", "study.pairs", "study.train_unet", "study.evaluate", "study.page"},
    {"study.oracles"},
    {"study.pace", "study.targets"},
    {"study.quality"},
    {"study.reproduce.context", "study.reproduce.outcome", "study.reproduce.paper"},
    {"study.reproduce.trained", "study.reproduce.averaging", "study.reproduce.grids"},
    {"study.reproduce.tables"},
    {"study.reproduce.figures"},
    {"study.reproduce.layers"},
    {"study.reproduce.targets"},
    {"cli_service", "cli_data", "cli_study", "cli_integration", "cli_config"},
    {"cli_reproduce", "cli_quality", "cli_serve"},
    {"cli"},
]
LEVEL = {name: n for n, names in enumerate(LEVELS) for name in names}
MODULES = sorted((ROOT / "untrained_recon").rglob("[!_]*.py"))


def module(path: Path) -> str:
    """Name inside the package: ``pipeline``, ``study.files``."""
    return ".".join(path.relative_to(ROOT / "untrained_recon").with_suffix("").parts)


def level_of(imported: str) -> int | None:
    """Level of the module that an imported name is, or lies in; None outside the package."""
    package, _, name = imported.partition(".")
    while package == "untrained_recon" and name:
        if name in LEVEL:
            return LEVEL[name]
        name = name.rpartition(".")[0]
    return None


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=module)
def test_the_core_imports_downwards_and_knows_no_gadgetron(path: Path) -> None:
    names = imports(path)
    assert not [name for name in names if name.split(".")[0] in ("gadgetron", "gadgets")]
    assert module(path) in LEVEL, f"give {module(path)} a level"
    levels = {name: level_of(name) for name in names}
    assert not [name for name, level in levels.items() if level is not None and level >= LEVEL[module(path)]]


@pytest.mark.parametrize("path", sorted((ROOT / "gadgets").glob("*.py")), ids=lambda p: p.stem)
def test_gadgets_stay_thin(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] in ("torch", "sigpy", "scipy", "h5py")]


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "gadgets").glob("*.py"))], ids=lambda p: p.stem)
def test_modules_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 260
