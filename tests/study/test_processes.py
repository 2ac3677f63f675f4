"""Evaluations shared by several processes: the same table as of one, whoever else is at work and whoever dies."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.doubles.cluster import kill_a_busy_worker
from untrained_recon.config import load_config
from untrained_recon.masks import Sampling
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import fft2
from untrained_recon.study.case import Case
from untrained_recon.study.evaluate import Plan, evaluate
from untrained_recon.study.identity import claims_of
from untrained_recon.study.kept import Kept, keep
from untrained_recon.study.results import RESULTS, Key, ResultsFile, Row
from untrained_recon.workers.local import on_devices

CPU = torch.device("cpu")
QUICK = {"fit.iterations": "20", "fit.discrepancy": "0", "network.channels": "8", "refine.iterations": "1"}
PATIENCE_S = 120


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Two files, one of which cannot be read, and one that is not there; three methods, one of which fails."""
    imgs = np.stack([coil_maps((48, 48), 4) * head((48, 48), 0.0, n) for n in range(2)])
    ksp = fft2(torch.from_numpy(imgs)).numpy().astype(np.complex64)
    np.save(tmp_path / "good.npy", ksp)
    ksp[1] = np.nan
    np.save(tmp_path / "bad.npy", ksp)
    methods = {"net": load_config("fast", QUICK)}
    methods |= {name: load_config("fast", {"recon.method": name}) for name in ("zero-filled", "unet")}
    paths = [tmp_path / f"{name}.npy" for name in ("good", "bad", "absent")]
    return Plan(paths, methods, [Sampling("random", 3, 10, seed) for seed in range(2)], slices="all")


def table(folder: Path) -> list[dict[str, str]]:
    """All that does not depend on who made it when, sorted; a row that stands there twice twice."""
    with (folder / RESULTS).open(newline="", encoding="utf-8") as file:
        rows = [row | {"seconds": ""} for row in csv.DictReader(file)]
    return sorted(rows, key=lambda row: tuple(row[name] for name in vars(key())))


def key(method: str = "m", item: int = 0) -> Key:
    return Key("good", item, "s", method, "h")


