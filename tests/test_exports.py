"""The public names: all are there, all are documented, nothing else is, and looking at them loads nothing."""

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

import untrained_recon as ur

HEAVY = {"torch", "scipy", "sigpy", "h5py", "ismrmrd", "matplotlib"}


def run(code: str, **environment: str) -> Any:
    """What the code, run in a new process, prints as JSON; and what went to stderr."""
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{code}"], capture_output=True, text=True, check=True, env={**kept, **environment}
    )
    return json.loads(done.stdout), done.stderr


def test_all_is_sorted_and_complete() -> None:
    public = {name for name in dir(ur) if not name.startswith("_") and not inspect.ismodule(getattr(ur, name))}
    assert public - {"Any", "TYPE_CHECKING", "import_module"} == set(ur.__all__)
    assert sorted(ur.__all__, key=lambda name: (not name[0].isupper(), name)) == ur.__all__


@pytest.mark.parametrize("name", ur.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    value = getattr(ur, name)
    assert inspect.isclass(value) or inspect.isfunction(value)
    assert value.__module__.startswith("untrained_recon")
    documented = inspect.getdoc(value) or ""
    assert len(documented) > 20
    if inspect.isfunction(value):
        for parameter in inspect.signature(value).parameters.values():
            stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
            assert f"{stars}{parameter.name}: " in documented, f"{name} does not say what {parameter.name} is"
        assert "Raises:" in documented or name == "presets"


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'reconstruction'"):
        _ = ur.reconstruction
    assert set(dir(ur)) >= set(ur.__all__)


def test_submodules_do_not_hide_public_names() -> None:
    for module in ("preset_files", "simulation", "settings", "api"):
        import_module(f"untrained_recon.{module}")
    assert all(not inspect.ismodule(getattr(ur, name)) for name in ur.__all__)


def test_nothing_heavy_is_loaded_where_nothing_is_computed() -> None:
    used = "import untrained_recon as ur\nnames = [getattr(ur, name) for name in ur.__all__ if name != 'SimulatedScan']"
    loaded, _ = run(f"{used}\nur.presets(), ur.load_config('fast', fit={{'iterations': 9}})\nprint(json.dumps(list(sys.modules)))")
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("module", ["untrained_recon", "untrained_recon.cli", "untrained_recon.study.evaluate", "gadgets"])
def test_threads_do_not_wait_by_spinning(module: str) -> None:
    code = f"import {module}, os\nprint(json.dumps(os.environ.get('OMP_WAIT_POLICY')))"
    assert run(code)[0] == "PASSIVE"
    assert run(code, OMP_WAIT_POLICY="ACTIVE")[0] == "ACTIVE"


def test_it_is_said_where_it_is_too_late_for_that() -> None:
    code = "sys.modules['torch'] = sys\nimport untrained_recon\nprint(json.dumps(0))"
    assert "import untrained_recon first" in run(code)[1]
    assert run(code, OMP_WAIT_POLICY="PASSIVE")[1] == ""
