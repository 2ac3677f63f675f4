"""Processes of this machine: whatever becomes of one, what is to be done is done, or named."""

import os
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from untrained_recon.errors import ConfigError, WorkerError
from untrained_recon.workers.local import on_devices, slots


class Visit(NamedTuple):
    """Leave a sign, and die unless there are enough already."""

    folder: Path
    deaths: int

    def __str__(self) -> str:
        return "a visit"


def visit(item: Visit, device: str) -> str:
    (item.folder / str(os.getpid())).touch()
    if len(list(item.folder.iterdir())) <= item.deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return device


@pytest.mark.slow
def test_what_a_worker_dies_of_is_tried_thrice(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("once", "always")]
    for folder in folders:
        folder.mkdir()
    with on_devices(["cpu"]) as submit:
        once, always = submit(visit, Visit(folders[0], 1)), submit(visit, Visit(folders[1], 9))
        assert once.result(120) == "cpu"
        with pytest.raises(WorkerError, match="every worker died of a visit"):
            always.result(120)
        assert submit(visit, Visit(folders[0], 0)).result(120) == "cpu"
    assert [len(list(folder.iterdir())) for folder in folders] == [3, 3]


def test_devices_are_as_many_as_asked_for() -> None:
    assert slots(["cpu"], 3) == ["cpu"] * 3
    with pytest.raises(ConfigError, match="cuda:99"):
        slots(["cpu", "cuda:99"])
