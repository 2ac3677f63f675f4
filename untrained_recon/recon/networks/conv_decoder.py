"""ConvDecoder."""

import torch
from torch import nn

from untrained_recon.recon.networks.decoder import Decoder
from untrained_recon.recon.networks.generator import batch_norm, conv


class ConvDecoder(Decoder):
    """ConvDecoder (Darestani & Heckel, section 4): layers of nearest upsampling, 3×3 convolution, ReLU and batch normalisation."""

    @staticmethod
    def layer(channels: int, size: tuple[int, int] | None, generator: torch.Generator) -> nn.Module:
        """See :class:`Decoder`."""
        upsampling = [] if size is None else [nn.Upsample(size=size, mode="nearest")]
        return nn.Sequential(*upsampling, conv(channels, channels, 3, generator), nn.ReLU(), batch_norm(channels))
