"""A bar with counts and the time that is left, on a terminal."""

import sys
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress


class Bar:
    """Shows how far a command is; nothing where stderr is no terminal. A context manager.

    Args:
        what: What is counted.

    Attributes:
        note: What is said beside the counts.
    """

    def __init__(self, what: str) -> None:
        console = Console(stderr=True)
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
        of_terminal = sys.stdout.isatty()  # what goes to a file is not to be shown above the bar
        shown = console.is_terminal
        self._bar = RichProgress(*columns, console=console, transient=True, redirect_stdout=of_terminal, disable=not shown)
        self.note = ""
        self._task = self._bar.add_task(what, total=None, note="")
        self._start: tuple[float, int, int] = (0.0, 0, -1)  # when, with how many done, of how many

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def count(self, done: int, total: int) -> None:
        """Show how many of how many are done; the time that is left follows from those since the first call."""
        now = monotonic()
        if total != self._start[2] or done < self._start[1]:
            self._start = now, done, total
        start, before, _ = self._start
        left = f"about {duration((now - start) / (done - before) * (total - done))} left" if before < done < total else ""
        self.show(done, total, left)

    def show(self, done: int, total: int, note: str) -> None:
        """Show how many of how many are done, and a note."""
        self.note = note
        self._bar.update(self._task, completed=done, total=total, note=note)


def duration(seconds: float) -> str:
    """Seconds in a unit that suits them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
