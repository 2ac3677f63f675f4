"""Collaborative filtering: like patches of an image are stacked, transformed together and thresholded
[Dabov et al., IEEE TIP 16:2080, 2007]. All images are periodic.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PATCH = 6
STRIDE = 3
REACH = 8
GROUP = 32
KAISER_BETA = 2.0


@dataclass(frozen=True)
class Groups:
    """Where like patches lie.

    Attributes:
        pixels: int64 ``(n_groups, GROUP, PATCH²)``, indices into the flattened image.
        shape: ``(n_y, n_x)`` of the image.
    """

    pixels: Tensor
    shape: tuple[int, int]


def find_groups(channels: Tensor) -> Groups:
    """For a patch on every third row and column, the patches near it that are most like it.

    Args:
        channels: real ``(n_channels, n_y, n_x)``; distances are summed over the channels.
    """
    n_y, n_x = channels.shape[-2:]
    offsets = [(y, x) for y in range(-REACH, REACH + 1) for x in range(-REACH, REACH + 1)]
    distances = torch.stack([_distances(channels, offset) for offset in offsets], dim=1)
    nearest = distances.topk(min(GROUP, len(offsets)), largest=False).indices
    device = channels.device
    rows, columns = torch.meshgrid(
        torch.arange(0, n_y, STRIDE, device=device), torch.arange(0, n_x, STRIDE, device=device), indexing="ij"
    )
    steps = torch.tensor(offsets, device=device)[nearest]
    inside = torch.arange(PATCH, device=device)
    y = (rows.reshape(-1, 1, 1) + steps[..., :1] + inside) % n_y  # (groups, members, rows of the patch)
    x = (columns.reshape(-1, 1, 1) + steps[..., 1:] + inside) % n_x
    return Groups((y[..., :, None] * n_x + x[..., None, :]).flatten(2), (n_y, n_x))


def denoise(channels: Tensor, groups: Groups, threshold: float) -> Tensor:
    """Threshold the groups' transforms and put the patches back, each group weighted by how few coefficients it keeps.

    Args:
        channels: real ``(n_channels, n_y, n_x)``, each filtered on its own.
        groups: From :func:`find_groups`.
        threshold: Coefficients of an orthonormal transform below it become zero; the means of the groups stay.
    """
    cosines = _cosine_transform(PATCH).to(channels)
    within = torch.kron(cosines, cosines)
    across = _haar_transform(groups.pixels.shape[1]).to(channels)
    window = torch.kaiser_window(PATCH, periodic=False, beta=KAISER_BETA, device=channels.device)
    window = (window[:, None] * window).flatten()
    return torch.stack([_denoise(channel, groups, threshold, within, across, window) for channel in channels])


def _denoise(channel: Tensor, groups: Groups, threshold: float, within: Tensor, across: Tensor, window: Tensor) -> Tensor:
    coefficients = torch.einsum("hk,gkp,qp->ghq", across, channel.flatten()[groups.pixels], within)
    kept = coefficients.abs() > threshold
    kept[:, 0, 0] = True
    patches = torch.einsum("hk,ghq,qp->gkp", across, coefficients * kept, within)
    weights = window / kept.sum(dim=(1, 2))[:, None, None].to(window) * torch.ones_like(patches)
    places = groups.pixels.flatten()
    total, weight = (torch.zeros(channel.numel(), device=channel.device, dtype=channel.dtype) for _ in range(2))
    total.index_add_(0, places, (patches * weights).flatten())
    weight.index_add_(0, places, weights.flatten())
    return (total / weight).reshape(groups.shape)


def _distances(channels: Tensor, offset: tuple[int, int]) -> Tensor:
    """Mean squared difference of every reference patch to the one at an offset: ``(n_groups,)``."""
    difference = (channels - channels.roll((-offset[0], -offset[1]), (1, 2))).square().sum(dim=0)
    padded = functional.pad(difference[None, None], (0, PATCH - 1, 0, PATCH - 1), mode="circular")
    return functional.avg_pool2d(padded, PATCH, stride=1)[0, 0, ::STRIDE, ::STRIDE].flatten()


def _cosine_transform(n: int) -> Tensor:
    """The orthonormal DCT-II."""
    k = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi * (k + 0.5) * k[:, None] / n) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix


def _haar_transform(n: int) -> Tensor:
    """The orthonormal Haar transform, n a power of two."""
    if n == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    means = torch.kron(_haar_transform(n // 2), torch.tensor([[1.0, 1.0]], dtype=torch.float64))
    differences = torch.kron(torch.eye(n // 2, dtype=torch.float64), torch.tensor([[1.0, -1.0]], dtype=torch.float64))
    return torch.cat([means, differences]) / math.sqrt(2)
