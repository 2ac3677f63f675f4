import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.doubles.helpers import read_raw
from untrained_recon.config import Config, ScanConfig, load_config
from untrained_recon.errors import ConfigError
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import fft2, rss, to_recon_matrix
from untrained_recon.recon.evidence import AROUND, noise_map, undetermined_map, undetermined_part
from untrained_recon.recon.fit.watch import UNWATCHED, Watch
from untrained_recon.recon.plane import reconstruct
from untrained_recon.recon.untrained import Task
from untrained_recon.recon.volume import reconstruct_image
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.types import BoolArray, ComplexArray, EvidenceMap, FloatArray, KSpace, Reconstruction

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(small_scan: Path) -> KSpace:
    xml, acquisitions = read_raw(small_scan)
    return next(iter(assemble([acquisitions], parse_header(xml), ScanConfig())))


def config(**changes: str) -> Config:
    overrides = {
        "fit.iterations": "10",
        "network.layers": "4",
        "network.channels": "8",
        "network.in_size": "[8, 6]",
        "refine.iterations": "20",
        "device": "cpu",
    }
    return load_config("fast", overrides | {key.replace("__", "."): value for key, value in changes.items()})


def pixels(evidence: EvidenceMap | None) -> FloatArray:
    assert evidence is not None
    assert evidence.pixels is not None, evidence.note
    return evidence.pixels


def reason(evidence: EvidenceMap | None) -> str:
    assert evidence is not None
    assert evidence.pixels is None
    return evidence.note


def noisy(data: KSpace, ksp: ComplexArray, seed: int) -> KSpace:
    """A measurement of ``ksp`` with white noise of standard deviation 1 in real and imaginary part."""
    noise = np.random.default_rng(seed).standard_normal((2, *ksp.shape))
    samples = ((ksp + noise[0] + 1j * noise[1]) * data.mask).astype(np.complex64)
    return dataclasses.replace(data, ksp=samples, calib=samples)


def covered(images: list[FloatArray], maps: list[FloatArray], width: float, where: BoolArray) -> float:
    """Share of the pixels whose interval holds the mean over the noise."""
    mean = np.mean(images, axis=0)
    inside = [np.abs(img - mean) <= width * sd for img, sd in zip(images, maps, strict=False)]
    return float(np.mean(np.stack(inside)[:, where]))


@pytest.mark.slow
def test_intervals_by_the_noise_map_cover_the_mean_over_the_noise(data: KSpace) -> None:
    """Nominal 68 % and 95 %. Sixteen scans of one object, each reconstructed as a whole; maps of three of them."""
    ksp: ComplexArray = fft2(torch.from_numpy(25 * coil_maps((64, 48), 6) * head((64, 48), 0.0, 0))).numpy()
    scans = [noisy(data, ksp, seed) for seed in range(16)]
    recons = [reconstruct(scan, config(evidence__replicas="16" if n < 3 else "0"), CPU) for n, scan in enumerate(scans)]
    images, maps = [r.magnitude for r in recons], [pixels(r.noise) for r in recons[:3]]
    inside: BoolArray = np.abs(head((64, 48), 0.0, 0)) > 0.1
    assert np.median(np.mean(images, axis=0)[inside]) > 5  # far from Rice's bias
    assert 0.60 < covered(images, maps, 1.0, inside) < 0.76
    assert 0.89 < covered(images, maps, 1.96, inside) < 0.98
    ratio = np.sqrt(np.mean(np.square(maps)[:, inside]) / np.mean(np.var(images, axis=0, ddof=1)[inside]))
    assert 0.85 < ratio < 1.2


@pytest.mark.parametrize(("averages", "weighted", "sd"), [(1.0, False, 1.0), (4.0, False, 0.5), (1.0, True, math.sqrt(3.25 / 2))])
def test_a_transformed_image_has_the_noise_of_its_samples(averages: float, weighted: bool, sd: float, data: KSpace) -> None:
    """By a closed form: at high signal the magnitude's noise is the real part's, the mean over all samples."""
    weights = np.ones(data.mask.shape, np.float32)
    if weighted:
        weights[::2], weights[1::2] = math.sqrt(4 / 9), 1.0
    coil = torch.zeros(1, 64, 48, dtype=torch.complex64)
    coil[0, 32, 24] = 1e4
    known = dataclasses.replace(
        data,
        ksp=coil.numpy(),
        mask=np.ones_like(data.mask),
        weights=weights if weighted else None,
        averages=averages,
    )
    found = reconstruct(known, config(evidence__replicas="400"), CPU)
    assert found.account.method == "direct"
    assert pixels(found.noise).mean() == pytest.approx(sd, rel=0.02)


