"""ConvDecoder."""

import torch
from torch import nn

from untrained_recon.networks.generator import Distribution, ImageGenerator, batch_norm, conv, layer_sizes, random_input


class ConvDecoder(ImageGenerator):
    """ConvDecoder (Darestani & Heckel, section 4): a fixed random input, then layers of nearest upsampling, 3×3 convolution,
    ReLU and batch normalisation, and a final 1×1 convolution.

    Args:
        out_channels: Real output channels, two per complex image.
        out_size: Output matrix ``(y, x)``.
        in_size: Matrix ``(y, x)`` of the fixed input.
        layers: Number of layers, the final 1×1 convolution included and the extra layer not.
        channels: Channels of the input and of every hidden layer.
        generator: Source of the initial weights and of the input.
        extra_layer: Put another 3×3 convolution, ReLU and batch normalisation before the final convolution. The paper does not
            have it, its authors' code does.
        distribution: Distribution of the fixed input.
    """

    def __init__(
        self,
        out_channels: int,
        out_size: tuple[int, int],
        *,
        in_size: tuple[int, int],
        layers: int,
        channels: int,
        generator: torch.Generator,
        extra_layer: bool = False,
        distribution: Distribution = "normal",
    ) -> None:
        def convolve() -> list[nn.Module]:
            return [conv(channels, channels, 3, generator), nn.ReLU(), batch_norm(channels)]

        hidden = [
            nn.Sequential(nn.Upsample(size=size, mode="nearest"), *convolve()) for size in layer_sizes(in_size, out_size, layers)
        ]
        if extra_layer:
            hidden.append(nn.Sequential(*convolve()))
        head = conv(channels, out_channels, 1, generator)
        super().__init__([*hidden, head], random_input(channels, in_size, distribution, generator))
