"""Memory for scans, planned before it is taken: a budget that scans share, and an account for each."""

import math
import threading
from types import TracebackType

from untrained_recon.encoding import Encoding
from untrained_recon.errors import ScanTooLargeError, ServiceBusyError
from untrained_recon.memory import gib, usable_memory

PATIENCE_S = 60.0
SAMPLE_BYTES = 8
WORKING_COPIES = 6
"""Of one image's samples while they are put on the grid, whitened, cropped and handed to a worker."""

SHARE_OF_ALL, SHARE_OF_A_SCAN = 0.4, 0.5


class Budget:
    """What all scans together may take, and each of them.

    Args:
        total: Bytes.
        scan: Bytes of one scan.
    """

    def __init__(self, total: float = math.inf, scan: float = math.inf) -> None:
        self.total, self.scan = total, min(scan, total)
        self.taken = 0
        self.change = threading.Condition()

    def account(self) -> "Account":
        """For a scan."""
        return Account(self)


class Account:
    """What one scan has taken; leaving the context gives it back."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._taken = 0
        self._closed = False

    def __enter__(self) -> "Account":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.give(self._taken)
        self._closed = True

    @property
    def limit(self) -> float:
        """Bytes that the scan may take."""
        return self._budget.scan

    def take(self, nbytes: int, what: str) -> None:
        """Note that so much memory is about to be taken; waits a while where other scans have it.

        Args:
            nbytes: Bytes.
            what: For whom, for the message.

        Raises:
            ScanTooLargeError: More than a scan may take.
            ServiceBusyError: Others did not give it back in time.
        """
        if self._taken + nbytes > self._budget.scan:
            raise ScanTooLargeError(
                f"{what} would bring the scan to {gib(self._taken + nbytes)} of memory; a scan may take {gib(self._budget.scan)} "
                "(serve --scan-memory)"
            )
        with self._budget.change:
            if not self._budget.change.wait_for(lambda: self._budget.taken + nbytes <= self._budget.total, PATIENCE_S):
                raise ServiceBusyError(
                    f"{what} needs {gib(nbytes)} of memory, and other scans have what the service may take "
                    f"({gib(self._budget.total)}, serve --memory); repeat this one later"
                )
            self._add(nbytes)

    def try_take(self, nbytes: int) -> bool:
        """Take memory if there is enough at once."""
        with self._budget.change:
            enough = self._taken + nbytes <= self._budget.scan and self._budget.taken + nbytes <= self._budget.total
            if enough:
                self._add(nbytes)
            return enough

    def give(self, nbytes: int) -> None:
        """Note that so much was given back."""
        with self._budget.change:
            self._add(-nbytes)
            self._budget.change.notify_all()

    def _add(self, nbytes: int) -> None:
        if not self._closed:
            self._taken += nbytes
            self._budget.taken += nbytes


def image_bytes(encoding: Encoding, n_coils: int) -> int:
    """Bytes that it takes at most to make the k-space of one image, by the counts of its header and its coils."""
    n_y, n_x = encoding.image_shape
    acquired = encoding.partitions * n_y * max(n_x, encoding.encoded_shape[1])
    delivered = encoding.recon_partitions * encoding.recon_shape[0] * encoding.recon_shape[1]
    return n_coils * max(acquired, delivered) * SAMPLE_BYTES * WORKING_COPIES


def describe_image(encoding: Encoding, n_coils: int) -> str:
    """The counts behind :func:`image_bytes`."""
    n_y, n_x = encoding.encoded_shape
    recon = " x ".join(str(n) for n in (encoding.recon_partitions, *encoding.recon_shape))
    return f"an image of {n_coils} coils, {encoding.partitions} x {n_y} x {n_x} encoded and {recon} delivered,"


def default_budget() -> tuple[int, int]:
    """Bytes for all scans and for one: shares of the memory that this process may use."""
    total = int(usable_memory() * SHARE_OF_ALL)
    return total, int(total * SHARE_OF_A_SCAN)
