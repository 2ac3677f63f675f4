"""Scores of one image in every view of :data:`untrained_recon.study.results.VIEWS`."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from untrained_recon.metrics import quality
from untrained_recon.study.results import SCORES, VIEWS, Row
from untrained_recon.types import FloatArray


def scores(img: FloatArray, reference: FloatArray) -> dict[str, float]:
    """A value for each of :data:`untrained_recon.study.results.SCORES`, of images ``(n_y, n_x)``."""
    found = {view: quality(img, reference, convention, region) for view, (convention, region) in VIEWS.items()}
    return {score: getattr(found[view], measure) for score in SCORES for view, measure in [score.split(": ")]}


def completed(row: Row, folder: Path) -> Row:
    """A row of an earlier version with the scores that it lacks, of the images that the evaluation has left in ``folder``.

    Raises:
        OSError: They are gone.
        ValueError: They cannot be read, or compared.
    """
    img, truth = (np.load(folder / path) for path in (row.key.image_path, row.key.truth_path))
    return replace(row, scores=scores(img, truth))
