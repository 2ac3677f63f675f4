import itertools
import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from untrained_recon.config import FitConfig
from untrained_recon.errors import FitError, HostGoneError
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import CoilFourier, fft2
from untrained_recon.recon.fit.loop import FitResult, fit, radial_weight
from untrained_recon.recon.fit.optimisers import DECAY, WARM_UP
from untrained_recon.recon.fit.watch import Progress, Watch
from untrained_recon.recon.networks import ConvDecoder, to_complex

CPU = torch.device("cpu")


def problem(scale: float = 1.0) -> tuple[CoilFourier, torch.Tensor]:
    coil_imgs = torch.from_numpy(coil_maps((24, 20), 2) * head((24, 20), 0.0, 0))
    mask = torch.zeros(24, 20, dtype=torch.bool)
    mask[::2] = True
    mask[8:16] = True
    operator = CoilFourier(mask, 2)
    return operator, scale * operator(coil_imgs)


def run(operator: CoilFourier, ksp: torch.Tensor, seed: int = 0, held: torch.Tensor | None = None, **settings: object) -> FitResult:
    network = ConvDecoder(4, (24, 20), in_size=(3, 3), layers=4, channels=16, generator=torch.Generator().manual_seed(seed))
    return fit(network, operator, ksp, FitConfig(**({"iterations": 30} | settings)), held=held)  # type: ignore[arg-type]


def some_lines() -> torch.Tensor:
    held = torch.zeros(24, 20, dtype=torch.bool)
    held[[2, 6, 20]] = True
    return held


@pytest.mark.parametrize(
    "settings", [{}, *({"schedule": name, "lr": 0.03, "weighting": 0.5} for name in ("one-cycle", "warmup-stable-decay"))]
)
def test_the_loss_falls_and_the_image_explains_the_data(settings: dict[str, object]) -> None:
    operator, ksp = problem()
    losses: list[float] = []
    network = ConvDecoder(4, (24, 20), in_size=(3, 3), layers=4, channels=16, generator=torch.Generator().manual_seed(0))
    result = fit(network, operator, ksp, FitConfig(iterations=200, **settings), Watch(follow=lambda p: losses.append(p.loss)))  # type: ignore[arg-type]
    assert len(losses) == result.iterations == 200
    assert result.stop_reason == "iterations"
    assert result.loss == losses[-1] < 0.1 * losses[0]
    residual = torch.linalg.vector_norm(operator(result.img) - ksp) / torch.linalg.vector_norm(ksp)
    assert residual < 0.35


def test_the_same_seed_gives_the_same_image_bit_for_bit_another_seed_another() -> None:
    operator, ksp = problem()
    first = run(operator, ksp).img
    assert torch.equal(first, run(operator, ksp).img)
    assert not torch.equal(first, run(operator, ksp, seed=1).img)


def test_the_image_scales_with_the_data() -> None:
    operator, ksp = problem()
    _, tiny = problem(2.0**-20)
    torch.testing.assert_close(run(operator, tiny).img * 2.0**20, run(operator, ksp).img, rtol=1e-3, atol=1e-4)


