"""A whole scan: settings from the host's properties, then image after image, knowing nothing of the host itself."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import ismrmrd
import torch

from untrained_recon.assemble import assemble
from untrained_recon.config import Config, load_config
from untrained_recon.header import parse_header
from untrained_recon.images import to_image
from untrained_recon.pipeline import default_preset, pick_device, reconstruct
from untrained_recon.progress import fit_logger
from untrained_recon.types import KSpace

logger = logging.getLogger(__name__)


def resolve(properties: Mapping[str, str]) -> tuple[Config, torch.device]:
    """Configuration and device from a host's properties.

    Args:
        properties: ``config`` names a preset or a YAML file (the default depends on the device); every other key is a dotted path
            of the configuration, its value in YAML notation.

    Raises:
        ConfigError: See :func:`untrained_recon.config.load_config`; also a device that is not there.
    """
    overrides = dict(properties)
    name = overrides.pop("config", "") or default_preset(pick_device("auto" if overrides.get("device") != "cpu" else "cpu"))
    config = load_config(name, overrides)
    return config, pick_device(config.device)


class Session:
    """One scan: its header and settings, and the time that is left for it.

    Args:
        header_xml: The ISMRMRD header as it arrived.
        properties: See :func:`resolve`.

    Raises:
        ConfigError, HeaderError, UnsupportedScanError: Before any data are taken.
    """

    def __init__(self, header_xml: bytes, properties: Mapping[str, str]) -> None:
        self.config, self.device = resolve(properties)
        self.header = parse_header(header_xml)
        self._seconds_left = self.config.scan.time_budget_s or math.inf
        self._images_left = sum(math.prod(encoding.counts) for encoding in self.header.encodings)
        logger.info("configuration %s (%s) on %s", self.config.name, self.config.hash, self.device)

    def assemble(self, batches: Iterable[Iterable[ismrmrd.Acquisition]]) -> Iterator[KSpace]:
        """Acquisitions → the k-space of image after image, see :func:`untrained_recon.assemble.assemble`."""
        return assemble(batches, self.header, self.config.scan)

    def images(self, scan: Iterable[KSpace], kinds: Sequence[str]) -> Iterator[ismrmrd.Image]:
        """Reconstruct image after image and yield the ISMRMRD images of each as soon as they are ready, in order.

        Args:
            scan: The images' k-space, as it becomes complete.
            kinds: Which images to make of each, see :data:`untrained_recon.images.SERIES`.
        """
        for data in scan:
            share = self._seconds_left / max(1, self._images_left)  # by the header's limits, which may promise too few
            recon = reconstruct(data, self.config, self.device, fit_logger(str(data.index)), share)
            self._seconds_left -= recon.seconds
            self._images_left -= 1
            logger.info("%s: %s, %d iterations, %.1f s", data.index, recon.method, recon.iterations, recon.seconds)
            for kind in kinds:
                yield to_image(kind, recon, data, self.header, self.config)
