"""What all un-trained networks share: a fixed random input, layers, and an image at their end."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init
from torch.utils.checkpoint import checkpoint

Distribution = Literal["normal", "uniform"]


class ImageGenerator(nn.Module):
    """A network whose weights are fitted to the measurement of one image, see :func:`~untrained_recon.recon.fit.loop.fit`.

    Batch normalisation always uses the statistics of the one image, convolutions have no bias.

    Args:
        layers: The layers, from input to output; the last gives the channels of the image.
        z: ``(1, channels, n_y, n_x)``, the fixed input.

    Attributes:
        z: The fixed input; no parameter.
        save_memory: Compute the activations of a layer again in the backward pass instead of keeping them; the same numbers for
            less memory and more time.
        bf16: Convolutions take bfloat16; weights, input and image keep their type.
        recorded: Whoever repeats the same pass may record it, see :mod:`untrained_recon.recon.fit.recorded`.
    """

    z: Tensor

    def __init__(self, layers: Sequence[nn.Module], z: Tensor) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.register_buffer("z", z)
        self.save_memory = False
        self.bf16 = False
        self.recorded = False

    def forward(self) -> Tensor:
        """The generated channels, real ``(out_channels, *out_size)``; pairs of them are complex images, see :func:`to_complex`."""
        return self._last(self.z)[0].to(self.z.dtype)

    def rehearse(self) -> None:
        """A pass for no image at all: hooks see of which shapes and types outputs are, without the time and memory of an image."""
        z, self.z = self.z, self.z[:0]
        try:
            with torch.no_grad():
                self._last(self.z)
        finally:
            self.z = z

    def layer_outputs(self) -> list[Tensor]:
        """What every layer puts out, real ``(channels, n_y, n_x)`` each, without gradients; the last is the image (paper, C.1)."""
        with torch.no_grad():
            return [out[0] for out in self._outputs()]

    def layer_parameters(self) -> list[list[nn.Parameter]]:
        """The parameters of every layer, from input to output, for step sizes by layer (paper, C.2)."""
        return [list(layer.parameters()) for layer in self.layers]

    def _last(self, out: Tensor) -> Tensor:
        with torch.autocast(self.z.device.type, torch.bfloat16, enabled=self.bf16):
            for out in self._outputs():  # noqa: B007  # one at a time, so that none is held longer than needed
                pass
        return out

    def _outputs(self) -> Iterator[Tensor]:
        out = self.z
        for layer in self.layers:
            out = self._run(layer, out)
            yield out

    def _run(self, layer: nn.Module, *inputs: Tensor) -> Tensor:
        return checkpoint(layer, *inputs, use_reentrant=False) if self.save_memory else layer(*inputs)


def layer_sizes(in_size: tuple[int, int], out_size: tuple[int, int], layers: int) -> list[tuple[int, int]]:
    """Output size ``(y, x)`` of every upsampling layer: ``ceil(in * (out / in) ** (n / (layers - 1)))`` for n = 1 … layers - 1.

    The last equals ``out_size`` exactly, whatever the rounding of the power.
    """

    def size(axis: int, n: int) -> int:
        ratio = out_size[axis] / in_size[axis]
        return math.ceil(round(in_size[axis] * ratio ** (n / (layers - 1)), 9))  # 128, not 129 for 128.00000000000003

    return [(size(0, n), size(1, n)) for n in range(1, layers - 1)] + [out_size]


def to_complex(channels: Tensor) -> Tensor:
    """Real ``(2 * n, n_y, n_x)`` to complex ``(n, n_y, n_x)``: the one place where channels turn into complex images."""
    n = channels.shape[0] // 2
    parts = channels.reshape(n, 2, *channels.shape[1:])
    return torch.complex(parts[:, 0], parts[:, 1])


def conv(n_in: int, n_out: int, kernel: int, generator: torch.Generator, stride: tuple[int, int] = (1, 1)) -> nn.Conv2d:
    """A convolution that keeps the size (but for its stride), with PyTorch's own initialisation drawn from a local generator."""
    layer: nn.Conv2d = skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, n_in, n_out, kernel, stride=stride, padding=kernel // 2, bias=False
    )
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    # channels_last in weights and input alike: convolutions run up to twice as fast; in one of them alone, slower
    layer.weight = nn.Parameter(layer.weight.detach().contiguous(memory_format=torch.channels_last))
    return layer


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation by the statistics of the image at hand."""
    return nn.BatchNorm2d(channels, track_running_stats=False)


def random_input(channels: int, size: tuple[int, int], distribution: Distribution, generator: torch.Generator) -> Tensor:
    """The fixed input ``(1, channels, *size)``: N(0, 1) as in the paper, or U[0, 1) as in its authors' code."""
    draw = torch.randn if distribution == "normal" else torch.rand
    return draw(1, channels, *size, generator=generator).contiguous(memory_format=torch.channels_last)
