import numpy as np
import pytest
import torch

from untrained_recon.errors import HostGoneError
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import Sense
from untrained_recon.physics.uncertainty import uncertainty
from untrained_recon.recon.fit.held_out import held_out, held_out_error
from untrained_recon.recon.fit.watch import LOOK, Progress, Watch
from untrained_recon.recon.refine.prior import CollaborativeFilter
from untrained_recon.recon.refine.steps import FIRST, LAST, refine
from untrained_recon.types import BoolArray

SHAPE = (64, 64)
PRIOR = CollaborativeFilter(torch.ones(SHAPE, dtype=torch.complex64))


def problem(noise: float) -> tuple[Sense, torch.Tensor, torch.Tensor, BoolArray]:
    """A head at threefold acceleration: operator, samples, truth, mask of the calibration lines."""
    rng = np.random.default_rng(0)
    mps = coil_maps(SHAPE, 6)
    truth = torch.from_numpy(np.abs(head(SHAPE, 0.0, 0)).astype(np.complex64))
    calib_mask = np.zeros(SHAPE, bool)
    calib_mask[24:40] = True
    mask = calib_mask | (rng.uniform(size=SHAPE[0]) < 0.2)[:, None]
    operator = Sense(torch.from_numpy((mps / np.linalg.norm(mps, axis=0)).astype(np.complex64)), torch.from_numpy(mask))
    error = torch.from_numpy((rng.standard_normal((2, 6, *SHAPE)) * noise).astype(np.float32))
    return operator, operator(truth) + torch.complex(error[0], error[1]) * operator.mask, truth, calib_mask


def relative(img: torch.Tensor, truth: torch.Tensor) -> float:
    return float((img - truth).norm() / truth.norm())


def test_refinement_takes_aliasing_and_noise_away_wherever_it_starts() -> None:
    operator, ksp, truth, calib_mask = problem(0.02)
    error = uncertainty(operator, ksp, ksp, calib_mask)
    start = operator.adjoint(ksp)
    found = refine(operator, ksp, start, PRIOR, error, 25).img
    assert relative(found, truth) < 0.4 * relative(start, truth)
    other = refine(operator, ksp, truth, PRIOR, error, 25).img
    assert relative(found, other) < 0.5 * relative(start, truth)


def test_what_is_held_out_is_predicted_first_and_used_in_the_end() -> None:
    operator, ksp, truth, calib_mask = problem(0.02)
    error = uncertainty(operator, ksp, ksp, calib_mask)
    held = held_out(operator.mask.numpy(), 0.2, torch.Generator().manual_seed(0))
    assert held is not None
    start = operator.adjoint(ksp * ~held)
    found = refine(operator, ksp, start, PRIOR, error, 30, held=held)
    assert found.stop_reason == "discrepancy"
    assert found.held_out < 0.6 * held_out_error(operator(start), ksp, held)
    assert held_out_error(operator(found.img), ksp, held) < 0.9 * found.held_out
    assert relative(found.img, truth) < 1.1 * relative(refine(operator, ksp, start, PRIOR, error, 30).img, truth)


def test_a_callback_follows_and_stops_the_refinement() -> None:
    operator, ksp, truth, _ = problem(0.02)
    seen: list[Progress] = []

    def callback(progress: Progress) -> bool:
        seen.append(progress)
        return progress.iteration < 3

    found = refine(operator, ksp, truth, PRIOR, 0.1, 25, Watch(follow=callback))
    assert (found.iterations, found.stop_reason) == (3, "callback")
    assert [(p.stage, p.iteration, p.iterations) for p in seen] == [("refine", n, 25) for n in (1, 2, 3)]
    assert torch.equal(seen[-1].img, found.img)


class Levels:
    """A prior that leaves the image as it is and notes the levels."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def prepare(self, img: torch.Tensor) -> None:
        """Nothing."""

    def __call__(self, img: torch.Tensor, level: float) -> torch.Tensor:
        """The image."""
        self.seen.append(level)
        return img


def test_where_time_suffices_the_steps_do_not_depend_on_it() -> None:
    operator, ksp, truth, _ = problem(0.02)
    with_limit, without = Levels(), Levels()
    refine(operator, ksp, truth, with_limit, 0.1, 25, Watch.of(1000.0))
    refine(operator, ksp, truth, without, 0.1, 25)
    assert with_limit.seen == without.seen


def test_steps_that_are_slow_at_first_let_the_threshold_fall_faster_and_never_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    operator, ksp, truth, _ = problem(0.02)
    now = 0.0
    monkeypatch.setattr("untrained_recon.recon.refine.steps.time.monotonic", lambda: now)

    class Slow(Levels):
        def __call__(self, img: torch.Tensor, level: float) -> torch.Tensor:
            nonlocal now
            now += 2.2 if len(self.seen) < 3 else 0.02
            return super().__call__(img, level)

    slow = Slow()
    refine(operator, ksp, truth, slow, 0.1, 20, Watch.of(20.0))
    assert len(slow.seen) == 20
    assert slow.seen == sorted(slow.seen, reverse=True)


def test_who_follows_hears_every_few_steps_where_to_look_is_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    operator, ksp, truth, _ = problem(0.02)
    monkeypatch.setitem(LOOK, "cpu", 10)
    for steps, look, heard in ((25, None, [10, 20, 25]), (3, None, [3]), (3, 1, [1, 2, 3])):
        seen: list[Progress] = []
        found = refine(operator, ksp, truth, PRIOR, 0.1, steps, Watch(follow=seen.append), look=look)
        assert [progress.iteration for progress in seen] == heard
        assert found.iterations == steps


def test_a_refinement_that_nobody_waits_for_is_given_up_though_nobody_follows() -> None:
    operator, ksp, truth, _ = problem(0.02)
    looks = iter([False] * 3 + [True])
    with pytest.raises(HostGoneError):
        refine(operator, ksp, truth, PRIOR, 0.1, 25, Watch(given_up=lambda: next(looks)))
    assert not list(looks)


def test_two_sets_of_maps_are_refined_together() -> None:
    single, ksp, truth, calib_mask = problem(0.02)
    left = torch.zeros(SHAPE)
    left[:, :32] = 1
    operator = Sense(torch.stack([single.mps * left, single.mps * (1 - left)]), single.mask)  # each set sees one half
    error = uncertainty(operator, ksp, ksp, calib_mask)
    assert error == pytest.approx(uncertainty(single, ksp, ksp, calib_mask), rel=1e-4)
    found = refine(operator, ksp, operator.adjoint(ksp), PRIOR, error, 25).img
    assert found.shape == (2, *SHAPE)
    assert relative(found[0] * left + found[1] * (1 - left), truth) < 0.5 * relative(single.adjoint(ksp), truth)


def test_refinement_scales_with_the_data() -> None:
    operator, ksp, _, calib_mask = problem(0.02)
    found = []
    for scale in (1.0, 2.0**-20):
        scaled = scale * ksp
        error = uncertainty(operator, scaled, scaled, calib_mask)
        found.append(refine(operator, scaled, operator.adjoint(scaled), PRIOR, error, 5).img / scale)
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


def test_out_of_time_the_threshold_is_down_at_once() -> None:
    operator, ksp, truth, _ = problem(0.02)
    late = refine(operator, ksp, truth, PRIOR, 0.1, 25, Watch.of(0.0))
    assert (late.iterations, late.stop_reason) == (1, "time budget")
    torch.testing.assert_close(late.img, refine(operator, ksp, truth, PRIOR, 0.1 * LAST / FIRST, 1).img)
