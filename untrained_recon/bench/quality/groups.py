"""Means over images, masks and seeds, each kind of case by itself, and apart for volumes on which no constant is chosen."""

import hashlib
from collections.abc import Sequence

import pandas

from untrained_recon.study.summary import mean_over_seeds, summarise, without_seed

ALL = "all"
CHOSEN_ON, KEPT_ASIDE = "chosen", "kept aside"
FOLDED = r"-folded([\d.]+)$"  # see `folded_name`


def group_of(volume: str) -> str:
    """Whether constants may be chosen on a volume (:data:`CHOSEN_ON`) or never are (:data:`KEPT_ASIDE`), by its file's name alone.

    It is kept aside where the first byte of BLAKE2b (8 bytes) of the name, without ending and folding, is even.
    """
    first = hashlib.blake2b(volume.partition("-folded")[0].encode(), digest_size=8).digest()[0]
    return CHOSEN_ON if first % 2 else KEPT_ASIDE


def cases(rows: pandas.DataFrame) -> pandas.Series:
    """The kind of each row: its sampling without the seed, and the share of the field of view where it is folded."""
    shares = rows["volume"].str.extract(FOLDED, expand=False)
    return without_seed(rows["sampling"]) + (", folded " + shares).fillna("")


def intervals(rows: pandas.DataFrame, scores: Sequence[str]) -> pandas.DataFrame:
    """Means and their 95 % intervals over images, after the mean over each image's masks and seeds.

    Where there is one image only, they are over its masks and seeds, which ``images`` counts then.

    Args:
        rows: Columns ``volume, item, sampling, method`` and the scores.
        scores: Which columns.

    Returns:
        As of :func:`untrained_recon.study.summary.summarise`, ``sampling`` being that of :func:`cases`.
    """
    if rows.empty:
        return summarise(rows, scores)
    named = rows.assign(sampling=cases(rows))
    parts = [
        mean_over_seeds(part, scores) if len(part[["volume", "item"]].drop_duplicates()) > 1 else part
        for _, part in named.groupby("sampling", sort=False)
    ]
    return summarise(pandas.concat(parts), scores)


def grouped(rows: pandas.DataFrame, scores: Sequence[str]) -> pandas.DataFrame:
    """:func:`intervals` of all volumes and of each of the groups by itself, with a column ``group``."""
    groups = rows["volume"].map(group_of)
    found = [intervals(rows, scores).assign(group=ALL)]
    found += [intervals(rows[groups == name], scores).assign(group=name) for name in (CHOSEN_ON, KEPT_ASIDE)]
    return pandas.concat([part for part in found if len(part)] or found[:1], ignore_index=True)
