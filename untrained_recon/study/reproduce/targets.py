"""The targets by name."""

from collections.abc import Callable

from untrained_recon.study.reproduce import averaging, figures, grids, layers, tables
from untrained_recon.study.reproduce.context import Context
from untrained_recon.study.reproduce.outcome import Outcome, write
from untrained_recon.study.reproduce.page import write_page

TARGETS: dict[str, Callable[[Context], Outcome]] = {
    "table1": tables.table1,
    "table2": tables.table2,
    "table3": tables.table3,
    "table4": tables.table4,
    "table5": tables.table5,
    "table6": tables.table6,
    "table7": averaging.table7,
    "table8": tables.table8,
    "table9": grids.table9,
    "table10": grids.table10,
    "table11": grids.table11,
    "fig6": averaging.fig6,
    "fig7": figures.fig7,
    "fig10": figures.fig10,
    "fig11": layers.fig11,
    "fig12": layers.fig12,
}


def reproduce(target: str, context: Context, command: str = "") -> str:
    """Make a table or figure of the paper again, or what is left to do of it.

    Args:
        target: A key of :data:`TARGETS`.
        context: Data, output and effort.
        command: As it was typed, for the page.

    Returns:
        The Markdown that also is in ``OUTPUT/TARGET/TARGET.md``, beside a page, the CSV of its numbers and a figure's PNG.

    Raises:
        RawFileError: There are no data that can be read.
        EvaluationError: None of the images of a figure could be made.
        WeightsError: The U-net's weights cannot be read.
        MissingExtraError: The extra ``report`` is not installed.
    """
    outcome = TARGETS[target](context)
    text = write(outcome, context.output / target, target)
    write_page(outcome, context, target, command)
    return text
