"""Un-trained networks: image generators whose weights are fitted to the measurement of one image."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init
from torch.utils.checkpoint import checkpoint


def layer_sizes(in_size: tuple[int, int], out_size: tuple[int, int], layers: int) -> list[tuple[int, int]]:
    """Output size ``(y, x)`` of every upsampling layer: ``ceil(in * (out / in) ** (n / (layers - 1)))`` for n = 1 … layers - 1.

    The last equals ``out_size`` exactly, whatever the rounding of the power.
    """

    def size(axis: int, n: int) -> int:
        ratio = out_size[axis] / in_size[axis]
        return math.ceil(in_size[axis] * ratio ** (n / (layers - 1)))

    return [(size(0, n), size(1, n)) for n in range(1, layers - 1)] + [out_size]


class ConvDecoder(nn.Module):
    """ConvDecoder (Darestani & Heckel, section 4): a fixed random input, then layers of nearest upsampling, 3×3 convolution,
    ReLU and batch normalisation, and a final 1×1 convolution.

    Convolutions have no bias. Batch normalisation always uses the statistics of the one image. The last two output axes are
    ``out_size``; real and imaginary parts are neighbouring channels, see :func:`to_complex`.

    Args:
        out_channels: Real output channels, two per complex image.
        out_size: Output matrix ``(y, x)``.
        in_size: Matrix ``(y, x)`` of the fixed input.
        layers: Number of layers, the final 1×1 convolution included.
        channels: Channels of the input and of every hidden layer.
        generator: Source of the input and of the initial weights.

    Attributes:
        save_memory: Compute the activations of a layer again in the backward pass instead of keeping them; the same numbers for
            less memory and more time.
    """

    z: Tensor

    def __init__(
        self,
        out_channels: int,
        out_size: tuple[int, int],
        *,
        in_size: tuple[int, int],
        layers: int,
        channels: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.body = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Upsample(size=size, mode="nearest"),
                    _conv(channels, channels, 3, generator),
                    nn.ReLU(),
                    nn.BatchNorm2d(channels, track_running_stats=False),
                )
                for size in layer_sizes(in_size, out_size, layers)
            ]
        )
        self.save_memory = False
        self.head = _conv(channels, out_channels, 1, generator)
        z = torch.randn(1, channels, *in_size, generator=generator)
        self.register_buffer("z", z.contiguous(memory_format=torch.channels_last))

    def forward(self) -> Tensor:
        """The generated channels, real ``(out_channels, *out_size)``."""
        out = self.z
        for block in self.body:
            out = checkpoint(block, out, use_reentrant=False) if self.save_memory else block(out)
        return self.head(out)[0]


def to_complex(channels: Tensor) -> Tensor:
    """Real ``(2 * n, n_y, n_x)`` to complex ``(n, n_y, n_x)``: the one place where channels turn into complex images."""
    n = channels.shape[0] // 2
    parts = channels.reshape(n, 2, *channels.shape[1:])
    return torch.complex(parts[:, 0], parts[:, 1])


def _conv(n_in: int, n_out: int, kernel: int, generator: torch.Generator) -> nn.Conv2d:
    # PyTorch's own default initialisation, but drawn from a local generator
    conv: nn.Conv2d = skip_init(nn.Conv2d, n_in, n_out, kernel, padding=kernel // 2, bias=False)  # type: ignore[no-untyped-call]
    nn.init.kaiming_uniform_(conv.weight, a=math.sqrt(5), generator=generator)
    # channels_last in weights and input alike: convolutions run up to twice as fast; in one of them alone, slower
    conv.weight = nn.Parameter(conv.weight.detach().contiguous(memory_format=torch.channels_last))
    return conv
