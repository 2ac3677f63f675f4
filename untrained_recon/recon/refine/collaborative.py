"""Collaborative filtering: like patches of an image are stacked, transformed together and thresholded
[Dabov et al., IEEE TIP 16:2080, 2007]. All images are periodic.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

PATCH = 6
STRIDE = 3
REACH = 8
GROUP = 32
KAISER_BETA = 2.0
AT_ONCE = {"cpu": 512, "cuda": 32768}  # groups: bounds the memory; on a CPU what is at hand stays in the cache
CHANNELS = {"cpu": 1, "cuda": 8}  # at once
SHIFTS = {"cpu": 1, "cuda": 2 * REACH + 1}  # columns at once in the search: a GPU is waiting for launches, a CPU for memory


@dataclass(frozen=True)
class Groups:
    """Where like patches lie.

    Attributes:
        corners: int64 ``(GROUP, n_groups)``, first pixels of the patches as indices into the flattened image.
        shape: ``(n_y, n_x)`` of the image.
    """

    corners: Tensor
    shape: tuple[int, int]


def find_groups(channels: Tensor) -> Groups:
    """For a patch on every third row and column, the patches near it that are most like it.

    Args:
        channels: real ``(n_channels, n_y, n_x)``; distances are summed over the channels.
    """
    n_y, n_x = channels.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(0, n_y, STRIDE, device=channels.device), torch.arange(0, n_x, STRIDE, device=channels.device), indexing="ij"
    )
    size_y, size_x = (STRIDE * (n - 1) + PATCH for n in rows.shape)  # from the first patch to the end of the last
    around = _periodic(channels, -REACH, size_y + REACH, size_x + REACH)
    middle = around[:, REACH : REACH + size_y, REACH : REACH + size_x]
    span, at_once = 2 * REACH + 1, SHIFTS[channels.device.type]
    distances = torch.empty(span, span, rows.numel(), device=channels.device, dtype=channels.dtype)
    for y in range(span):
        for x in range(0, span, at_once):
            others = around[:, y : y + size_y, x : x + size_x + at_once - 1].unfold(2, size_x, 1).movedim(2, 0)
            squares = (middle - others).square().sum(dim=1)
            blocks = functional.avg_pool2d(squares, STRIDE)
            distances[y, x : x + at_once] = functional.avg_pool2d(blocks, PATCH // STRIDE, stride=1).flatten(1)
    nearest = distances.flatten(0, 1).T.topk(min(GROUP, span**2), largest=False).indices.T
    step_y, step_x = nearest // span - REACH, nearest % span - REACH
    corner_y, corner_x = (rows.flatten() + step_y) % n_y, (columns.flatten() + step_x) % n_x
    return Groups(corner_y * n_x + corner_x, (n_y, n_x))


def denoise(channels: Tensor, groups: Groups, threshold: float) -> Tensor:
    """Threshold the groups' transforms and put the patches back, each group weighted by how few coefficients it keeps.

    On a GPU, sums are taken in no fixed order; their last digits may differ from call to call.

    Args:
        channels: real ``(n_channels, n_y, n_x)``, each filtered on its own.
        groups: From :func:`find_groups`.
        threshold: Coefficients of an orthonormal transform below it become zero; the means of the groups stay.
    """
    within, across, window = _transforms(len(groups.corners), channels.device, channels.dtype)
    (n_y, n_x), n_channels = groups.shape, len(channels)
    around = _periodic(channels, 0, n_y + PATCH - 1, n_x + PATCH - 1)
    # cosine transforms, being linear, are taken once for every patch of the image, not for every member of a group
    transformed = torch.cat([patches.T @ within.T for patches in functional.unfold(around[:, None], PATCH)])
    firsts = n_y * n_x * torch.arange(n_channels, device=channels.device)
    sums, weights = torch.zeros_like(transformed), torch.zeros_like(transformed[:, 0])
    for some in torch.split(firsts, CHANNELS[channels.device.type]):
        for corners in torch.split((groups.corners[:, None] + some[:, None]).flatten(1), AT_ONCE[channels.device.type], dim=1):
            _collect(transformed, corners, threshold, across, sums, weights)
    patches = torch.stack([within.T @ channel.T for channel in sums.chunk(n_channels)])
    return _put_back(window * patches, groups.shape) / _put_back(window * weights.view(n_channels, 1, -1), groups.shape)


def working_bytes(n_channels: int, shape: tuple[int, int], device: torch.device) -> int:
    """About the memory that :func:`find_groups` and :func:`denoise` take for float32 images of a size."""
    kind, pixels, span = device.type, math.prod(shape), 2 * REACH + 1
    n_groups = math.prod(-(-n // STRIDE) for n in shape)
    search = 3 * 4 * span**2 * n_groups + 2 * 4 * SHIFTS[kind] * n_channels * pixels
    patches = 6 * 4 * PATCH**2 * n_channels * pixels  # unfolded, transformed, summed up, transformed back, weighted, put back
    groups = 5 * 4 * PATCH**2 * GROUP * min(AT_ONCE[kind], n_groups * min(n_channels, CHANNELS[kind]))
    return max(search, patches + groups)


@lru_cache
def _transforms(members: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine transform of a patch, Haar transform of a group and window of a patch; copying them to a GPU waits for it."""
    cosines = _cosine_transform(PATCH).to(dtype)
    window = torch.kaiser_window(PATCH, periodic=False, beta=KAISER_BETA, dtype=dtype)
    made = torch.kron(cosines, cosines), _haar_transform(members).to(dtype), torch.kron(window, window)[:, None]
    within, across, windows = (one.to(device) for one in made)  # copied last: whatever stream takes them next, the device has them
    return within, across, windows


