"""A whole scan: settings from the host's properties, then image after image, knowing nothing of the host itself."""

import contextvars
import logging
import math
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import NamedTuple

import ismrmrd
import torch

from untrained_recon.config import Config, EvidenceConfig
from untrained_recon.config.callers import of_host
from untrained_recon.encoding import Encoding
from untrained_recon.errors import HostGoneError, ServiceStoppedError
from untrained_recon.failures import Failures
from untrained_recon.logs import SCAN
from untrained_recon.recon.plane import pick_device
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.images import to_images
from untrained_recon.scan.series import SERIES
from untrained_recon.scan.soundness import sound
from untrained_recon.serving.jobs import Jobs
from untrained_recon.serving.ledger import Ledger
from untrained_recon.serving.memory import Account, Budget
from untrained_recon.serving.rules import Rules
from untrained_recon.serving.shares import Shares
from untrained_recon.types import KSpace, Reconstruction

logger = logging.getLogger(__name__)

PENDING_BYTES = 4 << 30


def resolve(properties: Mapping[str, str], rules: Rules | None = None) -> tuple[Config, torch.device]:
    """Configuration and device from a host's properties.

    Args:
        properties: See :func:`untrained_recon.config.callers.of_host`.
        rules: What a service allows; None allows everything.

    Raises:
        ConfigError: A setting is wrong, or a device is not there.
    """
    config = of_host(properties) if rules is None else rules.load(properties)
    return config, pick_device(config.device)


class Session:
    """One scan: its header, its settings, and its images on their way through the fits.

    Receiving goes on while fits run: a thread takes the scan's data and hands complete images in, up to ``PENDING_BYTES`` ahead.

    Args:
        header_xml: The ISMRMRD header as it arrived.
        properties: See :func:`resolve`.
        account: Takes note of the memory that the scan takes; None for no limit.
        rules: See :func:`resolve`.

    Attributes:
        name: The scan's id, that of the log's context where there is one.
        totals: Images, fallbacks and iterations so far, seconds that images were fitted and that they waited.

    Raises:
        ConfigError, HeaderError, UnsupportedScanError, ScanTooLargeError: Before any data are taken.
    """

    def __init__(
        self, header_xml: bytes, properties: Mapping[str, str], account: Account | None = None, rules: Rules | None = None
    ) -> None:
        self.config, self.device = resolve(properties, rules)
        self.header = parse_header(header_xml)
        self.name = SCAN.get() or uuid.uuid4().hex[:8]
        self._account = account or Budget().account()
        self._ledger = Ledger(self.header, self.config.scan, self._account)
        self._abandoned = False
        self.totals: dict[str, int | float] = {
            "images": 0,
            "fallbacks": 0,
            "iterations": 0,
            "fit_seconds": 0.0,
            "wait_seconds": 0.0,
        }
        announced = sum(self._announced(encoding) for encoding in self.header.encodings)
        self._shares = Shares(self.config.scan.time_budget_s or math.inf, announced)
        for remark in self.header.remarks:
            logger.info("scan %s: %s", self.name, remark)
        logger.info("scan %s: configuration %s (%s) on %s", self.name, self.config.name, self.config.hash, self.device)

    def assemble(self, batches: Iterable[Iterable[ismrmrd.Acquisition]], cut_before: bool = False) -> Iterator[KSpace]:
        """Acquisitions → the k-space of image after image, see :func:`untrained_recon.scan.assemble.assemble`."""
        return self._ledger.leaving(assemble(self._ledger.entering(batches), self.header, self.config.scan, cut_before))

    def expect(self, encoding: int, n_coils: int) -> None:
        """Plan the memory for images that do not come by way of :meth:`assemble`. Raises ScanTooLargeError."""
        self._ledger.expect(encoding, n_coils)

    def abandon(self, jobs: Jobs) -> None:
        """Give the scan up, as its host has left: what runs is stopped, what waits or comes is not begun. From any thread."""
        self._abandoned = True
        jobs.cancel(self.name)

    def images(
        self, scan: Iterable[KSpace], kinds: Sequence[str], jobs: Jobs, failed: Callable[[Exception], None] = lambda _: None
    ) -> Generator[ismrmrd.Image, None, None]:
        """Reconstruct image after image and yield the ISMRMRD images of each as soon as they are ready, in order.

        What goes wrong in ``scan`` is raised after the images that were complete before it. Of samples that no image can be made
        of none is made, see :mod:`untrained_recon.scan.soundness`; an image that fails is named after the others.

        Args:
            scan: The images' k-space, as it becomes complete; consumed to its end in a thread of its own.
            kinds: Which images to make of each, see :data:`untrained_recon.scan.series.SERIES`; a map that cannot be made
                is left out.
            jobs: Who reconstructs.
            failed: Told at once of what will be raised when the scan has been consumed.
        """
        config = self.config
        if not any(SERIES[kind].evidence for kind in kinds) and config.evidence != EvidenceConfig():
            logger.warning("scan %s: maps of spread and noise leave as images only, not in image arrays; none are made", self.name)
            config = config.model_copy(update={"evidence": EvidenceConfig()})
        feeder = _Feeder(sound(scan), lambda data: self._submit(data, config, jobs), self._account)
        feeder.start()
        failures = Failures()
        try:
            with failures.collecting():
                for data, job, submitted, share in feeder.submitted():
                    try:
                        recon = job.result()
                    except (CancelledError, ServiceStoppedError):
                        raise
                    except Exception as error:  # whatever it is, it costs this image alone
                        failures.add(data.index, error)
                        continue
                    finally:
                        feeder.release(data)
                    self._shares.done(share, recon.account.seconds)
                    self._count(recon, time.monotonic() - submitted)
                    done = recon.account
                    logger.info("%s: %s, %d iterations, %.1f s", data.index, done.method, done.iterations, done.seconds)
                    for caution in recon.cautions:
                        logger.warning("%s: %s: %s", data.index, caution.code, caution)
                    yield from to_images(kinds, recon, data, self.header, self.config)
        except CancelledError as error:
            failed(gone := HostGoneError("the host left before its images were made"))
            raise gone from error
        except Exception as error:
            failed(error)
            raise
        finally:
            feeder.stop()
            jobs.cancel(self.name)
            feeder.join()

    def _submit(self, data: KSpace, config: Config, jobs: Jobs) -> "_Submitted":
        if self._abandoned:
            raise HostGoneError("the host left before its images were made")
        share = self._shares.next()
        return _Submitted(data, jobs.submit(self.name, data, config, share), time.monotonic(), share)

    def _announced(self, encoding: Encoding) -> int:
        """Images of an encoding space by the header's limits."""
        return math.prod(encoding.counts._replace(average=1) if self.config.scan.average else encoding.counts)

    def _count(self, recon: Reconstruction, seconds: float) -> None:
        self.totals["images"] += 1
        self.totals["fallbacks"] += bool(recon.account.fallback_reason)
        self.totals["iterations"] += recon.account.iterations
        self.totals["fit_seconds"] += recon.account.seconds
        self.totals["wait_seconds"] += max(0.0, seconds - recon.account.seconds)


