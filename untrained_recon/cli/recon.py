"""The command for many scans."""

import logging
import sys
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from untrained_recon.cli.options import Command, complete_presets, group_option, parse_assignments, settings_option
from untrained_recon.errors import EvaluationError
from untrained_recon.files.export import FORMATS
from untrained_recon.logs import SCAN

if TYPE_CHECKING:
    from untrained_recon.batch.run import Progress
    from untrained_recon.workers.share import Engine

logger = logging.getLogger(__name__)

INTERRUPTED = 130


def _export_flags(command: Command) -> Command:
    for name, row in reversed(FORMATS.items()):
        command = click.option(f"--{name}", is_flag=True, help=f"Also write {row.about}")(command)
    return command


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the results.")
@click.option(
    "--config",
    shell_complete=complete_presets,
    metavar="NAME|FILE.yaml",
    default="fast",
    show_default=True,
    help="Preset or YAML file.",
)
@settings_option("Override one setting")
@click.option("--device", "devices", multiple=True, metavar="cpu|cuda:N", help="Devices to fit on; default: all GPUs, or the CPU.")
@click.option(
    "--workers", type=click.IntRange(1, 1024), default=1, show_default=True, help="Processes on each device; with --slurm: jobs."
)
@click.option("--dask", metavar="tcp://HOST:PORT", help="Have it done by the workers of this Dask scheduler.")
@click.option("--slurm", metavar="OPTIONS", help="Have it done by jobs of SLURM with these options of sbatch ('' for none).")
@_export_flags
@click.option("--force", is_flag=True, help="Do again what is done; write to a folder in which there are other things.")
@group_option
def recon(
    data: tuple[str, ...],
    output: Path,
    config: str,
    settings: tuple[str, ...],
    devices: tuple[str, ...],
    workers: int,
    dask: str | None,
    slurm: str | None,
    force: bool,
    group: str,
    **exports: bool,
) -> None:
    """Reconstruct many scans: DATA are files, folders, and patterns in quotes ('data/**/*.h5'), of what `replay` takes.

    OUTPUT has images/, logs/ and records/ with a file for each scan, a folder for each other format, and failures.csv. What is
    done is not done again; several commands may work on the same OUTPUT. The exit status is 1 where a scan failed, and 130 after
    Ctrl-C, which keeps what is finished.
    """
    from untrained_recon.batch.run import reconstruct_files
    from untrained_recon.config import load_config

    engine = _engine(devices, workers, dask, slurm, output)
    forms = [form for form, wanted in exports.items() if wanted]
    chosen = load_config(config, parse_assignments(settings))
    for handler in logging.getLogger().handlers:
        handler.addFilter(_of_the_batch)
    try:
        with _Follower(Console(stderr=True)) as follower:
            records = reconstruct_files(
                data, output, chosen, engine, exports=forms, group=group, force=force, follow=follower.follow
            )
    except KeyboardInterrupt:
        click.echo(f"ended; what was finished is in {output}, run it again for the rest", err=True)
        sys.exit(INTERRUPTED)
    click.echo(follower.summary(output))
    if follower.failed:
        raise EvaluationError(f"{follower.failed} of {len(records)} scans failed; {output / 'failures.csv'} says why")


def _engine(devices: tuple[str, ...], workers: int, dask: str | None, slurm: str | None, output: Path) -> "Engine":
    from untrained_recon.extras import require_modules
    from untrained_recon.workers.cluster import CLUSTER, on_dask, on_slurm
    from untrained_recon.workers.local import on_devices, slots

    if dask is None and slurm is None:
        return partial(on_devices, slots(devices, workers))
    if dask is not None and slurm is not None:
        raise click.UsageError("--dask or --slurm, not both")
    if devices:
        raise click.UsageError("--device is for this machine; workers elsewhere take the GPU that they see, or their CPU")
    require_modules(CLUSTER, "cluster", "recon")
    if dask is not None:
        return partial(on_dask, dask)
    return partial(on_slurm, slurm or "", workers, output.resolve() / "slurm")


def _of_the_batch(record: logging.LogRecord) -> bool:
    """What is said of a scan stands in its own log; what Dask does is of interest where it fails."""
    return not (getattr(record, "scan", "") or SCAN.get()) and not (
        record.name.startswith("distributed") and record.levelno < logging.WARNING
    )


class _Follower:
    """A bar over all scans on a terminal, a line for each elsewhere."""

    def __init__(self, console: Console) -> None:
        self.failed = 0
        self._made, self._before, self._fallbacks, self._doubtful = 0, 0, 0, 0
        columns = (TextColumn("scans"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
        self._bar = Bar(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = None if self._bar is None else self._bar.add_task("scans", total=None, note="")

    def __enter__(self) -> "_Follower":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def follow(self, progress: "Progress") -> None:
        """Show how far it is, and keep count."""
        record = progress.record
        self.failed += record.outcome != "done"
        self._made += progress.fresh and record.outcome == "done"
        self._before += not progress.fresh and record.outcome == "done"
        self._fallbacks += record.fallbacks > 0
        self._doubtful += bool(record.cautions)
        left = "" if progress.seconds_left is None else f"about {_duration(progress.seconds_left)} left"
        if self._bar is not None and self._task is not None:
            note = ", ".join(filter(None, (left, f"{self.failed} failed" if self.failed else "")))
            self._bar.update(self._task, completed=progress.done, total=progress.total, note=note)
        if progress.fresh:
            log = logger.info if record.outcome == "done" else logger.error
            log("%d of %d: %s", progress.done, progress.total, "; ".join(filter(None, (_line(progress), left))))

    def summary(self, output: Path) -> str:
        """All of it in a line."""
        parts = [
            f"{self._made} scans made",
            f"{self._before} done before" if self._before else "",
            f"{self.failed} failed" if self.failed else "",
            f"{self._fallbacks} with FALLBACK" if self._fallbacks else "",
            f"{self._doubtful} with CAUTION" if self._doubtful else "",
        ]
        return f"{output}: {', '.join(filter(None, parts))}"


def _line(progress: "Progress") -> str:
    record = progress.record
    cautions = ", ".join(f"CAUTION {code}" for code in record.cautions)
    parts = (
        f"{record.name}: {record.outcome}, {len(record.images)} images, {record.seconds:.1f} s",
        f"{record.fallbacks} FALLBACK" if record.fallbacks else "",
        cautions,
        record.reason,
    )
    return "; ".join(filter(None, parts))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
