"""Locks in a folder of results, by which several processes share the work on it, on one machine or several."""

import fcntl
import time
from pathlib import Path
from typing import BinaryIO

from untrained_recon.errors import RawFileError
from untrained_recon.output import make_folder
from untrained_recon.workers.share import POLL_S


class Claims:
    """Locks by names; one for each thing that only one process may do at a time.

    A lock is one of the file system (``flock``): it ends where the file that is returned is closed, and with its process, however
    that ends. So there is nothing stale to be cleaned up. The files stay.

    Args:
        folder: Where they are; made with the first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def attempt(self, name: str) -> BinaryIO | None:
        """The lock of a name; None where another process has it, here or on another machine.

        Raises:
            RawFileError: The file system has no locks, or cannot be written.
        """
        path = self.folder / f"{name}.lock"
        make_folder(self.folder)
        try:
            file = path.open("ab")
        except OSError as error:
            raise RawFileError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError as error:
            file.close()
            raise RawFileError(f"{path}: cannot be locked ({error.strerror}); write to a file system with locks") from error
        return file

    def take(self, name: str) -> BinaryIO:
        """As :meth:`attempt`, once it is free: for what takes a moment."""
        while (claim := self.attempt(name)) is None:
            time.sleep(POLL_S / 10)
        return claim

    def is_free(self, name: str) -> bool:
        """Whether nobody has it."""
        claim = self.attempt(name)
        if claim is not None:
            claim.close()
        return claim is not None
