"""ConvDecoder with fewer operations."""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from untrained_recon.config.kinds import NetworkConfig
from untrained_recon.recon.networks.conv_decoder import ConvDecoder
from untrained_recon.recon.networks.decoder import Decoder

SMALLEST = 16 * 16
"""Pixels of the coarse matrix from which on it pays (measured on a CPU, 64 channels); below, folding the weights takes longer."""


class FusedConvDecoder(ConvDecoder):
    """:class:`ConvDecoder` with the same weights and, but for rounding, the same image, from fewer operations.

    Where a layer doubles its matrix, every 3×3 kernel sees each coarse pixel twice along an axis. Its weights for the same coarse
    pixel are added up first, which leaves 2×2 weights for each of the four fine pixels: a transposed convolution of stride 2 with
    4×4 weights, 4 multiplications where there were 9.
    """

    @staticmethod
    def layer(channels: int, size: tuple[int, int] | None, generator: torch.Generator) -> nn.Module:
        """See :class:`~untrained_recon.recon.networks.decoder.Decoder`."""
        layer = ConvDecoder.layer(channels, size, generator)
        return layer if size is None else _Layer(*layer.children())


class _Layer(nn.Sequential):
    """Upsampling, convolution, ReLU and batch normalisation, the first two in one where the matrix doubles."""

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self.children())
        n_y, n_x = x.shape[-2:]
        if layers[0].size == (2 * n_y, 2 * n_x) and n_y * n_x >= SMALLEST:
            x = functional.conv_transpose2d(x, fold(layers[1].get_parameter("weight")), stride=2, padding=1)
            layers = layers[2:]
        for layer in layers:
            x = layer(x)
        return x


def fold(weight: Tensor) -> Tensor:
    """Weights of the transposed convolution (stride 2, padding 1) that equals doubling and then convolving with ``weight``.

    Args:
        weight: ``(n_out, n_in, 3, 3)``.

    Returns:
        ``(n_in, n_out, 4, 4)``, in the type of ``weight`` also where convolutions are autocast to a smaller one.
    """
    n_out, n_in = weight.shape[:2]
    with torch.autocast(weight.device.type, enabled=False):
        return (weight.transpose(0, 1).reshape(-1, 9) @ _sums(weight.device, weight.dtype).T).view(n_in, n_out, 4, 4)


@lru_cache
def _sums(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Which of the 9 weights of the convolution (columns) each of the 16 transposed ones is the sum of; kept, as copying them to a
    GPU in every iteration would wait for it.
    """
    along = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=dtype)
    return torch.kron(along, along).to(device)  # copied last: whatever stream takes it next, the device has it


def build(
    settings: NetworkConfig, out_channels: int, out_size: tuple[int, int], generator: torch.Generator, fused: bool
) -> Decoder:
    """See :data:`untrained_recon.config.kinds.Build`."""
    return (FusedConvDecoder if fused else ConvDecoder).of(settings, out_channels, out_size, generator)
