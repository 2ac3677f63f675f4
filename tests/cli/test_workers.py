"""What the options of workers ask for."""

from pathlib import Path
from typing import Any

import click
import pytest

from untrained_recon.cli.workers import engine_of
from untrained_recon.errors import ConfigError


def engine(devices: tuple[str, ...] = (), workers: int | None = None, dask: str | None = None, slurm: str | None = None) -> Any:
    return engine_of(devices, workers, dask, slurm, Path("logs"), "evaluate")


def test_one_device_or_none_is_this_process() -> None:
    assert engine() is None
    assert engine(("cpu",)) is None


def test_more_are_processes_of_this_machine() -> None:
    assert engine(("cpu", "cpu")).args == (["cpu", "cpu"],)
    assert engine(("cpu",), workers=2).args == (["cpu", "cpu"],)
    assert engine(("cpu",), workers=1).args == (["cpu"],)
    with pytest.raises(ConfigError, match="cuda:99"):
        engine(("cpu", "cuda:99"))


@pytest.mark.needs("distributed", "dask_jobqueue")
def test_schedulers_are_named_alone() -> None:
    assert engine(dask="tcp://host:8786").args[0].args == ("tcp://host:8786",)
    assert engine(slurm="-p gpu", workers=3).args[0].args == ("-p gpu", 3, Path("logs"))
    with pytest.raises(click.UsageError, match="not both"):
        engine(dask="tcp://host:8786", slurm="")
    with pytest.raises(click.UsageError, match="is for this machine"):
        engine(("cpu",), slurm="")
