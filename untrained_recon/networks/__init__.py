"""Un-trained networks: image generators whose weights are fitted to the measurement of one image. And a trained one to compare."""

import torch

from untrained_recon.config import NetworkConfig
from untrained_recon.networks.conv_decoder import ConvDecoder
from untrained_recon.networks.deep_decoder import DeepDecoder
from untrained_recon.networks.deep_image_prior import DeepImagePrior
from untrained_recon.networks.generator import ImageGenerator, layer_sizes, to_complex

__all__ = ["ConvDecoder", "DeepDecoder", "DeepImagePrior", "ImageGenerator", "build_network", "layer_sizes", "to_complex"]


def build_network(
    settings: NetworkConfig, out_channels: int, out_size: tuple[int, int], generator: torch.Generator
) -> ImageGenerator:
    """The network that the settings name.

    Args:
        settings: Kind and dimensions.
        out_channels: Real output channels, two per complex image.
        out_size: Output matrix ``(y, x)``.
        generator: Source of the initial weights and of the input.
    """
    if settings.kind == "dip":
        return DeepImagePrior(
            out_channels,
            out_size,
            layers=settings.layers,
            channels=settings.channels,
            skips=settings.skips,
            generator=generator,
            distribution=settings.input,
        )
    decoder = ConvDecoder if settings.kind == "convdecoder" else DeepDecoder
    in_y, in_x = settings.in_size
    return decoder(
        out_channels,
        out_size,
        in_size=(in_y, in_x),
        layers=settings.layers,
        channels=settings.channels,
        generator=generator,
        extra_layer=settings.extra_layer,
        distribution=settings.input,
    )
