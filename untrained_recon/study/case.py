"""The work of an evaluation: one image, one mask, one method. It is scored by one process, here or elsewhere, and kept."""

import hashlib
import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import torch

from untrained_recon.config import Config
from untrained_recon.errors import FitError, ReconError
from untrained_recon.files.open import open_volume
from untrained_recon.files.sampling import sample
from untrained_recon.files.volume import Volume
from untrained_recon.masks import Sampling
from untrained_recon.output import make_folder, write_array
from untrained_recon.physics.operators import rss_image
from untrained_recon.recon.plane import pick_device, reconstruct
from untrained_recon.study.folding import Folded, folded_name
from untrained_recon.study.identity import claims_of
from untrained_recon.study.resolution import LowResolution
from untrained_recon.study.results import RESULTS, Key, ResultsFile, Row
from untrained_recon.study.scores import scores
from untrained_recon.study.trace import save_trace, traced
from untrained_recon.study.whiten import Prewhitened
from untrained_recon.types import ComplexArray, FloatArray, KSpace, Reconstruction

logger = logging.getLogger(__name__)


class Source(NamedTuple):
    """A file of fully sampled k-space, and how it is looked at, see :class:`untrained_recon.study.evaluate.Plan`."""

    path: Path
    resolution: int = 0
    prewhiten: bool = False
    share: float = 1.0

    @property
    def name(self) -> str:
        """Of the volume."""
        return folded_name(self.path.stem, self.share)

    @contextmanager
    def opened(self) -> Iterator[Volume]:
        """The volume: prewhitened, at its resolution, with a share of its field of view. Raises ReconError if it cannot be read."""
        with open_volume(self.path) as full:
            volume = Prewhitened(full) if self.prewhiten else full
            volume = LowResolution(volume, self.resolution) if self.resolution else volume
            yield volume if self.share == 1 else Folded(volume, self.share)

    def key(self, item: int = -1) -> Key:
        """Of the row that says why an image, or the whole file, cannot be read."""
        return Key(self.name, item, "", "", "")


@dataclass(frozen=True)
class Case:
    """What is to be scored.

    Attributes:
        folder: Of the evaluation.
        source: The file.
        item: Number of the image in it.
        sampling: How it is undersampled.
        method: Name of the method.
        config: Its settings.
        trace: Keep its quality against time as well.
        again: Score it even if that is done.
    """

    folder: Path
    source: Source
    item: int
    sampling: Sampling
    method: str
    config: Config
    trace: bool = False
    again: bool = False

    @cached_property
    def key(self) -> Key:
        """Of its row."""
        return Key(self.source.name, self.item, self.sampling.label, self.method, self.config.digest())

    @property
    def lock(self) -> str:
        """Name of the lock of whoever scores it."""
        return hashlib.blake2b(repr(self.key).encode(), digest_size=12).hexdigest()

    @property
    def is_free(self) -> bool:
        """Whether nobody scores it."""
        return claims_of(self.folder).is_free(self.lock)

    def is_done(self, results: ResultsFile) -> bool:
        """Whether there is a row that needs not be made again."""
        row = results.get(self.key)
        there = row is not None and not row.error and not self.again
        return there and (not self.trace or (self.folder / self.key.trace_path).exists())

    def __str__(self) -> str:
        return f"{self.source.name}, image {self.item}, {self.sampling.label}, {self.method}"


class Scored(NamedTuple):
    """A row, and whether it was made now."""

    row: Row
    fresh: bool


class Scorer:
    """Scores cases of a folder one after the other; the last image stays at hand for the next case. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._results = ResultsFile(folder / RESULTS)
        self._open = ExitStack()
        self._volume: tuple[Source, Volume] | None = None
        self._image: tuple[Source, int, ComplexArray, FloatArray] | None = None

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def score(self, case: Case, device: torch.device) -> Scored | None:
        """The row of a case, which is in the results when this returns; a failure is a row, too.

        Returns:
            None where another process scores it.

        Raises:
            RawFileError: The results cannot be written.
        """
        if (claim := claims_of(self._folder).attempt(case.lock)) is None:
            return None
        with claim:
            if case.is_done(self._results) and (known := self._results.get(case.key)) is not None:
                return Scored(known, False)
            row = self._row(case, device)
            self._results.append(row)
        return Scored(row, True)

    def _row(self, case: Case, device: torch.device) -> Row:
        source, key = case.source, case.key
        try:
            volume = self._opened(source)
        except ReconError as error:
            logger.exception("%s cannot be evaluated", source.path)
            return failure(source.key(), error)
        try:
            ksp, reference = self._read(source, volume, case.item)
        except ReconError as error:
            logger.exception("%s, image %d cannot be read", source.path, case.item)
            return failure(source.key(case.item), error)
        _save(self._folder / key.truth_path, reference)
        try:
            data = sample(ksp, case.sampling.lines(ksp.shape[1], volume.name), volume, case.item)
            recon = _reconstruct(case, data, device, reference)
            values = scores(recon.magnitude, reference)
        except (ReconError, ValueError, RuntimeError) as error:  # an empty image has no scores; a library gave up
            logger.exception("%s, image %d, %s, %s", source.path, case.item, case.sampling.label, case.method)
            return failure(key, error)
        _save(self._folder / key.image_path, recon.magnitude)
        return Row(key, data.acceleration, recon.account.seconds, recon.account.iterations, "", values)

    def _opened(self, source: Source) -> Volume:
        if self._volume is None or self._volume[0] != source:
            self._open.close()
            self._volume = None
            self._volume = source, self._open.enter_context(source.opened())
        return self._volume[1]

    def _read(self, source: Source, volume: Volume, item: int) -> tuple[ComplexArray, FloatArray]:
        if self._image is None or self._image[:2] != (source, item):
            self._image = None
            ksp = volume[item]
            self._image = source, item, ksp, rss_image(ksp, volume.encoding)
        return self._image[2:]


def score(case: Case, device: str) -> Scored | None:
    """What a worker does, see :meth:`Scorer.score`."""
    with Scorer(case.folder) as scorer:
        return scorer.score(case, pick_device(device or "auto"))


def failure(key: Key, error: Exception) -> Row:
    """The row of what could not be scored."""
    return Row(key, math.nan, math.nan, 0, f"{type(error).__name__}: {error}", {})


def _reconstruct(case: Case, data: KSpace, device: torch.device, reference: FloatArray) -> Reconstruction:
    if case.trace:
        recon, points = traced(data, case.config, device, reference)
        save_trace(case.folder / case.key.trace_path, points)
    else:
        recon = reconstruct(data, case.config, device)
    if recon.account.fallback_reason:
        raise FitError(recon.account.fallback_reason)  # another method's image would be scored under this one's name
    return recon


def _save(path: Path, img: FloatArray) -> None:
    make_folder(path.parent)
    write_array(path, img)
