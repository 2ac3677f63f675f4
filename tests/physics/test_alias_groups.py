import numpy as np
import pytest
import torch

from tests.doubles.helpers import random_complex
from untrained_recon.physics.alias_groups import left_open
from untrained_recon.physics.operators import Sense

SHAPE = (12, 5)


def unit_maps(n_sets: int, n_coils: int) -> torch.Tensor:
    return torch.linalg.qr(random_complex((*SHAPE, n_coils, n_sets), 3))[0].permute(3, 2, 0, 1)


def dense(operator: Sense) -> torch.Tensor:
    """The matrix of the operator."""
    units = torch.eye(int(np.prod(operator.ishape)), dtype=torch.complex128).reshape(-1, *operator.ishape)
    return torch.stack([operator(unit).flatten() for unit in units], dim=1)


def variance(operator: Sense, img: torch.Tensor, error: float) -> float:
    """That of all coil images given the samples, where that of a pixel was its energy before."""
    matrix, prior = dense(operator), torch.diag(img.flatten().abs().square().reciprocal()).to(torch.complex128)
    return float(torch.linalg.inv(prior + matrix.mH @ matrix / error**2).diagonal().real.sum())


@pytest.mark.parametrize(("accel", "n_sets", "first"), [(2, 1, 0), (3, 1, 2), (4, 1, 1), (3, 2, 0)])
def test_what_regular_lines_leave_open_is_the_variance_that_the_samples_leave(accel: int, n_sets: int, first: int) -> None:
    mps, img, error = unit_maps(n_sets, 6), random_complex((n_sets, *SHAPE), 4), 0.4
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[first::accel] = True
    shifts = [(n * SHAPE[0] // accel, 0) for n in range(1, accel)]
    energy = img.abs().square()
    told_apart = float((energy / (1 + energy / accel / error**2)).sum())
    left = left_open(Sense(mps, mask), img, shifts, error)
    assert left == pytest.approx(variance(Sense(mps, mask), img, error) - told_apart, rel=1e-6)
    assert left > 0


def test_coils_that_see_one_place_each_leave_nothing_open_and_coils_alike_all_but_the_sum() -> None:
    blocks = torch.eye(3, dtype=torch.complex128).repeat_interleave(SHAPE[0] // 3, dim=1)
    apart = blocks[:, :, None].expand(3, *SHAPE)
    alike = torch.full((3, *SHAPE), 3**-0.5, dtype=torch.complex128)
    mask, img = torch.ones(SHAPE, dtype=torch.bool), torch.ones(SHAPE, dtype=torch.complex128)
    assert left_open(Sense(apart, mask), img, [(4, 0), (8, 0)], 1e-4) == pytest.approx(0, abs=1e-6)
    assert left_open(Sense(alike, mask), img, [(4, 0), (8, 0)], 1e-4) == pytest.approx(2 / 3 * img.numel(), rel=1e-6)


def test_pixels_between_tell_no_more() -> None:
    y = torch.linspace(-1, 1, 144, dtype=torch.float64)[:, None]
    mps = torch.stack([torch.exp(-((y - c) ** 2) + 0 * y.T) for c in (-1.0, 0.0, 1.0)]).to(torch.complex128)
    mps = mps / torch.linalg.vector_norm(mps, dim=0)
    mask, img = torch.ones(144, 144, dtype=torch.bool), torch.ones(144, 144, dtype=torch.complex128)
    few = left_open(Sense(mps, mask), img, [(72, 0)], 0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("untrained_recon.physics.alias_groups.PIXELS", 144)
        assert few == pytest.approx(left_open(Sense(mps, mask), img, [(72, 0)], 0.05), rel=0.05)
