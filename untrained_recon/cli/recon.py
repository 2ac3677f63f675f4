"""The command for many scans."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from untrained_recon.cli.bar import Bar, duration
from untrained_recon.cli.options import Command, complete_presets, group_option, parse_assignments, settings_option
from untrained_recon.cli.workers import engine_of, worker_options
from untrained_recon.errors import EvaluationError
from untrained_recon.files.export import FORMATS
from untrained_recon.logs import SCAN, only

if TYPE_CHECKING:
    from untrained_recon.batch.run import Progress

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
@worker_options("a process on each GPU, or on the CPU")
@_export_flags
@click.option("--force", is_flag=True, help="Do again what is done; write to a folder in which there are other things.")
@group_option
def recon(
    data: tuple[str, ...],
    output: Path,
    config: str,
    settings: tuple[str, ...],
    devices: tuple[str, ...],
    workers: int | None,
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

    engine = engine_of(devices, workers or 1, dask, slurm, output.resolve() / "slurm", "recon")
    forms = [form for form, wanted in exports.items() if wanted]
    chosen = load_config(config, parse_assignments(settings))
    try:
        with only(_of_the_batch), Bar("scans") as bar:
            follower = _Follower(bar)
            records = reconstruct_files(
                data, output, chosen, engine, exports=forms, group=group, force=force, follow=follower.follow
            )
    except KeyboardInterrupt:
        click.echo(f"ended; what was finished is in {output}, run it again for the rest", err=True)
        sys.exit(INTERRUPTED)
    click.echo(follower.summary(output))
    if follower.failed:
        raise EvaluationError(f"{follower.failed} of {len(records)} scans failed; {output / 'failures.csv'} says why")


def _of_the_batch(record: logging.LogRecord) -> bool:
    """What is said of a scan stands in its own log."""
    return not (getattr(record, "scan", "") or SCAN.get())


class _Follower:
    """Counts the scans, with a line for each."""

    def __init__(self, bar: Bar) -> None:
        self.failed = 0
        self._made, self._before, self._fallbacks, self._doubtful = 0, 0, 0, 0
        self._bar = bar

    def follow(self, progress: "Progress") -> None:
        """Show how far it is, and keep count."""
        record = progress.record
        self.failed += record.outcome != "done"
        self._made += progress.fresh and record.outcome == "done"
        self._before += not progress.fresh and record.outcome == "done"
        self._fallbacks += record.fallbacks > 0
        self._doubtful += bool(record.cautions)
        left = "" if progress.seconds_left is None else f"about {duration(progress.seconds_left)} left"
        note = ", ".join(filter(None, (left, f"{self.failed} failed" if self.failed else "")))
        self._bar.show(progress.done, progress.total, note)
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