class _Submitted(NamedTuple):
    """An image on its way: its k-space, what becomes of it, when it was submitted, and with how many seconds."""

    data: KSpace
    job: "Future[Reconstruction]"
    submitted: float
    share: float


class _Feeder(threading.Thread):
    """Consumes a scan and submits its images, never more than ``PENDING_BYTES`` and its memory ahead of what was released."""

    def __init__(self, scan: Iterable[KSpace], submit: Callable[[KSpace], _Submitted], account: Account) -> None:
        super().__init__(name="feeder", daemon=True)
        self._scan, self._submit, self._account = scan, submit, account
        self._context = contextvars.copy_context()
        self._queue: queue.Queue[_Submitted | Exception | None] = queue.Queue()
        self._room = threading.Condition()
        self._pending = 0
        self._taken: deque[int] = deque()  # in the account, of each image that is pending
        self._stopped = False

    def run(self) -> None:
        self._context.run(self._feed)

    def _feed(self) -> None:
        try:
            for data in self._scan:
                if self._acquire(data):
                    self._queue.put(self._submit(data))
            self._queue.put(None)
        except Exception as error:  # raised where the images are taken
            self._queue.put(error)

    def submitted(self) -> Iterator[_Submitted]:
        """Images in their order; raises what the scan raised, in its place."""
        while (item := self._queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def release(self, data: KSpace) -> None:
        size = self._taken.popleft()
        self._account.give(size)
        with self._room:
            self._pending -= _size(data)
            self._room.notify()

    def stop(self) -> None:
        """Go on consuming the scan, so that its host is not held up, but submit no more."""
        with self._room:
            self._stopped = True
            self._room.notify()

    def _acquire(self, data: KSpace) -> bool:
        """Wait until there is room. The first image ahead always has: its memory was planned."""
        size = _size(data)
        with self._room:
            self._room.wait_for(lambda: self._stopped or self._pending == 0 or self._has_room(size))
            if self._pending == 0:
                self._taken.append(0)
            self._pending += size
            return not self._stopped

    def _has_room(self, size: int) -> bool:
        enough = self._pending + size <= PENDING_BYTES and self._account.try_take(size)
        if enough:
            self._taken.append(size)
        return enough


def _size(data: KSpace) -> int:
    return data.ksp.nbytes + (0 if data.calib is data.ksp else data.calib.nbytes)