def _collect(transformed: Tensor, corners: Tensor, threshold: float, across: Tensor, sums: Tensor, weights: Tensor) -> None:
    """Add the thresholded transforms of some groups, and their weights, to those of the patches that are in them."""
    members = transformed.index_select(0, corners.flatten())
    coefficients = (across @ members.view(len(across), -1)).view(*corners.shape, -1)
    means = coefficients[0, :, 0].clone()
    coefficients = functional.hardshrink(coefficients, threshold)
    coefficients[0, :, 0] = 1
    weight = 1 / coefficients.sign().abs().sum(dim=(0, 2))  # one over the number kept; faster than counting
    coefficients[0, :, 0] = means
    coefficients *= weight[:, None]
    members = across.T @ coefficients.view(len(across), -1)
    sums.index_add_(0, corners.flatten(), members.view(corners.numel(), -1))
    weights.index_add_(0, corners.flatten(), weight.repeat(len(corners)))


def _periodic(x: Tensor, first: int, end_y: int, end_x: int) -> Tensor:
    """Rows ``first`` to ``end_y`` and columns ``first`` to ``end_x`` of images that repeat."""
    rows, columns = (torch.arange(first, end, device=x.device) for end in (end_y, end_x))
    return x.index_select(-2, rows % x.shape[-2]).index_select(-1, columns % x.shape[-1])


def _put_back(patches: Tensor, shape: tuple[int, int]) -> Tensor:
    """Images ``(n, *shape)`` with the sums of patches ``(n, PATCH², n_y * n_x)``, one from every pixel on."""
    over = (shape[0] + PATCH - 1, shape[1] + PATCH - 1)
    img = functional.fold(patches, over, PATCH)[:, 0]
    for axis, n in enumerate(shape, start=1):
        whole = img.narrow(axis, 0, n).clone()
        for start in range(n, img.shape[axis], n):  # what reaches over the end, more than once for the smallest images
            size = min(n, img.shape[axis] - start)
            whole.narrow(axis, 0, size).add_(img.narrow(axis, start, size))
        img = whole
    return img


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
