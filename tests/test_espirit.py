import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch

from untrained_recon.config import MapsConfig
from untrained_recon.espirit import eigenmaps
from untrained_recon.phantom import coil_maps, head
from untrained_recon.types import ComplexArray


def ksp_of(shape: tuple[int, int], n_coils: int = 5) -> ComplexArray:
    return sigpy.fft(coil_maps(shape, n_coils) * head(shape, 0.0, 0), axes=[-2, -1]).astype(np.complex64)


@pytest.mark.parametrize("shape", [(48, 48), (47, 60)])
def test_maps_of_a_square_block_are_those_of_sigpy(shape: tuple[int, int]) -> None:
    ksp = ksp_of(shape)
    app = sigpy.mri.app.EspiritCalib(ksp, 20, kernel_width=6, crop=0.0, max_iter=300, output_eigenvalue=True, show_pbar=False)
    theirs, (their_values,) = app.run()
    block = torch.from_numpy(sigpy.resize(ksp, (5, 20, 20)))
    ours, values = eigenmaps(block, shape, MapsConfig())
    inside = np.abs(head(shape, 0.0, 0)) > 0.3
    np.testing.assert_allclose(values[0].numpy()[inside], their_values[inside], rtol=1e-2)
    alignment = np.abs((ours[0].numpy().conj() * theirs).sum(axis=0))[inside]
    assert np.median(alignment) > 0.9999
    np.testing.assert_allclose(ours[0, 0].numpy().imag, 0, atol=1e-5)


def test_sets_are_orthonormal_and_in_order() -> None:
    maps, values = eigenmaps(torch.from_numpy(sigpy.resize(ksp_of((40, 32)), (5, 16, 20))), (40, 32), MapsConfig(sets=3))
    assert maps.shape == (3, 5, 40, 32)
    assert (values[:-1] >= values[1:]).all()
    gram = torch.einsum("acyx,bcyx->yxab", maps.conj(), maps)
    torch.testing.assert_close(gram, torch.eye(3, dtype=gram.dtype).expand_as(gram), atol=1e-4, rtol=0)


def test_columns_make_up_for_lines() -> None:
    shape = (64, 64)
    ksp = ksp_of(shape, 8)
    imgs = sigpy.ifft(ksp, axes=[-2, -1])

    def left_over(block: tuple[int, int]) -> float:
        maps, _ = eigenmaps(torch.from_numpy(sigpy.resize(ksp, (8, *block))), shape, MapsConfig())
        mps = maps[0].numpy()
        return float(np.linalg.norm(imgs - mps * (mps.conj() * imgs).sum(axis=0)) / np.linalg.norm(imgs))

    assert left_over((10, 24)) < 0.5 * left_over((10, 10))
    assert left_over((10, 24)) < 0.05
