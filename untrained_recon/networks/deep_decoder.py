"""Deep Decoder."""

import torch
from torch import nn

from untrained_recon.kinds import NetworkConfig
from untrained_recon.networks.decoder import Decoder
from untrained_recon.networks.generator import batch_norm, conv


class DeepDecoder(Decoder):
    """Deep Decoder (Heckel & Hand, 2019) as in section 4 of the paper: layers of bilinear upsampling, 1×1 convolution, ReLU and
    batch normalisation.

    Each convolution is computed before its upsampling. The two commute, as one mixes channels and the other pixels, and the
    smaller matrix costs less. Upsampling takes pixels as areas (``align_corners=False``); the paper does not say.
    """

    @staticmethod
    def layer(channels: int, size: tuple[int, int] | None, generator: torch.Generator) -> nn.Module:
        """See :class:`Decoder`."""
        upsampling = [] if size is None else [nn.Upsample(size=size, mode="bilinear")]
        return nn.Sequential(conv(channels, channels, 1, generator), *upsampling, nn.ReLU(), batch_norm(channels))


def build(
    settings: NetworkConfig, out_channels: int, out_size: tuple[int, int], generator: torch.Generator, fused: bool
) -> Decoder:
    """See :data:`untrained_recon.kinds.Build`."""
    return DeepDecoder.of(settings, out_channels, out_size, generator)
