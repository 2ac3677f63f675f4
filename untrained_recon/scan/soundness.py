"""Whether an image can be made of its samples at all: the centre of k-space, which holds contrast and brightness, must be there."""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from untrained_recon.cautions import Caution
from untrained_recon.errors import SamplingError
from untrained_recon.failures import Failures
from untrained_recon.types import BoolArray, KSpace

logger = logging.getLogger(__name__)

FEWEST = 8
"""Lines, columns or partitions below which there is no image; in matrices of fewer than 32, a quarter of them."""
NEIGHBOURS = 4
"""Gaps around the centre with which the one that holds it is compared."""


def sound(scan: Iterable[KSpace]) -> Iterator[KSpace]:
    """The images of a scan that can be reconstructed, with their cautions; what the header left open is logged once.

    Raises:
        ReconError: Some cannot; at the end, after the others. Errors of ``scan`` itself pass.
    """
    noted: set[str] = set()
    failures = Failures()
    with failures.collecting():
        for data in scan:
            for note in data.notes:
                if note not in noted:
                    logger.info("%s: %s", data.index, note)
            noted.update(data.notes)
            try:
                image = checked(data)
            except SamplingError as error:
                failures.add(data.index, error)
            else:
                yield image


def checked(data: KSpace) -> KSpace:
    """The same image, with a caution where its centre was sampled less than the rest.

    Along each axis, the gap between the sampled lines around the centre is compared with those beside it: undersampling leaves
    equal ones. A gap up to twice as wide is doubtful where a calibration scan of its own holds the centre; else, and where it is
    wider, there is nothing to go by. Lines on one side alone, without the centre, never are an image.

    Raises:
        SamplingError: The centre is missing, or there are too few lines.
    """
    names = ("partitions", "lines", "columns")[-data.mask.ndim :]
    calibrated = bool(data.calib_mask[tuple(n // 2 for n in data.mask.shape)])
    cautions = [caution for axis, name in enumerate(names) for caution in _centre(_near(data.mask, axis), name, calibrated)]
    return replace(data, cautions=(*data.cautions, *cautions)) if cautions else data


def _near(mask: BoolArray, axis: int) -> BoolArray:
    """Where an axis was sampled near the centre of the others, as near as their sampling allows."""
    reach = round(mask.size / max(1, int(mask.sum()))) - 1
    for other in range(mask.ndim):
        if other != axis:
            lines = np.flatnonzero(mask.any(axis=tuple(n for n in range(mask.ndim) if n != other)))
            away = np.abs(lines - mask.shape[other] // 2)
            mask = np.asarray(np.take(mask, lines[away <= away.min() + reach], axis=other), bool)
    near: BoolArray = np.any(mask, axis=tuple(n for n in range(mask.ndim) if n != axis))
    return near


def _centre(sampled: BoolArray, name: str, calibrated: bool) -> list[Caution]:
    n = len(sampled)
    lines = np.flatnonzero(sampled) - n // 2
    if len(lines) < min(FEWEST, math.ceil(n / 4)):
        raise SamplingError(f"{len(lines)} of {n} {name} were sampled; that is no image")
    if sampled[n // 2]:
        return []
    below, above = lines[lines < 0], lines[lines > 0]
    if not len(below) or not len(above):
        raise SamplingError(f"the centre of k-space was not sampled: of its {n} {name} only those on one side of it")
    gap, usual = int(above[0] - below[-1]), _usual_gap(below, above)
    if gap <= usual:
        return []
    if gap > 2 * usual or not calibrated:
        raise SamplingError(
            f"the centre of k-space was not sampled: {gap - 1} {name} around it are missing, {usual - 1:g} elsewhere"
        )
    return [Caution("centre-missing", f"{gap - 1} {name} around it, {usual - 1:g} elsewhere")]


def _usual_gap(below: npt.NDArray[np.int_], above: npt.NDArray[np.int_]) -> float:
    beside = np.concatenate([np.diff(below)[-NEIGHBOURS:], np.diff(above)[:NEIGHBOURS]])
    return float(np.median(beside)) if len(beside) else 1.0
