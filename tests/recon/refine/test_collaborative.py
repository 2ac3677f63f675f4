import numpy as np
import pytest
import scipy.fft
import torch

from untrained_recon.phantom.head import head
from untrained_recon.recon.refine.collaborative import (
    GROUP,
    PATCH,
    REACH,
    Groups,
    _cosine_transform,
    _haar_transform,
    denoise,
    find_groups,
)


def noisy(shape: tuple[int, int], sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    clean = torch.from_numpy(np.abs(head(shape, 0.0, 0)).astype(np.float32))[None]
    return clean, clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


def test_transforms_are_orthonormal_and_the_cosine_one_is_scipys() -> None:
    for matrix in (_cosine_transform(6), _haar_transform(16)):
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix), dtype=torch.float64))
    np.testing.assert_allclose(_cosine_transform(6).numpy(), scipy.fft.dct(np.eye(6), norm="ortho", axis=0), atol=1e-12)


@pytest.mark.parametrize("shape", [(48, 48), (47, 50)])
def test_without_a_threshold_the_image_comes_back(shape: tuple[int, int]) -> None:
    _, img = noisy(shape, 0.1)
    torch.testing.assert_close(denoise(img, find_groups(img), 0.0), img, atol=1e-5, rtol=1e-5)


def test_every_group_starts_with_its_own_patch() -> None:
    _, img = noisy((24, 30), 0.1)
    groups = find_groups(img)
    assert groups.corners.shape == (GROUP, 8 * 10)
    assert groups.corners[0].tolist() == [y * 30 + x for y in range(0, 24, 3) for x in range(0, 30, 3)]


def patches_of(img: torch.Tensor) -> torch.Tensor:
    """The patch that starts at every pixel, ``(pixels, PATCH, PATCH)``, by shifts of the whole image."""
    rows = [[img.roll((-y, -x), (0, 1)).flatten() for x in range(PATCH)] for y in range(PATCH)]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=1)


def test_groups_are_those_of_the_smallest_distances() -> None:
    _, img = noisy((23, 29), 0.1)
    groups, patches = find_groups(img), patches_of(img[0])
    for number, (y, x) in enumerate((y, x) for y in range(0, 23, 3) for x in range(0, 29, 3)):
        near = [(y + i) % 23 * 29 + (x + j) % 29 for i in range(-REACH, REACH + 1) for j in range(-REACH, REACH + 1)]
        distances = (patches[near] - patches[y * 29 + x]).square().mean(dim=(1, 2)).sort().values[:GROUP]
        found = (patches[groups.corners[:, number]] - patches[y * 29 + x]).square().mean(dim=(1, 2))
        torch.testing.assert_close(found, distances, rtol=1e-4, atol=1e-7)


def test_filter_is_its_definition_group_by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.recon.refine.collaborative.AT_ONCE", {"cpu": 7})
    _, img = noisy((23, 29), 0.1)
    img = img.double()
    groups, patches = find_groups(img), patches_of(img[0])
    cosine, haar = _cosine_transform(PATCH), _haar_transform(GROUP)
    window = torch.kaiser_window(PATCH, periodic=False, beta=2.0, dtype=torch.float64)
    window = window[:, None] * window
    total, weights = torch.zeros(2, *img[0].shape, dtype=torch.float64)
    for members in groups.corners.T:
        transformed = torch.einsum("hk,kyx,uy,vx->huv", haar, patches[members], cosine, cosine)
        kept = transformed.abs() > 0.3
        kept[0, 0, 0] = True
        back = torch.einsum("hk,huv,uy,vx->kyx", haar, transformed * kept, cosine, cosine)
        for corner, patch in zip(members.tolist(), back, strict=True):
            rows, columns = (np.arange(PATCH) + start for start in divmod(corner, 29))
            pixels = np.ix_(rows % 23, columns % 29)
            total[pixels] += window * patch / kept.sum()
            weights[pixels] += window / kept.sum()
    torch.testing.assert_close(denoise(img, groups, 0.3)[0], total / weights)


def test_nothing_stays_nothing_and_calls_repeat() -> None:
    _, img = noisy((32, 30), 0.1)
    groups = find_groups(img)
    assert torch.equal(denoise(img, groups, 0.2), denoise(img, Groups(groups.corners.clone(), groups.shape), 0.2))
    assert not denoise(torch.zeros_like(img), groups, 0.2).any()


def test_repeated_patches_are_found() -> None:
    tile = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(1))
    groups = find_groups(tile.repeat(1, 4, 4))
    y, x = groups.corners[:9] // 32 % 8, groups.corners[:9] % 32 % 8  # 3 x 3 periods within reach
    assert torch.equal(y, y[:1].expand(9, -1))
    assert torch.equal(x, x[:1].expand(9, -1))


def test_noise_goes_and_structure_stays() -> None:
    clean, img = noisy((64, 64), 0.1)
    found = denoise(img, find_groups(img), 0.27)
    assert (found - clean).norm() < 0.65 * (img - clean).norm()


def test_channels_share_their_groups_but_not_their_values() -> None:
    _, img = noisy((32, 32), 0.1)
    groups = find_groups(img)
    both = denoise(torch.cat([img, -2 * img]), groups, 0.2)
    torch.testing.assert_close(both[:1], denoise(img, groups, 0.2))
    torch.testing.assert_close(both[1:], denoise(-2 * img, groups, 0.2))
