"""The trained baseline: the U-net of fastMRI (Zbontar et al., 2018), for weights trained here or published by fastMRI."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from untrained_recon.errors import WeightsError
from untrained_recon.types import FloatArray


class UNet(nn.Module):
    """U-net from one real image to another: ``pools`` halvings, pairs of 3×3 convolution, instance norm and leaky ReLU at every
    scale, twice the channels after each halving, transposed convolutions upwards.

    The parameters bear the names that fastMRI gives them.

    Args:
        chans: Channels at full resolution.
        pools: Number of halvings.
    """

    def __init__(self, chans: int = 32, pools: int = 4) -> None:
        super().__init__()
        widths = [chans * 2**scale for scale in range(pools + 1)]
        self.down_sample_layers = nn.ModuleList(
            [_Convolutions(n_in, n_out) for n_in, n_out in zip([1, *widths], widths[:-1], strict=False)]
        )
        self.conv = _Convolutions(widths[-2], widths[-1])
        self.up_transpose_conv = nn.ModuleList([_Upwards(2 * width, width) for width in reversed(widths[:-1])])
        ups: list[nn.Module] = [_Convolutions(2 * width, width) for width in reversed(widths[:-1])]
        ups[-1] = nn.Sequential(ups[-1], nn.Conv2d(chans, 1, kernel_size=1))
        self.up_conv = nn.ModuleList(ups)

    def forward(self, imgs: Tensor) -> Tensor:
        """Real ``(n_imgs, 1, n_y, n_x)`` to the same shape; sides shorter than ``2 ** (pools + 1)`` are extended meanwhile."""
        n_y, n_x = imgs.shape[-2:]
        smallest = 2 ** (len(self.down_sample_layers) + 1)
        imgs = _extend(imgs, max(n_y, smallest), max(n_x, smallest), "replicate")
        finer = []
        for down in self.down_sample_layers:
            imgs = down(imgs)
            finer.append(imgs)
            imgs = functional.avg_pool2d(imgs, 2)
        imgs = self.conv(imgs)
        for upwards, convolutions in zip(self.up_transpose_conv, self.up_conv, strict=True):
            partner = finer.pop()
            imgs = _extend(upwards(imgs), partner.shape[-2], partner.shape[-1], "reflect")
            imgs = convolutions(torch.cat([imgs, partner], dim=1))
        return imgs[..., :n_y, :n_x]


class _Convolutions(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        # names, as fastMRI counts idle dropouts (3 and 7)
        for first, width in ((0, n_in), (4, n_out)):
            self.layers.add_module(str(first), nn.Conv2d(width, n_out, kernel_size=3, padding=1, bias=False))
            self.layers.add_module(str(first + 1), nn.InstanceNorm2d(n_out))
            self.layers.add_module(str(first + 2), nn.LeakyReLU(0.2))

    def forward(self, imgs: Tensor) -> Tensor:
        return self.layers(imgs)


class _Upwards(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(n_in, n_out, kernel_size=2, stride=2, bias=False), nn.InstanceNorm2d(n_out), nn.LeakyReLU(0.2)
        )

    def forward(self, imgs: Tensor) -> Tensor:
        return self.layers(imgs)


class Scale(NamedTuple):
    """Mean and standard deviation of one image, by which fastMRI makes images alike."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, img: Tensor) -> "Scale":
        """The scale of an image; the deviation is never 0."""
        return cls(img.mean(), img.std() + 1e-11)

    def normalise(self, img: Tensor) -> Tensor:
        """Mean 0 and deviation 1, clamped to ±6."""
        return ((img - self.mean) / self.std).clamp(-6, 6)


def unet_reconstruct(unet: UNet, img: FloatArray) -> FloatArray:
    """Take the aliasing out of a zero-filled image, in fastMRI's convention.

    Args:
        unet: Trained network; it computes on its own device.
        img: float32 ``(n_y, n_x)`` of any size: the zero-filled root sum of squares, cropped as the network was trained.

    Returns:
        float32 ``(n_y, n_x)`` in the units of ``img``.
    """
    zero_filled = torch.from_numpy(img).to(next(unet.parameters()).device)
    scale = Scale.of(zero_filled)
    with torch.no_grad():
        out = unet(scale.normalise(zero_filled)[None, None])[0, 0] * scale.std + scale.mean
    return out.cpu().numpy()


def load_unet(path: Path) -> UNet:
    """A U-net with the weights of a file; its channels and halvings follow from the tensors.

    Args:
        path: A state dict as fastMRI publishes, a Lightning checkpoint of its training (names with the prefix ``unet.`` under
            ``state_dict``), or a checkpoint of :func:`~untrained_recon.study.train_unet.train_unet`.

    Raises:
        WeightsError: The file is truncated, holds more than tensors and plain values, or belongs to another network.
    """
    weights = _state_dict(path)
    first = weights.get("down_sample_layers.0.layers.0.weight")
    if first is None or first.ndim != 4 or first.shape[0] < 1:
        raise WeightsError(f"{path}: no tensor 'down_sample_layers.0.layers.0.weight' of 4 axes; these are no weights of a U-net")
    pools = len([name for name in weights if name.startswith("down_sample_layers.") and name.endswith(".layers.0.weight")])
    with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced
        unet = UNet(chans=first.shape[0], pools=pools)
    _check(path, weights, unet.state_dict())
    unet.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    return unet


def read_checkpoint(path: Path, device: torch.device) -> Any:
    """What ``torch.save`` has written; nothing in the file is executed.

    Raises:
        WeightsError: There is no such file, it is truncated, or it holds more than tensors and plain values.
    """
    if not path.is_file():
        raise WeightsError(f"{str(path)!r} is no file of weights; unet.weights names one")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError) as error:
        summary = str(error).partition("\n")[0]
        raise WeightsError(
            f"{path}: cannot be read ({type(error).__name__}: {summary}); it is truncated or holds more than tensors and plain "
            "values. Copy it again, or store its state dict alone with torch.save"
        ) from error


def _state_dict(path: Path) -> dict[str, Tensor]:
    content = read_checkpoint(path, torch.device("cpu"))
    if isinstance(content, Mapping):
        content = content.get("state_dict", content)
    if not isinstance(content, Mapping) or not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in content.items()):
        raise WeightsError(f"{path}: holds neither a state dict nor one under 'state_dict'")
    network = {name.removeprefix("unet."): tensor for name, tensor in content.items() if name.startswith("unet.")}
    return network or dict(content)


def _check(path: Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name, tensor in expected.items():
        if name not in weights:
            raise WeightsError(f"{path}: the tensor {name!r} is missing")
        if weights[name].shape != tensor.shape:
            raise WeightsError(f"{path}: the tensor {name!r} has the shape {tuple(weights[name].shape)}, not {tuple(tensor.shape)}")
    for name in weights:
        if name not in expected:
            raise WeightsError(f"{path}: the tensor {name!r} is none of this U-net's")


def _extend(imgs: Tensor, n_y: int, n_x: int, mode: str) -> Tensor:
    return functional.pad(imgs, (0, n_x - imgs.shape[-1], 0, n_y - imgs.shape[-2]), mode=mode)
