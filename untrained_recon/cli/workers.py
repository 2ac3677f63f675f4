"""Options of commands whose work is shared out: to processes of this machine, to Dask, to SLURM."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from untrained_recon.cli.options import Command
from untrained_recon.logs import only

if TYPE_CHECKING:
    from untrained_recon.workers.share import Engine, Submit


def worker_options(default: str) -> Callable[[Command], Command]:
    """``--device``, ``--workers``, ``--dask``, ``--slurm``, as the arguments ``devices``, ``workers``, ``dask``, ``slurm``.

    Args:
        default: What happens without them, for the help.
    """
    options = (
        click.option(
            "--device",
            "devices",
            multiple=True,
            metavar="auto|cpu|cuda[:N]",
            help=f"Where to compute; repeatable.  [default: {default}]",
        ),
        click.option(
            "--workers", type=click.IntRange(1, 1024), help="Processes on each device, or on each GPU; with --slurm: jobs."
        ),
        click.option("--dask", metavar="tcp://HOST:PORT", help="Have it done by the workers of this Dask scheduler."),
        click.option("--slurm", metavar="OPTIONS", help="Have it done by jobs of SLURM with these options of sbatch, or ''."),
    )

    def with_options(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return with_options


def engine_of(
    devices: tuple[str, ...], workers: int | None, dask: str | None, slurm: str | None, logs: Path, command: str
) -> "Engine | None":
    """The workers that the options ask for; None where they ask for none.

    Raises:
        MissingExtraError: What they need is not installed.
        ConfigError: A device is not there.
    """
    from untrained_recon.extras import require_modules
    from untrained_recon.workers.cluster import CLUSTER, on_dask, on_slurm
    from untrained_recon.workers.local import on_devices, slots

    if dask is None and slurm is None:
        return partial(on_devices, slots(devices, workers or 1)) if workers is not None or len(devices) > 1 else None
    if dask is not None and slurm is not None:
        raise click.UsageError("--dask or --slurm, not both")
    if devices:
        raise click.UsageError("--device is for this machine; workers elsewhere take the GPU that they see, or their CPU")
    require_modules(CLUSTER, "cluster", command)
    return partial(_quietly, partial(on_dask, dask) if dask is not None else partial(on_slurm, slurm or "", workers or 1, logs))


@contextmanager
def _quietly(engine: "Engine") -> Iterator["Submit"]:
    with only(_of_interest), engine() as submit:
        yield submit


def _of_interest(record: logging.LogRecord) -> bool:
    """What Dask does is of interest where it fails."""
    return not (record.name.startswith("distributed") and record.levelno < logging.WARNING)
