import numpy as np
import pytest
import torch

from untrained_recon.coils import estimate_map_sets, needed_sets
from untrained_recon.config import MapsConfig
from untrained_recon.masks import acs_lines
from untrained_recon.operators import fft2, ifft2
from untrained_recon.phantom import coil_covariance, coil_maps, draw_noise, head
from untrained_recon.types import BoolArray, ComplexArray

CPU = torch.device("cpu")
SHAPE = (96, 80)


def scan(n_coils: int, kept: int = SHAPE[0], noise: float = 0.01, seed: int = 1) -> ComplexArray:
    """k-space of a head whose field of view is cut to ``kept`` rows, so that what lies outside folds in."""
    full = coil_maps(SHAPE, n_coils) * head(SHAPE, 0.0, seed)
    full = full + draw_noise(coil_covariance(n_coils, noise), SHAPE, np.random.default_rng(seed))
    folded = np.zeros((n_coils, kept, SHAPE[1]), np.complex64)
    for row in range(SHAPE[0]):
        folded[:, (row - SHAPE[0] // 2 + kept // 2) % kept] += full[:, row]
    ksp: ComplexArray = fft2(torch.from_numpy(folded)).numpy()
    return ksp


def centre(ksp: ComplexArray, acs: int) -> BoolArray:
    return np.repeat(acs_lines(ksp.shape[1], acs)[:, None], ksp.shape[2], axis=1)


def needed(ksp: ComplexArray, acs: int) -> int:
    mask = centre(ksp, acs)
    return needed_sets(ksp * mask, mask, MapsConfig(), CPU)


@pytest.mark.parametrize("acs", [8, 16, 24])
@pytest.mark.parametrize("n_coils", [1, 2, 4, 8])
def test_one_set_where_the_object_fits_the_field_of_view(n_coils: int, acs: int) -> None:
    assert needed(scan(n_coils), acs) == 1
    assert needed(scan(n_coils, noise=0.05), acs) == 1


@pytest.mark.parametrize("acs", [12, 16, 24])
@pytest.mark.parametrize(("n_coils", "kept"), [(4, 64), (8, 72), (8, 64)])
def test_two_sets_where_it_folds(n_coils: int, kept: int, acs: int) -> None:
    assert needed(scan(n_coils, kept), acs) == 2


def test_the_choice_does_not_hang_on_the_scale_or_on_dead_coils() -> None:
    ksp = scan(5, 72)
    ksp[2] = 0
    for scale in (1e-12, 1e12):
        assert needed((scale * ksp).astype(np.complex64), 20) == 2


def test_auto_takes_what_is_needed_and_a_number_is_obeyed() -> None:
    ksp = scan(6, 64)
    mask = centre(ksp, 20)
    for settings, sets in ((MapsConfig(), 2), (MapsConfig(sets=1), 1), (MapsConfig(sets=3), 3)):
        assert len(estimate_map_sets(ksp * mask, mask, settings, CPU)) == sets
    few = ksp[:2]
    assert len(estimate_map_sets(few * mask, mask, MapsConfig(sets=4), CPU)) == 2


def test_two_sets_explain_what_one_cannot() -> None:
    ksp = scan(8, 64, noise=0.001)
    imgs = ifft2(torch.from_numpy(ksp))

    def left_over(sets: int) -> float:
        mps = torch.from_numpy(estimate_map_sets(ksp, np.ones(ksp.shape[1:], bool), MapsConfig(sets=sets), CPU))
        explained = (mps * (mps.conj() * imgs).sum(dim=1, keepdim=True)).sum(dim=0)
        return float((imgs - explained).norm() / imgs.norm())

    assert left_over(2) < 0.5 * left_over(1)
