"""Arrays that take long to make: each is made once, by one process, here or elsewhere, and kept in a file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from untrained_recon.output import make_folder, write_array
from untrained_recon.recon.plane import pick_device
from untrained_recon.study.identity import claims_of
from untrained_recon.workers.share import Engine, one_by_one, share_out


@dataclass(frozen=True)
class Kept:
    """An array and its file.

    Attributes:
        path: The file.
        make: Makes it on a device; for workers of other processes a function that they find by its name, or a ``partial`` of one.
    """

    path: Path
    make: Callable[[torch.device], npt.NDArray[Any]]

    @property
    def is_free(self) -> bool:
        """Whether nobody makes it."""
        return claims_of(self.path.parent).is_free(self.path.name)

    def load(self) -> npt.NDArray[Any]:
        """The array, once it was made."""
        array: npt.NDArray[Any] = np.load(self.path)
        return array

    def __str__(self) -> str:
        return self.path.name


def keep(
    arrays: Sequence[Kept], device: torch.device, engine: Engine | None = None, count: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Have made what is not there yet.

    Args:
        arrays: What is wanted.
        device: Where to compute.
        engine: Workers that compute instead of this process and its device.
        count: Told how many are there, of how many.

    Raises:
        Exception: Whatever the first one raised that could not be made.
    """
    todo = [kept for kept in arrays if not kept.path.exists()]
    count(done := len(arrays) - len(todo), len(arrays))
    for folder in {kept.path.parent for kept in todo}:
        make_folder(folder)
    if engine is None:
        found = one_by_one(lambda kept: _kept(kept, device), todo, lambda kept: kept.is_free)
    else:
        found = share_out(engine, on_worker, todo, lambda kept: kept.is_free)
    for _, result in found if todo else ():
        if isinstance(result, Exception):
            raise result
        count(done := done + 1, len(arrays))


def on_worker(kept: Kept, device: str) -> bool | None:
    """What a worker does."""
    return _kept(kept, pick_device(device or "auto"))


def _kept(kept: Kept, device: torch.device) -> bool | None:
    if (claim := claims_of(kept.path.parent).attempt(kept.path.name)) is None:
        return None
    with claim:
        if not kept.path.exists():
            write_array(kept.path, kept.make(device))
    return True