def test_without_a_noise_scan_the_level_is_estimated_and_the_map_says_so(data: KSpace) -> None:
    bare = dataclasses.replace(data, prewhitened=False)
    found = reconstruct(bare, config(recon__method="zero-filled", evidence__replicas="4"), CPU)
    assert found.noise is not None
    assert found.noise.note.startswith("4 replicas, noise level estimated in the corners of k-space, ")
    low = data.mask.copy()
    low[:20] = low[-20:] = False  # no corners
    unknown = dataclasses.replace(bare, mask=low, ksp=data.ksp * low)
    assert "the noise level is not known" in reason(reconstruct(unknown, config(evidence__replicas="4"), CPU).noise)


@pytest.mark.parametrize("method", ["network", "cg-sense", "zero-filled"])
def test_the_image_is_the_same_with_and_without_evidence_and_the_map_is_reproducible(method: str, data: KSpace) -> None:
    settings = config(recon__method=method, evidence__replicas="4")
    plain = reconstruct(data, config(recon__method=method), CPU)
    first, again = (reconstruct(data, settings, CPU) for _ in range(2))
    assert plain.noise is None
    np.testing.assert_array_equal(first.magnitude, plain.magnitude)
    np.testing.assert_array_equal(pixels(first.noise), pixels(again.noise))
    assert (pixels(first.noise) > 0).all()
    assert first.noise is not None
    assert first.noise.note == "4 replicas, noise level known, 1"


@pytest.mark.parametrize("mode", ["maps", "coils", "separate"])
def test_the_spread_is_that_of_the_images_that_each_run_would_deliver_alone(mode: str, data: KSpace) -> None:
    """Run n of several is the single run of the seed n further on."""
    quick = {"recon__mode": mode, "fit__iterations": "3", "refine__iterations": "4"}
    both = reconstruct(data, config(**quick, recon__runs="2", evidence__spread="true", evidence__replicas="4"), CPU)
    alone = [reconstruct(data, config(**quick, seed=str(seed)), CPU).magnitude for seed in (0, 1)]
    np.testing.assert_allclose(pixels(both.spread), np.std(alone, axis=0, ddof=1), atol=1e-3)
    assert both.spread is not None
    assert both.spread.note == "2 runs from different seeds"
    assert pixels(both.noise).shape == both.magnitude.shape


def test_where_there_is_no_short_way_no_time_or_no_network_the_reason_is_given(data: KSpace) -> None:
    asked = {"recon__runs": "2", "evidence__spread": "true", "evidence__replicas": "4"}
    unrefined = reconstruct(data, config(refine__iterations="0", **asked), CPU)
    assert "each replica would take a fit of the network" in reason(unrefined.noise)
    fallback = reconstruct(data, config(**asked), CPU, Watch.of(0.0))
    assert fallback.account.method == "cg-sense"
    assert reason(fallback.spread) == "no network was fitted"
    assert reason(fallback.noise) == "the time left allows fewer than 4 replicas"  # and not how long one takes, as none was made


