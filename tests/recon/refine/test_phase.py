import numpy as np
import torch

from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import CoilFourier, Sense, fft2
from untrained_recon.recon.refine.phase import image_phase
from untrained_recon.types import BoolArray

SHAPE = (64, 60)


def measured(phase: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, BoolArray]:
    """Unit maps, the central lines of a head with the given phase, and their mask."""
    mps = torch.from_numpy(coil_maps(SHAPE, 6).astype(np.complex64))
    mps = mps / torch.linalg.vector_norm(mps, dim=0)
    magnitude = torch.from_numpy(np.abs(head(SHAPE, 0.0, 0)).astype(np.float32))
    mask = np.zeros(SHAPE, bool)
    mask[20:44] = True
    return mps, fft2(mps * torch.polar(magnitude, phase)) * torch.from_numpy(mask), mask


def smooth_phase() -> torch.Tensor:
    y, x = torch.linspace(-1, 1, SHAPE[0])[:, None], torch.linspace(-1, 1, SHAPE[1])
    return 2.0 * y + x**2 - y * x


def test_a_smooth_phase_is_found_where_there_is_signal() -> None:
    mps, calib, mask = measured(smooth_phase())
    found = image_phase(Sense(mps, torch.from_numpy(mask)), calib, mask)
    torch.testing.assert_close(found.abs(), torch.ones(SHAPE))
    inside = torch.from_numpy(np.abs(head(SHAPE, 0.0, 0)) > 0.3)
    error = (found * torch.polar(torch.ones(SHAPE), -smooth_phase())).angle().abs()[inside]
    assert error.median() < 0.05


def test_every_coil_has_a_phase_of_its_own() -> None:
    mps, calib, mask = measured(smooth_phase())
    found = image_phase(CoilFourier(torch.from_numpy(mask), len(mps)), calib, mask)
    combined = (mps.conj() * found).sum(dim=0).angle()
    inside = torch.from_numpy(np.abs(head(SHAPE, 0.0, 0)) > 0.3)
    error = torch.polar(torch.ones(SHAPE), combined - smooth_phase()).angle().abs()[inside]
    assert error.median() < 0.1


def test_without_a_calibrated_centre_the_phase_is_zero() -> None:
    mps, calib, _ = measured(smooth_phase())
    found = image_phase(CoilFourier(torch.ones(SHAPE), len(mps)), calib, np.zeros(SHAPE, bool))
    torch.testing.assert_close(found, torch.ones_like(found))