def test_the_first_loss_is_that_of_the_paper_up_to_its_constant() -> None:
    operator, ksp = problem()
    network = ConvDecoder(4, (24, 20), in_size=(3, 3), layers=4, channels=16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        img = to_complex(network())
    scale = torch.linalg.vector_norm(img) / torch.linalg.vector_norm(operator.adjoint(ksp))
    expected = torch.linalg.vector_norm(ksp * scale - operator(img)) ** 2 / torch.linalg.vector_norm(ksp * scale) ** 2
    result = run(operator, ksp, iterations=1)
    assert result.loss == pytest.approx(float(expected), rel=1e-4)


def test_a_callback_follows_and_stops_the_fit() -> None:
    operator, ksp = problem()
    seen: list[Progress] = []

    def callback(progress: Progress) -> bool:
        seen.append(progress)
        return progress.iteration < 5

    network = ConvDecoder(4, (24, 20), in_size=(3, 3), layers=4, channels=16, generator=torch.Generator().manual_seed(0))
    result = fit(network, operator, ksp, FitConfig(iterations=30), Watch(follow=callback))
    assert (result.iterations, result.stop_reason) == (5, "callback")
    assert [p.iteration for p in seen] == [1, 2, 3, 4, 5]
    assert math.isfinite(seen[-1].loss)


def test_a_fit_that_nobody_waits_for_is_given_up_though_nobody_follows() -> None:
    operator, ksp = problem()
    network = ConvDecoder(4, (24, 20), in_size=(3, 3), layers=4, channels=16, generator=torch.Generator().manual_seed(0))
    looks = itertools.count()
    with pytest.raises(HostGoneError):
        fit(network, operator, ksp, FitConfig(iterations=1_000_000), Watch(given_up=lambda: next(looks) > 5))


def test_a_fit_that_diverges_is_an_error() -> None:
    operator, ksp = problem()
    with pytest.raises(FitError, match=r"the loss became nan at iteration 1; lower fit\.lr"):
        run(operator, torch.full_like(ksp, math.nan))


def test_radial_weight_is_one_without_exponent_and_grows_outwards_with_it() -> None:
    assert torch.equal(radial_weight((5, 4), 0.0, CPU), torch.ones(5, 4))
    weight = radial_weight((8, 7), 0.5, CPU)
    assert weight.argmin() == 4 * 7 + 3
    assert weight[4, 3] == pytest.approx(0.02**0.5)
    assert weight[0, 3] == pytest.approx(0.52**0.5)


def test_vector_math_is_exact_from_the_first_call() -> None:
    weight = radial_weight((128, 128), 0.5, CPU).numpy()
    k = (np.arange(128) - 64) / 128
    np.testing.assert_allclose(weight, (np.hypot(k[:, None], k[None, :]) + 0.02) ** 0.5, rtol=1e-6)
    assert fft2(torch.ones(4, 4)).abs().max() == pytest.approx(4)


def test_held_out_samples_are_not_seen() -> None:
    operator, ksp = problem()
    held = some_lines()
    changed = torch.where(held, 3 * ksp, ksp)
    first, other = (run(operator, k, held=held, iterations=1).img for k in (ksp, changed))
    assert torch.equal(first, other)


def test_a_fit_ends_when_its_residual_is_down_to_the_noise() -> None:
    operator, ksp = problem()
    residuals: list[float] = []

    def follow(progress: Progress) -> None:
        residuals.append(float((operator(progress.img) - ksp).abs().square().sum()) / int(operator.mask.sum()) / 2)

    network = ConvDecoder(4, (24, 20), in_size=(3, 3), layers=4, channels=16, generator=torch.Generator().manual_seed(0))
    noise = 0.5 * float(ksp.abs().square().mean().sqrt())
    settings = FitConfig(iterations=500, discrepancy=0.8)
    result = fit(network, operator, ksp, settings, Watch(follow=follow), level=noise)
    assert result.stop_reason == "discrepancy"
    assert residuals[-1] <= 0.8 * noise**2 < residuals[-2]
    assert run(operator, ksp, iterations=40, discrepancy=0.8).stop_reason == "iterations"  # the noise is not known


def settled(iterations: int, level: float, watch: Watch) -> FitResult:
    operator, ksp = problem()
    network = ConvDecoder(4, (24, 20), in_size=(3, 3), layers=4, channels=16, generator=torch.Generator().manual_seed(0))
    settings = FitConfig(iterations=iterations, discrepancy=1, lr=0.03, schedule="warmup-stable-decay")
    return fit(network, operator, ksp, settings, watch, level=level * float(ksp.abs().square().mean().sqrt()))


def test_more_iterations_than_the_data_ask_for_change_nothing() -> None:
    images: list[torch.Tensor] = []
    once = settled(200, 0.5, Watch(follow=lambda progress: images.append(progress.img)))
    assert (once.iterations, once.stop_reason) == (len(images), "discrepancy")
    assert WARM_UP + DECAY < once.iterations < 200
    assert torch.equal(settled(1000, 0.5, Watch()).img, once.img)
    steps = [float((after - before).norm()) for before, after in itertools.pairwise(images)]
    assert steps[-1] < 0.1 * steps[-1 - DECAY]  # it has settled


def test_a_fit_settles_before_its_iterations_or_its_time_end(monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[torch.Tensor] = []
    watch = Watch(follow=lambda progress: images.append(progress.img))
    assert settled(90, 0, watch).stop_reason == "iterations"
    by_iterations, images[:] = images[-2:], []
    clock = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: next(clock) / 100)
    late = settled(1000, 0, replace(watch, deadline=2))
    assert late.stop_reason == "time budget"
    assert late.iterations == len(images) < 200
    for before, after in (by_iterations, images[-2:]):
        assert (after - before).norm() < 0.01 * after.norm()


def test_a_fit_ends_at_once_where_time_is_too_short_for_the_fewest_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    operator, ksp = problem()

    def in_time(seconds: float, fewest: int) -> FitResult:
        clock = itertools.count()
        monkeypatch.setattr(time, "monotonic", lambda: next(clock) / 100)
        network = ConvDecoder(4, (24, 20), in_size=(3, 3), layers=4, channels=16, generator=torch.Generator().manual_seed(0))
        return fit(network, operator, ksp, FitConfig(iterations=1000), Watch(deadline=seconds), fewest=fewest)

    short, enough, any_number = in_time(0.5, 30), in_time(2, 30), in_time(0.5, 1)
    assert (short.stop_reason, short.too_early) == ("time budget", True)
    assert short.iterations < 5 < any_number.iterations < 30
    assert enough.iterations >= 30
    assert not enough.too_early
    assert not any_number.too_early
