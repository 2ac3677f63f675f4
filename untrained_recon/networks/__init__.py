"""Un-trained networks: image generators whose weights are fitted to the measurement of one image. And a trained one to compare."""

import torch

from untrained_recon.compute import precision
from untrained_recon.config import ComputeConfig
from untrained_recon.kinds import KINDS, NetworkConfig
from untrained_recon.networks.conv_decoder import ConvDecoder
from untrained_recon.networks.deep_decoder import DeepDecoder
from untrained_recon.networks.deep_image_prior import DeepImagePrior
from untrained_recon.networks.fused import FusedConvDecoder
from untrained_recon.networks.generator import ImageGenerator, layer_sizes, to_complex

__all__ = [
    "ConvDecoder",
    "DeepDecoder",
    "DeepImagePrior",
    "FusedConvDecoder",
    "ImageGenerator",
    "build_network",
    "layer_sizes",
    "to_complex",
]


CPU = torch.device("cpu")
FLOAT32 = ComputeConfig(precision="float32")
COMPILE_MODE = {"default": "default", "cuda-graphs": "reduce-overhead"}


def build_network(
    settings: NetworkConfig,
    out_channels: int,
    out_size: tuple[int, int],
    generator: torch.Generator,
    compute: ComputeConfig = FLOAT32,
    device: torch.device = CPU,
) -> ImageGenerator:
    """The network that the settings name, ready to be fitted.

    Args:
        settings: Kind and dimensions.
        out_channels: Real output channels, two per complex image.
        out_size: Output matrix ``(y, x)``.
        generator: Source of the initial weights and of the input.
        compute: How it is to be computed.
        device: Where.
    """
    build = KINDS[settings.kind].builder()
    network: ImageGenerator = build(settings, out_channels, out_size, generator, compute.path == "fast").to(device)
    if compute.path == "plain":
        return network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.bf16 = precision(compute, device) == "bf16"
    network.recorded = compute.graphs and compute.compile == "none" and device.type == "cuda"
    if compute.compile != "none":
        network.compile(mode=COMPILE_MODE[compute.compile])
    return network
