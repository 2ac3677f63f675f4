"""A whole scan: settings from the host's properties, then image after image, knowing nothing of the host itself."""

import logging
import math
import queue
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import TypeAlias

import ismrmrd
import torch

from untrained_recon.assemble import assemble
from untrained_recon.config import DEFAULT_PRESET, Config, EvidenceConfig, load_config
from untrained_recon.errors import ServiceStoppedError
from untrained_recon.failures import Failures
from untrained_recon.header import parse_header
from untrained_recon.images import MAPS, pixels_of, to_image
from untrained_recon.jobs import Jobs
from untrained_recon.pipeline import pick_device
from untrained_recon.soundness import sound
from untrained_recon.types import Encoding, KSpace, Reconstruction

logger = logging.getLogger(__name__)

PENDING_BYTES = 4 << 30


def resolve(properties: Mapping[str, str]) -> tuple[Config, torch.device]:
    """Configuration and device from a host's properties.

    Args:
        properties: ``config`` names a preset or a YAML file (without it: ``DEFAULT_PRESET``); every other key is a dotted path of
            the configuration, its value in YAML notation.

    Raises:
        ConfigError: See :func:`untrained_recon.config.load_config`; also a device that is not there.
    """
    overrides = dict(properties)
    config = load_config(overrides.pop("config", "") or DEFAULT_PRESET, overrides)
    return config, pick_device(config.device)


class Session:
    """One scan: its header, its settings, and its images on their way through the fits.

    Receiving goes on while fits run: a thread takes the scan's data and hands complete images in, up to ``PENDING_BYTES`` ahead.

    Args:
        header_xml: The ISMRMRD header as it arrived.
        properties: See :func:`resolve`.

    Attributes:
        totals: Images, fallbacks and iterations so far, seconds that images were fitted and that they waited.

    Raises:
        ConfigError, HeaderError, UnsupportedScanError: Before any data are taken.
    """

    def __init__(self, header_xml: bytes, properties: Mapping[str, str]) -> None:
        self.config, self.device = resolve(properties)
        self.header = parse_header(header_xml)
        self.name = uuid.uuid4().hex[:8]
        self._seconds_left = self.config.scan.time_budget_s or math.inf
        self.totals: dict[str, int | float] = {
            "images": 0,
            "fallbacks": 0,
            "iterations": 0,
            "fit_seconds": 0.0,
            "wait_seconds": 0.0,
        }
        self._images_left = sum(self._announced(encoding) for encoding in self.header.encodings)
        for remark in self.header.remarks:
            logger.info("scan %s: %s", self.name, remark)
        logger.info("scan %s: configuration %s (%s) on %s", self.name, self.config.name, self.config.hash, self.device)

    def assemble(self, batches: Iterable[Iterable[ismrmrd.Acquisition]], cut_before: bool = False) -> Iterator[KSpace]:
        """Acquisitions → the k-space of image after image, see :func:`untrained_recon.assemble.assemble`."""
        return assemble(batches, self.header, self.config.scan, cut_before)

    def images(self, scan: Iterable[KSpace], kinds: Sequence[str], jobs: Jobs) -> Generator[ismrmrd.Image, None, None]:
        """Reconstruct image after image and yield the ISMRMRD images of each as soon as they are ready, in order.

        What goes wrong in ``scan`` is raised after the images that were complete before it. Of samples that no image can be made
        of none is made, see :mod:`untrained_recon.soundness`; an image that fails is named after the others.

        Args:
            scan: The images' k-space, as it becomes complete; consumed to its end in a thread of its own.
            kinds: Which images to make of each, see :data:`untrained_recon.images.SERIES`; a map that cannot be made is left out.
            jobs: Who reconstructs.
        """
        config = self.config
        if not set(kinds) & set(MAPS) and config.evidence != EvidenceConfig():
            logger.warning("scan %s: maps of spread and noise leave as images only, not in image arrays; none are made", self.name)
            config = config.model_copy(update={"evidence": EvidenceConfig()})
        feeder = _Feeder(sound(scan), lambda data: jobs.submit(self.name, data, config, self._share()))
        feeder.start()
        failures = Failures()
        try:
            with failures.collecting():
                for data, job, submitted in feeder.submitted():
                    try:
                        recon = job.result()
                    except (CancelledError, ServiceStoppedError):
                        raise
                    except Exception as error:  # whatever it is, it costs this image alone
                        failures.add(data.index, error)
                        continue
                    finally:
                        feeder.release(data)
                    self._count(recon, time.monotonic() - submitted)
                    logger.info("%s: %s, %d iterations, %.1f s", data.index, recon.method, recon.iterations, recon.seconds)
                    for caution in recon.cautions:
                        logger.warning("%s: %s: %s", data.index, caution.code, caution)
                    for kind in kinds:
                        if pixels_of(kind, recon) is not None:
                            yield to_image(kind, recon, data, self.header, self.config)
        finally:
            feeder.stop()
            jobs.cancel(self.name)
            feeder.join()

    def _announced(self, encoding: Encoding) -> int:
        """Images of an encoding space by the header's limits."""
        return math.prod(encoding.counts._replace(average=1) if self.config.scan.average else encoding.counts)

    def _count(self, recon: Reconstruction, seconds: float) -> None:
        self.totals["images"] += 1
        self.totals["fallbacks"] += bool(recon.fallback_reason)
        self.totals["iterations"] += recon.iterations
        self.totals["fit_seconds"] += recon.seconds
        self.totals["wait_seconds"] += max(0.0, seconds - recon.seconds)

    def _share(self) -> float:
        """Seconds for the next image, by the header's limits, which may promise too few; all shares together keep the budget."""
        if math.isinf(self._seconds_left):
            return math.inf
        share = self._seconds_left / max(1, self._images_left)
        self._seconds_left -= share
        self._images_left -= 1
        return share


_Submitted: TypeAlias = "tuple[KSpace, Future[Reconstruction], float]"


class _Feeder(threading.Thread):
    """Consumes a scan and submits its images, never more than ``PENDING_BYTES`` ahead of what was released."""

    def __init__(self, scan: Iterable[KSpace], submit: Callable[[KSpace], "Future[Reconstruction]"]) -> None:
        super().__init__(name="feeder", daemon=True)
        self._scan, self._submit = scan, submit
        self._queue: queue.Queue[_Submitted | Exception | None] = queue.Queue()
        self._room = threading.Condition()
        self._pending = 0
        self._stopped = False

    def run(self) -> None:
        try:
            for data in self._scan:
                if self._acquire(data):
                    self._queue.put((data, self._submit(data), time.monotonic()))
            self._queue.put(None)
        except Exception as error:  # raised where the images are taken
            self._queue.put(error)

    def submitted(self) -> "Iterator[_Submitted]":
        """Images in their order, with the time at which they were submitted; raises what the scan raised, in its place."""
        while (item := self._queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def release(self, data: KSpace) -> None:
        with self._room:
            self._pending -= data.ksp.nbytes
            self._room.notify()

    def stop(self) -> None:
        """Go on consuming the scan, so that its host is not held up, but submit no more."""
        with self._room:
            self._stopped = True
            self._room.notify()

    def _acquire(self, data: KSpace) -> bool:
        size = data.ksp.nbytes
        with self._room:
            self._room.wait_for(lambda: self._stopped or self._pending == 0 or self._pending + size <= PENDING_BYTES)
            self._pending += size
            return not self._stopped