def images(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.npy")}


def same(found: Path, expected: Path) -> bool:
    readable = [[row for row in table(folder) if row["method"]] for folder in (found, expected)]
    return readable[0] == readable[1] and images(found) == images(expected)


@pytest.mark.slow
def test_workers_make_the_table_of_one_process(plan: Plan, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alone = evaluate(plan, tmp_path / "alone", CPU)
    counted: list[tuple[int, int]] = []
    engine = partial(on_devices, ["cpu", "cpu"])
    shared = evaluate(plan, tmp_path / "shared", CPU, engine=engine, count=lambda *count: counted.append(count))
    assert [row.key for row in shared] == [row.key for row in alone]
    assert [row.error for row in shared] == [row.error for row in alone]
    assert same(tmp_path / "shared", tmp_path / "alone")
    assert (counted[0], counted[-1]) == ((0, 25), (25, 25))
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_a_worker_of_dask_that_is_killed_changes_nothing(plan: Plan, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    from untrained_recon.workers.cluster import on_dask

    good = dataclasses.replace(plan, paths=plan.paths[:1])
    evaluate(good, tmp_path / "alone", CPU)
    killed: list[int] = []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:

        def follow(row: Row) -> None:
            if killed:
                return
            killed.append(kill_a_busy_worker(cluster))

        evaluate(good, tmp_path / "shared", CPU, follow, engine=partial(on_dask, cluster.scheduler_address))
    assert killed
    assert same(tmp_path / "shared", tmp_path / "alone")


def command(folder: Path, *options: str) -> "subprocess.Popen[str]":
    methods = ["--method", "zero-filled", "--method", "net=fast," + ",".join(f"{name}={value}" for name, value in QUICK.items())]
    masks = [option for seed in range(3) for option in ("--mask-seed", str(seed))]
    line = [sys.executable, "-m", "untrained_recon.cli", "evaluate", str(folder / "good.npy"), "-o", str(folder / "out")]
    line += [*methods, *masks, "--slices", "all", "--acs", "8", *options]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
def test_two_commands_at_once_share_the_rows(plan: Plan, tmp_path: Path) -> None:
    commands = [command(tmp_path) for _ in range(2)]
    ends = [each.communicate(timeout=PATIENCE_S) for each in commands]
    assert [each.returncode for each in commands] == [0, 0], ends
    rows = table(tmp_path / "out")
    assert len(rows) == len({tuple(row.values()) for row in rows}) == 2 * 2 * 3
    assert sum("SSIM" in line for out, _ in ends for line in out.splitlines()) == len(rows)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_ctrl_c_keeps_what_is_done(plan: Plan, tmp_path: Path, options: tuple[str, ...]) -> None:
    results, deadline = tmp_path / "out" / RESULTS, time.monotonic() + PATIENCE_S
    with command(tmp_path, *options) as process:
        while not results.exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert 0 < len(table(tmp_path / "out")) < 12


def test_what_another_has_in_work_is_waited_for_and_counts(plan: Plan, tmp_path: Path) -> None:
    zero = {"zero": plan.methods["zero-filled"]}
    asked = dataclasses.replace(plan, paths=plan.paths[:1], methods=zero, samplings=plan.samplings[:1], slices="middle")
    folder = tmp_path / "out"
    (case,) = asked.cases(folder)
    assert isinstance(case, Case)
    theirs = Row(case.key, 3.0, 1.0, 0, "", {"ours: psnr": 20.0})
    claim = claims_of(folder).attempt(case.lock)
    assert claim is not None

    def done() -> None:
        ResultsFile(folder / RESULTS).append(theirs)
        claim.close()

    threading.Timer(0.5, done).start()
    followed: list[Row] = []
    assert evaluate(asked, folder, CPU, followed.append) == [theirs]
    assert followed == []


def test_a_case_that_its_worker_dies_of_is_a_failure(plan: Plan, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tests.workers.test_share import failing

    asked = dataclasses.replace(plan, paths=plan.paths[:1], samplings=plan.samplings[:1], slices="middle")
    rows = evaluate(asked, tmp_path / "out", CPU, engine=failing)
    assert [row.error for row in rows] == ["RuntimeError: killed thrice"] * 3
    assert len(table(tmp_path / "out")) == 3


def test_rows_of_many_writers_stay_whole(tmp_path: Path) -> None:
    def write(method: int) -> None:
        for item in range(25):
            ResultsFile(tmp_path / RESULTS).append(Row(key(str(method), item), 4.0, 1.0, 2, "a\nb", {}))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    reader = ResultsFile(tmp_path / RESULTS)
    assert {row.key for row in reader.rows()} == {key(str(method), item) for method in range(4) for item in range(25)}
    later = Row(key("later"), 4.0, 1.0, 2, "", {})
    ResultsFile(tmp_path / RESULTS).append(later)
    assert reader.get(later.key) == later
    (tmp_path / RESULTS).unlink()
    assert reader.get(later.key) is None


def test_arrays_are_made_once_and_errors_reach_the_caller(tmp_path: Path) -> None:
    made = []

    def make(device: torch.device) -> np.ndarray:
        made.append(device)
        return np.arange(3)

    arrays = [Kept(tmp_path / "a" / f"{n}.npy", make) for n in range(2)]
    counted: list[tuple[int, int]] = []
    for _ in range(2):
        keep(arrays, CPU, count=lambda *count: counted.append(count))
    assert made == [CPU, CPU]
    assert counted == [(0, 2), (1, 2), (2, 2), (2, 2)]
    np.testing.assert_array_equal(arrays[1].load(), np.arange(3))

    def fail(device: torch.device) -> np.ndarray:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        keep([Kept(tmp_path / "b.npy", fail)], CPU)
