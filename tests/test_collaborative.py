import numpy as np
import pytest
import scipy.fft
import torch

from untrained_recon.collaborative import GROUP, PATCH, _cosine_transform, _haar_transform, denoise, find_groups
from untrained_recon.phantom import head


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
    assert groups.pixels.shape == (8 * 10, GROUP, PATCH**2)
    assert groups.pixels[:, 0, 0].tolist() == [y * 30 + x for y in range(0, 24, 3) for x in range(0, 30, 3)]


def test_repeated_patches_are_found() -> None:
    tile = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(1))
    groups = find_groups(tile.repeat(1, 4, 4))
    values = tile.repeat(1, 4, 4).flatten()[groups.pixels]
    torch.testing.assert_close(values[:, :9], values[:, :1].expand(-1, 9, -1))  # 3 x 3 periods within reach


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
