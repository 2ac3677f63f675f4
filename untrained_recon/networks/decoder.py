"""What ConvDecoder and Deep Decoder share."""

import torch
from torch import nn

from untrained_recon.kinds import NetworkConfig
from untrained_recon.networks.generator import Distribution, ImageGenerator, conv, layer_sizes, random_input


class Decoder(ImageGenerator):
    """A fixed random input, then layers that upsample step by step to the output matrix, and a final 1×1 convolution.

    Args:
        out_channels: Real output channels, two per complex image.
        out_size: Output matrix ``(y, x)``.
        in_size: Matrix ``(y, x)`` of the fixed input.
        layers: Number of layers, the final 1×1 convolution included and the extra layer not.
        channels: Channels of the input and of every hidden layer.
        generator: Source of the initial weights and of the input.
        extra_layer: Put another layer, without upsampling, before the final convolution. The paper does not have it, its authors'
            code does.
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
        hidden = [self.layer(channels, size, generator) for size in layer_sizes(in_size, out_size, layers)]
        if extra_layer:
            hidden.append(self.layer(channels, None, generator))
        head = conv(channels, out_channels, 1, generator)
        super().__init__([*hidden, head], random_input(channels, in_size, distribution, generator))

    @classmethod
    def of(cls, settings: NetworkConfig, out_channels: int, out_size: tuple[int, int], generator: torch.Generator) -> "Decoder":
        """The decoder of the settings; arguments as :data:`untrained_recon.kinds.Build`."""
        in_y, in_x = settings.in_size
        return cls(
            out_channels,
            out_size,
            in_size=(in_y, in_x),
            layers=settings.layers,
            channels=settings.channels,
            generator=generator,
            extra_layer=settings.extra_layer,
            distribution=settings.input,
        )

    @staticmethod
    def layer(channels: int, size: tuple[int, int] | None, generator: torch.Generator) -> nn.Module:
        """A hidden layer that upsamples to ``size``; None keeps the size."""
        raise NotImplementedError
