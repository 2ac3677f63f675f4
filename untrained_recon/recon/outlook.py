"""What memory the images of a scan take, said before the first of them is begun."""

import logging
from typing import NamedTuple

import torch

from untrained_recon.config import Config
from untrained_recon.memory import gib
from untrained_recon.recon.demand import available, fit_demand, image_demand
from untrained_recon.sampled import plane_shape
from untrained_recon.types import KSpace

logger = logging.getLogger(__name__)


class Outlook(NamedTuple):
    """What images of a size take.

    Attributes:
        text: For people.
        fits: Whether there is memory for a fit, be it used sparingly; not where that is not known.
    """

    text: str
    fits: bool

    @classmethod
    def of(cls, config: Config, n_coils: int, shape: tuple[int, int], device: torch.device) -> "Outlook":
        """Arguments as :func:`~untrained_recon.recon.demand.image_demand`."""
        try:
            needed, free = image_demand(config, n_coils, shape, device), available(device)
            scarce = needed > free and config.recon.method == "network"
            least = fit_demand(config, n_coils, shape, device).least if scarce else 0
        except Exception as error:  # whatever a failing device raises; the images will tell
            return cls(f"what memory images take on {device} is not known: {error}", False)
        what = f"images of {shape[0]} x {shape[1]} (y, x) with {n_coils} coils"
        text = f"{what} take about {gib(needed)} of memory each; {gib(free)} are free on {device}"
        if least > free:
            lack = f"a fit needs {gib(least)} at least, and conventional images come instead; fewer network.channels need less"
            return cls(f"{text}: {lack}", False)
        if config.compute.at_once > 1:
            text += f", {min(config.compute.at_once, max(1, free // needed))} are made side by side"
        return cls(text, True)


class Herald:
    """Tells the log what memory the images of a scan take, once for every size, before the first of them is begun.

    Args:
        device: Where they are to be made.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._told: set[tuple[int, tuple[int, int]]] = set()

    def tell(self, data: KSpace, config: Config) -> None:
        """Before an image is made; what is sampled whole takes no fit."""
        size = len(data.ksp), plane_shape(data.mask)
        if size in self._told or data.mask.all():
            return
        self._told.add(size)
        outlook = Outlook.of(config, *size, self._device)
        logger.log(logging.INFO if outlook.fits else logging.WARNING, "%s", outlook.text)
