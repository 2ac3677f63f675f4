"""Batches in processes of their own: the command, two of them at once, Ctrl-C, workers that are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.doubles.cluster import kill_a_busy_worker
from untrained_recon.batch.run import Progress, reconstruct_files
from untrained_recon.config import load_config
from untrained_recon.errors import UnreachableError
from untrained_recon.workers.local import on_devices

SETTINGS = {"refine.iterations": "1", "network.channels": "8"}
QUICK = SETTINGS | {"fit.iterations": "2"}
SLOW = SETTINGS | {"fit.iterations": "60", "fit.discrepancy": "0"}
PATIENCE_S = 120


@pytest.fixture
def data(tmp_path: Path, small_scan: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(5):
        (folder / f"scan{n}.h5").write_bytes(small_scan.read_bytes())
    return folder


def start(data: Path, settings: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "untrained_recon.cli", "recon", str(data), "-o", str(data.parent / "out"), "--device", "cpu"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def records(data: Path) -> list[Path]:
    return sorted((data.parent / "out" / "records").glob("*.json"))


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_two_commands_at_once_share_the_scans(data: Path) -> None:
    (data / "damaged.h5").write_bytes((data / "scan0.h5").read_bytes()[:3000])
    commands = [start(data, QUICK) for _ in range(2)]
    ends = [command.communicate(timeout=PATIENCE_S) for command in commands]
    assert [command.returncode for command in commands] == [1, 1], ends
    lines = [line for _, err in ends for line in err.splitlines()]
    for n in range(5):
        assert sum(f"scan{n}: done, 2 images" in line for line in lines) == 1, lines
    assert all("1 of 6 scans failed" in err for _, err in ends)
    assert all(json.loads(path.read_text())["outcome"] == "done" for path in records(data) if path.stem != "damaged")
    log = (data.parent / "out" / "logs" / "scan3.log").read_text()
    assert "slice 1: maps, 2 iterations" in log
    assert {line.split("[")[1].split("]")[0] for line in log.splitlines()} == {"scan3"}


@pytest.mark.slow
def test_ctrl_c_ends_it_and_keeps_what_is_finished(data: Path) -> None:
    with start(data, SLOW) as command:
        wait_until(lambda: records(data) or command.poll() is not None)
        os.killpg(command.pid, signal.SIGINT)
        _, err = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 130, err
    assert "Traceback" not in err
    finished = [path.stem for path in records(data)]
    assert 0 < len(finished) < 5
    out = data.parent / "out"
    assert sorted(path.name for path in (out / "images").iterdir()) == [f"{name}.h5" for name in finished]
    assert (out / "failures.csv").read_text().splitlines() == ["scan,outcome,file,error"]


@pytest.mark.slow
def test_a_worker_of_this_machine_that_is_killed_costs_nothing(data: Path) -> None:
    out = data.parent / "out"
    killed: list[int] = []

    def follow(progress: Progress) -> None:
        workers = [p for p in psutil.Process().children() if any("spawn_main" in part for part in p.cmdline())]
        wait_until(lambda: list((out / "images").glob(".*.part")))
        if not killed:
            killed.append(workers[0].pid)
            workers[0].kill()

    engine = partial(on_devices, ["cpu"] * 2)
    found = reconstruct_files([data], out, load_config("fast", SLOW), engine, follow=lambda p: follow(p) if p.done < 5 else None)
    assert killed
    assert [(record.name, record.outcome, len(record.images)) for record in found] == [(f"scan{n}", "done", 2) for n in range(5)]
    assert sorted(path.name for path in (out / "images").iterdir()) == [f"scan{n}.h5" for n in range(5)]
    assert (out / "logs" / "scan4.log").read_text().count("slice 1: maps, 60 iterations") == 1


def test_what_does_not_answer_is_named_before_anything_is_made(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    from untrained_recon.workers.cluster import on_dask, on_slurm

    monkeypatch.setattr("untrained_recon.workers.cluster.CONNECT_S", 0.5)
    for engine in (partial(on_dask, "tcp://127.0.0.1:1"), partial(on_dask, "nonsense:"), partial(on_slurm, "", 1, tmp_path)):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(UnreachableError):
            reconstruct_files([data], data.parent / "out", load_config("fast", QUICK), engine)
    assert records(data) == []


def test_a_worker_of_dask_that_is_killed_costs_nothing(data: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    from untrained_recon.workers.cluster import on_dask

    out = data.parent / "out"
    killed: list[int] = []
    before: dict[str, int] = {}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:

        def follow(progress: Progress) -> None:
            if killed:
                return
            before.update({path.stem: (out / "images" / f"{path.stem}.h5").stat().st_mtime_ns for path in records(data)})
            killed.append(kill_a_busy_worker(cluster))

        found = reconstruct_files(
            [data], out, load_config("fast", SLOW), partial(on_dask, cluster.scheduler_address), follow=follow
        )
    assert killed
    assert [(record.name, record.outcome, len(record.images)) for record in found] == [(f"scan{n}", "done", 2) for n in range(5)]
    assert {name: (out / "images" / f"{name}.h5").stat().st_mtime_ns for name in before} == before
    assert [path.name for path in sorted((out / "images").glob("*.h5"))] == [f"scan{n}.h5" for n in range(5)]
    log = (out / "logs" / "scan4.log").read_text()
    assert "slice 1: maps, 60 iterations" in log
    assert "sets of maps" in log  # said where it was fitted
