import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch is loaded, see gadgets

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from untrained_recon.phantom.simulation import Simulation, simulate

DATA = Path(os.environ.get("UNTRAINED_RECON_DATA", Path(__file__).parents[2] / "shared" / "data"))

NEEDS = {
    "pandas": ["study/test_evaluate.py", "study/test_reproduce.py", "bench/quality", "bench/test_deepinv.py"],
    "compose_spec": ["test_docker.py"],
}
MISSING = [module for module in NEEDS if find_spec(module) is None]
collect_ignore = [path for module in MISSING for path in NEEDS[module]]

SMALL = Simulation(shape=(64, 48), coils=4, accel=2, acs=16, pattern="equispaced", slices=2, noise=0.01, seed=1)


def pytest_report_header() -> list[str]:
    """Which tests are left out for want of an extra."""
    return [f"{module} is not installed: without {', '.join(NEEDS[module])}" for module in MISSING]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """``@pytest.mark.needs("matplotlib")``: skipped where a module of an extra is not installed."""
    for mark in item.iter_markers("needs"):
        if missing := [module for module in mark.args if find_spec(module) is None]:
            pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def small_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw file of two slices of 64 x 48 with four coils, twice accelerated, with its truth beside it."""
    path = tmp_path_factory.mktemp("scan") / "small.h5"
    simulate(path, SMALL)
    return path


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """Path of a file of the development data (their folder is the setting UNTRAINED_RECON_DATA); skips where it is absent."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"development data not found: {name} (set UNTRAINED_RECON_DATA)")
        return path

    return find


@pytest.fixture(autouse=True)
def impatient_gadgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that cannot be followed is given up after half a second of silence instead of half a minute."""
    monkeypatch.setattr("gadgets.connection.SILENCE_S", 0.5)