def test_fewer_replicas_are_made_where_time_is_short(data: KSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("untrained_recon.recon.evidence.time.monotonic", lambda: now)

    def again(ksp: torch.Tensor, _: Watch) -> torch.Tensor:
        nonlocal now
        now += 1  # a replica takes a second
        return to_recon_matrix(ksp, data.encoding)

    def make(seconds: float) -> EvidenceMap:
        ksp = torch.from_numpy(data.ksp)
        return noise_map(again, data, ksp, config(evidence__replicas="8"), Watch.of(seconds))

    assert make(20.0).note == "8 replicas, noise level known, 1"
    assert make(6.5).note == "6 (of 8, for want of time) replicas, noise level known, 1"
    assert reason(make(3.5)) == "the time left allows fewer than 4 replicas of 1 s"


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("out of memory"), RuntimeError("device lost"), MemoryError()])
def test_evidence_that_fails_costs_nothing_but_itself(error: Exception, data: KSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Callable[[], None]:
        raise error

    monkeypatch.setattr("untrained_recon.recon.evidence.rss", fail)
    found = reconstruct(data, config(evidence__replicas="4"), CPU)
    assert found.account.fallback_reason == ""
    assert reason(found.noise) == f"{type(error).__name__}: {error}"


def test_maps_of_a_volume_are_whole_or_missing(data: KSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    ksp: ComplexArray = np.stack([data.ksp] * 3, axis=1)
    encoding = dataclasses.replace(data.encoding, partitions=3, recon_partitions=3)
    mask: npt.NDArray[np.bool_] = np.stack([data.mask] * 3)
    volume = dataclasses.replace(data, ksp=ksp, calib=ksp, mask=mask, calib_mask=mask, encoding=encoding)
    settings = config(recon__method="zero-filled", evidence__replicas="4")
    whole = reconstruct_image(volume, settings, CPU)
    assert pixels(whole.noise).shape == whole.magnitude.shape == (3, 64, 48)
    made: list[Reconstruction] = []

    def without_the_second(*arguments: object) -> Reconstruction:
        recon = reconstruct(*arguments)  # type: ignore[arg-type]
        made.append(recon)
        return dataclasses.replace(recon, noise=EvidenceMap(None, "device lost")) if len(made) == 2 else recon

    monkeypatch.setattr("untrained_recon.recon.volume.reconstruct", without_the_second)
    assert reason(reconstruct_image(volume, settings, CPU).noise) == "1 of 3 planes: device lost"


def test_settings_that_make_no_standard_deviation_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"evidence.spread is over recon.runs, which must be 2 or more"):
        config(evidence__spread="true")
    with pytest.raises(ConfigError, match=r"evidence.replicas must be 4 or more"):
        config(evidence__replicas="3")


def test_coils_without_signal_get_no_noise(data: KSpace) -> None:
    dead = torch.from_numpy(data.ksp).clone()
    dead[0] = 0
    seen: list[torch.Tensor] = []

    def again(ksp: torch.Tensor, _: Watch) -> torch.Tensor:
        seen.append(ksp)
        return ksp

    noise_map(again, data, dead, config(evidence__replicas="4"), UNWATCHED)
    assert not seen[0][0].any()
    assert torch.equal(seen[0][1] != 0, torch.from_numpy(data.mask))
    assert not torch.equal(rss(seen[0]), rss(seen[1]))


def test_a_map_of_what_is_not_in_the_samples_leaves_the_image_as_it_is(data: KSpace) -> None:
    found = reconstruct(data, config(evidence__undetermined="true"), CPU)
    plain = reconstruct(data, config(), CPU)
    undetermined = pixels(found.undetermined)
    assert plain.undetermined is None
    np.testing.assert_array_equal(found.magnitude, plain.magnitude)
    assert undetermined.shape == found.magnitude.shape
    assert 0 < np.linalg.norm(undetermined) < 0.5 * np.linalg.norm(found.magnitude)
    assert "which part" in reason(
        reconstruct(data, config(evidence__undetermined="true", recon__method="zero-filled"), CPU).undetermined
    )


def test_the_map_of_what_is_undetermined_is_a_root_mean_square_thereabouts() -> None:
    coil_imgs = torch.zeros(2, 40, 48, dtype=torch.complex64)
    coil_imgs[:, 20, 24] = torch.tensor([3, 4j])
    found = pixels(undetermined_map(lambda: coil_imgs))
    assert np.sum(found**2) == pytest.approx(25, rel=1e-3)
    assert found[20, 24] / found[20, 26] == pytest.approx(np.exp(4 / (4 * AROUND**2)), rel=1e-3)


@pytest.mark.parametrize("mode", ["maps", "coils"])
def test_the_samples_of_the_undetermined_part_are_nearly_zero(mode: str, data: KSpace) -> None:
    ksp = torch.from_numpy(data.ksp)
    task = Task.of(data, ksp, torch.from_numpy(data.mask), config(recon__mode=mode))
    problem = task.problems[0]
    img = problem.conventional()
    img = img + img.abs().max() * torch.randn(img.shape, generator=torch.Generator().manual_seed(0))
    part = undetermined_part(problem, img)
    assert part.norm() > 0.1 * img.norm()
    assert problem.operator(part).norm() < 0.2 * problem.operator(img).norm()
