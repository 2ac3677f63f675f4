"""A whole scan: settings from the host's properties, then image after image, knowing nothing of the host itself."""

import logging
from collections.abc import Iterable, Iterator, Mapping

import ismrmrd
import torch

from untrained_recon.assemble import assemble
from untrained_recon.config import Config, load_config
from untrained_recon.images import expected_series, to_image
from untrained_recon.pipeline import default_preset, pick_device, reconstruct
from untrained_recon.progress import fit_logger
from untrained_recon.types import Header, KSpace

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


def reconstruct_acquisitions(
    acquisitions: Iterable[ismrmrd.Acquisition], header: Header, properties: Mapping[str, str]
) -> Iterator[ismrmrd.Image]:
    """Acquisitions in, images out, each as soon as it is ready. Raises ReconError subclasses on bad input."""
    config, device = resolve(properties)
    logger.info("configuration %s (%s) on %s", config.name, config.hash, device)
    yield from reconstruct_images(assemble(acquisitions, header, config.scan), header, config, device)


def reconstruct_images(scan: Iterable[KSpace], header: Header, config: Config, device: torch.device) -> Iterator[ismrmrd.Image]:
    """Reconstruct the k-space of one image after the other into ISMRMRD images."""
    for data in scan:
        recon = reconstruct(data, config, device, fit_logger(str(data.index)))
        logger.info("%s: %s, %d iterations, %.1f s", data.index, recon.method, recon.iterations, recon.seconds)
        for kind in expected_series(config):
            yield to_image(kind, recon, data, header, config)
