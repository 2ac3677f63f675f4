"""Memory of an image, known before it is begun, and what is free for it.

Where memory runs out on a GPU, the fit is tried again with less; a CPU's operating system kills the process instead, and with it
whatever else it does. On both it is judged beforehand: a fit that needs too much is made sparingly, or not at all.
"""

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from untrained_recon.config import Config
from untrained_recon.errors import FitError
from untrained_recon.memory import free_memory, gib
from untrained_recon.physics.espirit import working_bytes as maps_bytes
from untrained_recon.physics.map_sets import AUTO_SETS
from untrained_recon.recon.networks import ImageGenerator, build_network
from untrained_recon.recon.networks.compute import precision
from untrained_recon.recon.refine.collaborative import working_bytes as filter_bytes
from untrained_recon.sampled import plane_shape
from untrained_recon.types import KSpace

logger = logging.getLogger(__name__)

WEIGHTS = 4  # copies: weights, gradients and the two moments of Adam
SAMPLES = 6  # likewise: measurement, target, prediction, residual, gradient, and a transform on its way
MAPS = 2  # likewise: as they are, and with the shifts of the transform
LIBRARIES = 1.5  # what convolutions take beside their results; measured 1.0 to 1.4 beyond the first BASE bytes
BASE = 64 << 20
SAMPLE_BYTES = 8


class Demand(NamedTuple):
    """Bytes that a fit takes: with all activations kept for the backward pass, and with those inside a layer computed twice."""

    usual: int
    least: int


def demand(network: ImageGenerator, oshape: Sequence[int]) -> Demand:
    """By what the layers of the network would put out.

    Args:
        network: Ready to be fitted.
        oshape: Of the forward model, ``(n_coils, n_y, n_x)``.
    """
    layers, inside = _outputs(network)
    kept = sum(inside)
    weights = sum(parameter.nbytes for parameter in network.parameters())
    samples = SAMPLE_BYTES * math.prod(oshape)
    common = WEIGHTS * weights + SAMPLES * samples + 2 * max(layers)
    usual, least = (int(BASE + LIBRARIES * (common + held)) for held in (kept, min(kept, sum(layers) + 2 * max(layers))))
    return Demand(usual, least)


def must_save(network: ImageGenerator, oshape: Sequence[int]) -> bool:
    """Whether the free memory suffices only if it is used sparingly; arguments as :func:`demand`.

    Raises:
        FitError: It does not suffice at all.
    """
    device = network.z.device
    needed, free = demand(network, oshape), available(device)
    logger.info("a fit takes about %s of memory, sparingly %s; %s are free on %s", *map(gib, (*needed, free)), device)
    if needed.least > free:
        raise FitError(
            f"the fit needs {gib(needed.least)} of memory, and {gib(free)} are free on {device}; fewer network.channels need less"
        )
    return needed.usual > free


def available(device: torch.device) -> int:
    """Bytes that could be taken on a device now, with what PyTorch keeps there for later."""
    if device.type != "cuda":
        return free_memory()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def image_demand(config: Config, n_coils: int, shape: tuple[int, int], device: torch.device) -> int:
    """Bytes that an image takes at its peak, which is that of its maps, of its fit or of its refinement.

    Args:
        config: Method and settings.
        n_coils: Coils, of which no more than ``config.maps.max_coils`` count.
        shape: Matrix ``(n_y, n_x)`` of the image, or of a plane of it.
        device: Where it is to be made.
    """
    n_coils, n_sets, _, _ = _counts(config, n_coils)
    stages = [0]
    if config.recon.mode == "maps":
        stages.append(maps_bytes(n_coils, shape, n_sets, device))
    if config.recon.method == "network":
        stages.append(fit_demand(config, n_coils, shape, device).usual)
    return max(replica_demand(config, n_coils, shape, device), BASE + _held(config, n_coils, shape) + max(stages))


def fit_demand(config: Config, n_coils: int, shape: tuple[int, int], device: torch.device) -> Demand:
    """:func:`demand` of the network of an image; arguments as :func:`image_demand`."""
    _, _, n_images, fitted = _counts(config, n_coils)
    network = build_network(config.network, 2 * n_images, shape, torch.Generator().manual_seed(0))
    network.bf16 = precision(config.compute, device) == "bf16"
    return demand(network, (fitted, *shape))


def replica_demand(config: Config, n_coils: int, shape: tuple[int, int], device: torch.device) -> int:
    """Bytes that a refinement of an image takes, with its samples and maps; arguments as :func:`image_demand`."""
    _, _, n_images, _ = _counts(config, n_coils)
    filtered = filter_bytes(2 * n_images, shape, device) if config.refine.iterations else 0
    return BASE + _held(config, n_coils, shape) + filtered


def _held(config: Config, n_coils: int, shape: tuple[int, int]) -> int:
    """Bytes of samples and maps."""
    n_coils, n_sets, _, _ = _counts(config, n_coils)
    copies = SAMPLES + MAPS * n_sets if config.recon.mode == "maps" else SAMPLES
    return copies * SAMPLE_BYTES * n_coils * math.prod(shape)


def _counts(config: Config, n_coils: int) -> tuple[int, int, int, int]:
    """Coils that count, sets of maps, and the images and coils of a fit."""
    n_coils = min(n_coils, config.maps.max_coils)
    n_sets = AUTO_SETS if config.maps.sets == "auto" else config.maps.sets
    images, coils = {"maps": (n_sets, n_coils), "coils": (n_coils, n_coils), "separate": (1, 1)}[config.recon.mode]
    return n_coils, n_sets, images, coils


def demand_of(data: KSpace, config: Config, device: torch.device) -> int:
    """:func:`image_demand` of k-space, ``(n_coils, n_y, n_x)`` or of a volume that is reconstructed plane by plane."""
    return image_demand(config, len(data.ksp), plane_shape(data.mask), device)


@torch.no_grad()
def _outputs(network: ImageGenerator) -> tuple[list[int], list[int]]:
    """Bytes that each layer puts out, and each of the operations that layers are made of."""
    layers: list[int] = []
    inside: list[int] = []

    def noting(found: list[int], module: nn.Module) -> RemovableHandle:
        def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            found.append(output.element_size() * math.prod(output.shape[1:]))

        return module.register_forward_hook(note)

    hooks = [noting(layers, layer) for layer in network.layers]
    hooks += [noting(inside, module) for module in network.modules() if not list(module.children())]
    try:
        network.rehearse()
    except Exception:  # a layer of somebody's own that cannot do without an image
        for found in (layers, inside):
            found.clear()
        network()
    finally:
        for hook in hooks:
            hook.remove()
    return layers, inside
