"""Deep Image Prior."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from untrained_recon.kinds import NetworkConfig
from untrained_recon.networks.generator import Distribution, ImageGenerator, batch_norm, conv, random_input

SKIP_CHANNELS = 4
"""Channels of a skip connection (Ulyanov et al.)."""


class DeepImagePrior(ImageGenerator):
    """Deep Image Prior (Ulyanov et al., 2018): an encoder, a decoder, and skip connections between them.

    The paper gives the numbers of layers, channels and residuals and the size of the kernel (tables 10 and 11). Where it is
    silent, this network is built as follows.

    * Half of the layers lead down, half lead up, as the paper counts the U-net's; the final 1×1 convolution comes on top.
    * A layer down: 3×3 convolution with stride 2, then a second one, each followed by batch normalisation and ReLU.
    * A layer up: nearest upsampling to the size of its partner on the way down, the partner's input joined through a 1×1
      convolution of 4 channels where there is a skip connection, batch normalisation, then a 3×3 and a 1×1 convolution, each
      followed by batch normalisation and ReLU.
    * The skip connections are at the coarsest scales (where the authors' code has them).
    * The input has the size of the image, as an encoder needs it, and as many channels as the layers.
    * Any size will do: odd sizes are halved to the larger half, and an axis of 2 pixels is not halved further.

    Args:
        out_channels: Real output channels, two per complex image.
        out_size: Output matrix ``(y, x)``.
        layers: Layers down and up together, an even number.
        channels: Channels of the input and of every hidden layer.
        skips: Number of skip connections, at most one for every two layers.
        generator: Source of the initial weights and of the input.
        distribution: Distribution of the fixed input.
    """

    def __init__(
        self,
        out_channels: int,
        out_size: tuple[int, int],
        *,
        layers: int,
        channels: int,
        skips: int,
        generator: torch.Generator,
        distribution: Distribution = "normal",
    ) -> None:
        n = layers // 2
        sizes = [out_size]
        for _ in range(n):
            sizes.append(_halve(sizes[-1]))
        down = [_down(channels, sizes[i], generator) for i in range(n)]
        up = [_Up(channels, sizes[i], i >= n - skips, generator) for i in reversed(range(n))]
        head = conv(channels, out_channels, 1, generator)
        super().__init__([*down, *up, head], random_input(channels, out_size, distribution, generator))

    def _outputs(self) -> Iterator[Tensor]:
        *hidden, head = self.layers
        n = len(hidden) // 2
        out, finer = self.z, []
        for layer in hidden[:n]:
            finer.append(out)
            out = self._run(layer, out)
            yield out
        for layer in hidden[n:]:
            out = self._run(layer, out, finer.pop())
            yield out
        yield self._run(head, out)


def build(
    settings: NetworkConfig, out_channels: int, out_size: tuple[int, int], generator: torch.Generator, fused: bool
) -> DeepImagePrior:
    """See :data:`untrained_recon.kinds.Build`."""
    return DeepImagePrior(
        out_channels,
        out_size,
        layers=settings.layers,
        channels=settings.channels,
        skips=settings.skips,
        generator=generator,
        distribution=settings.input,
    )


def _strides(size: tuple[int, int]) -> tuple[int, int]:
    # batch normalisation needs more than one pixel
    return (2 if size[0] > 2 else 1, 2 if size[1] > 2 else 1)


def _halve(size: tuple[int, int]) -> tuple[int, int]:
    s_y, s_x = _strides(size)
    return -(-size[0] // s_y), -(-size[1] // s_x)


def _convolve(n_in: int, n_out: int, kernel: int, generator: torch.Generator, stride: tuple[int, int] = (1, 1)) -> nn.Sequential:
    return nn.Sequential(conv(n_in, n_out, kernel, generator, stride), batch_norm(n_out), nn.ReLU())


def _down(channels: int, size: tuple[int, int], generator: torch.Generator) -> nn.Sequential:
    return nn.Sequential(
        _convolve(channels, channels, 3, generator, _strides(size)),
        _convolve(channels, channels, 3, generator),
    )


class _Up(nn.Module):
    def __init__(self, channels: int, size: tuple[int, int], skip: bool, generator: torch.Generator) -> None:
        super().__init__()
        n_skip = SKIP_CHANNELS if skip else 0
        self.upsample = nn.Upsample(size=size, mode="nearest")
        self.skip = _convolve(channels, n_skip, 1, generator) if skip else None
        self.body = nn.Sequential(
            batch_norm(n_skip + channels),
            _convolve(n_skip + channels, channels, 3, generator),
            _convolve(channels, channels, 1, generator),
        )

    def forward(self, coarser: Tensor, finer: Tensor) -> Tensor:
        out = self.upsample(coarser)
        if self.skip is not None:
            out = torch.cat([self.skip(finer), out], dim=1)
        return self.body(out)
