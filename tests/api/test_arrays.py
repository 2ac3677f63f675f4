from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import untrained_recon as ur
from untrained_recon.errors import (
    CalibrationError,
    ConfigError,
    KSpaceError,
    MapsError,
    MaskError,
    NoiseError,
    NonFiniteError,
    RawFileError,
)
from untrained_recon.files.images import read_images
from untrained_recon.files.raw import RawFile
from untrained_recon.phantom.simulation import NOISE_BANDWIDTH

QUICK: dict[str, Any] = {"fit": {"iterations": 4}, "refine": {"iterations": 2}}
SHAPE = (48, 40)


@pytest.fixture(scope="module")
def scan() -> ur.SimulatedScan:
    return ur.simulate(SHAPE, coils=4, accel=2, acs=16, pattern="equispaced")


@pytest.fixture(scope="module")
def slices() -> ur.SimulatedScan:
    return ur.simulate(SHAPE, coils=4, accel=2, acs=16, slices=2)


@pytest.fixture(scope="module")
def recon(scan: ur.SimulatedScan) -> ur.Reconstruction:
    return ur.reconstruct(scan.ksp, scan.mask, noise=scan.noise, **QUICK)


def test_arrays_in_an_image_out(scan: ur.SimulatedScan, recon: ur.Reconstruction) -> None:
    assert recon.magnitude.shape == recon.complex_img.shape == SHAPE
    assert [recon.magnitude.dtype.name, recon.complex_img.dtype.name] == ["float32", "complex64"]
    assert np.linalg.norm(recon.magnitude - scan.truth) < 0.3 * np.linalg.norm(scan.truth)
    assert recon.maps is not None
    assert recon.maps.shape == scan.ksp.shape
    assert (recon.account.method, recon.account.iterations, recon.account.device) == ("maps", 4, "cpu")
    assert recon.account.chi2 > 0
    assert (recon.parts, recon.evidence) == ((), {})


def as_tensor(ksp: Any) -> Any:
    return torch.from_numpy(ksp).requires_grad_()


def as_conjugate_view(ksp: Any) -> Any:
    return torch.from_numpy(ksp.conj()).conj()


def as_strided_double(ksp: Any) -> Any:
    doubled = np.zeros((*ksp.shape[:-1], 2 * ksp.shape[-1]), np.complex128)
    doubled[..., ::2] = ksp
    doubled.setflags(write=False)
    return doubled[..., ::2]


@pytest.mark.parametrize("form", [as_tensor, as_conjugate_view, as_strided_double, np.ndarray.tolist])
def test_the_form_of_the_arrays_does_not_matter(scan: ur.SimulatedScan, recon: ur.Reconstruction, form: Any) -> None:
    mask = torch.from_numpy(scan.mask.astype(np.uint8))
    found = ur.reconstruct(form(scan.ksp), mask, noise=scan.noise, **QUICK)
    np.testing.assert_array_equal(found.magnitude, recon.magnitude)


@pytest.mark.parametrize("form", [lambda m: m[:, 0], lambda m: m[:, :1], lambda m: m[None], lambda m: m.astype(float)])
def test_masks_may_be_lines_or_numbers_and_hide_what_lies_outside(
    scan: ur.SimulatedScan, recon: ur.Reconstruction, form: Any
) -> None:
    beside = scan.ksp + 1000 * ~scan.mask
    found = ur.reconstruct(beside, form(scan.mask), noise=scan.noise, **QUICK)
    np.testing.assert_array_equal(found.magnitude, recon.magnitude)


def test_leading_axes_are_separate_images(slices: ur.SimulatedScan) -> None:
    ksp = slices.ksp[:, None]
    both = ur.reconstruct(ksp, slices.mask, **QUICK, evidence={"replicas": 4}, recon={"method": "cg-sense"})
    alone = ur.reconstruct(slices.ksp[1], slices.mask, recon={"method": "cg-sense"})
    assert both.magnitude.shape == both.complex_img.shape == (2, 1, *SHAPE)
    np.testing.assert_array_equal(both.magnitude[1, 0], alone.magnitude)
    assert both.maps is not None
    assert both.maps.shape == ksp.shape
    pixels = both.evidence["noise"].pixels
    assert pixels is not None
    assert pixels.shape == (2, 1, *SHAPE)
    assert [part.magnitude.shape for part in both.parts] == [SHAPE, SHAPE]
    assert both.account.method == "cg-sense"
    assert both._repr_html_()


def test_each_image_may_have_its_own_mask(slices: ur.SimulatedScan) -> None:
    masks = np.stack([slices.mask, np.ones(SHAPE, bool)])
    full = ur.simulate(SHAPE, coils=4, accel=1, acs=16, slices=2)
    both = ur.reconstruct(np.stack([slices.ksp[0], full.ksp[1]]), masks, recon={"method": "cg-sense"})
    assert [part.account.method for part in both.parts] == ["cg-sense", "direct"]
    assert both.maps is None  # a full image needs none


def test_no_mask_means_fully_sampled() -> None:
    full = ur.simulate(SHAPE, coils=4, accel=1, acs=16)
    recon = ur.reconstruct(full.ksp, noise=full.noise)
    assert recon.account.method == "direct"
    assert np.linalg.norm(recon.magnitude - full.truth) < 0.1 * np.linalg.norm(full.truth)


@pytest.mark.parametrize(
    ("gap", "message"),
    [
        (np.s_[:, 3], "zero in 1 of 48 lines, .*: pass mask="),
        (np.s_[..., :2], "zero in 2 of 40 columns"),
        (np.s_[:, ::3, ::3], r"zero in 12% of the samples.*np\.ones\(\(48, 40\)\)"),
        (np.s_[:], "zero in 48 of 48 lines"),
    ],
)
def test_zeros_without_a_mask_are_an_error_that_asks_for_it(gap: Any, message: str) -> None:
    ksp = ur.simulate(SHAPE, coils=4, accel=1, acs=16).ksp.copy()
    ksp[gap] = 0
    with pytest.raises(MaskError, match=message):
        ur.reconstruct(ksp)
    assert ur.reconstruct(ksp, np.ones(SHAPE)).account.method in ("direct", "empty")


def test_given_maps_stand_for_the_estimated_ones(scan: ur.SimulatedScan) -> None:
    estimated = ur.reconstruct(scan.ksp, scan.mask, **QUICK)
    maps = ur.espirit_maps(scan.ksp, scan.mask)
    assert maps.shape == scan.ksp.shape
    same = ur.reconstruct(scan.ksp, scan.mask, maps=maps, **QUICK)
    np.testing.assert_array_equal(same.magnitude, estimated.magnitude)
    scaled = ur.reconstruct(scan.ksp, scan.mask, maps=torch.from_numpy(7 * maps), **QUICK)
    assert scaled.maps is not None
    norms = np.linalg.norm(scaled.maps, axis=0)
    np.testing.assert_allclose(norms[norms > 0], 1, rtol=1e-5)
    conventional = ur.reconstruct(scan.ksp, scan.mask, maps=maps, recon={"method": "cg-sense"})
    assert conventional.maps is not None
    np.testing.assert_array_equal(conventional.maps, maps)


def test_given_maps_are_whitened_and_compressed_with_the_coils(scan: ur.SimulatedScan) -> None:
    maps = ur.espirit_maps(scan.ksp, scan.mask)
    method: dict[str, Any] = {"recon": {"method": "cg-sense"}}
    estimated, given = (ur.reconstruct(scan.ksp, scan.mask, maps=m, noise=scan.noise, **method) for m in (None, maps))
    assert np.linalg.norm(given.magnitude - estimated.magnitude) < 0.1 * np.linalg.norm(estimated.magnitude)
    few = ur.reconstruct(scan.ksp, scan.mask, maps=maps, **method)
    assert few.maps is not None
    three = ur.reconstruct(scan.ksp, scan.mask, maps={"max_coils": 3}, **method)
    assert three.maps is not None
    assert len(three.maps) == 3
    config = ur.load_config(maps={"max_coils": 3})
    fewer = ur.reconstruct(scan.ksp, scan.mask, maps=maps, config=config, **method)
    assert fewer.maps is not None
    assert len(fewer.maps) == 3
    assert np.linalg.norm(fewer.magnitude - few.magnitude) < 0.2 * np.linalg.norm(few.magnitude)


def test_sets_of_maps_have_an_axis_of_their_own(slices: ur.SimulatedScan) -> None:
    maps = ur.espirit_maps(slices.ksp, slices.mask, sets=2, crop=0.2)
    assert maps.shape == (2, 2, 4, *SHAPE)
    recon = ur.reconstruct(slices.ksp, slices.mask, maps=maps, **QUICK)
    assert recon.magnitude.shape == (2, *SHAPE)
    with pytest.raises(CalibrationError):
        ur.espirit_maps(slices.ksp, slices.mask & (np.arange(48) % 2 == 0)[:, None])


def test_noise_comes_as_samples_or_covariance(scan: ur.SimulatedScan, recon: ur.Reconstruction) -> None:
    assert scan.noise is not None
    cov = np.cov(scan.noise)
    found = ur.reconstruct(scan.ksp, scan.mask, noise=cov, **QUICK)
    np.testing.assert_allclose(found.magnitude, recon.magnitude, rtol=0.02, atol=0.02 * recon.magnitude.max())
    lines = scan.noise.reshape(4, 64, -1)
    np.testing.assert_array_equal(ur.reconstruct(scan.ksp, scan.mask, noise=lines, **QUICK).magnitude, recon.magnitude)
    assert ur.reconstruct(scan.ksp, scan.mask, noise=2 * np.eye(4), recon={"method": "zero-filled"}).magnitude == pytest.approx(
        ur.reconstruct(scan.ksp, scan.mask, recon={"method": "zero-filled"}).magnitude
    )


WRONG: list[tuple[str, Any, type[ur.ReconError], str]] = [
    ("ksp", np.abs, KSpaceError, "ksp is float32; k-space is complex$"),
    ("ksp", lambda k: np.stack([k.real, k.imag], -1), KSpaceError, r"pass ksp\[\.\.\., 0\] \+ 1j"),
    ("ksp", lambda k: k[0], KSpaceError, r"ksp\[None\] for a single coil"),
    ("ksp", lambda k: k[0, 0], KSpaceError, r"must be \(…, n_coils, n_y, n_x\)"),
    ("ksp", lambda k: k[:, :0], KSpaceError, "is empty"),
    ("ksp", lambda k: np.moveaxis(k, 0, -1), KSpaceError, r"48 coils of 40 × 4 samples.*np\.moveaxis\(ksp, -1, -3\)"),
    ("ksp", lambda k: np.moveaxis(k, 0, 1), KSpaceError, r"np\.moveaxis\(ksp, -2, -3\)"),
    ("ksp", lambda k: np.moveaxis(np.repeat(k, 8, 0), 0, -1), KSpaceError, r"np\.moveaxis\(ksp, -1, -3\)"),
    ("ksp", lambda k: np.fft.ifftshift(k, axes=-2), KSpaceError, r"np\.fft\.fftshift\(ksp, axes=-2\)"),
    ("ksp", lambda k: np.fft.ifftshift(k), KSpaceError, "its centre belongs at"),
    ("ksp", lambda k: np.where(np.arange(40) == 7, np.nan, k), NonFiniteError, "ksp holds NaN"),
    ("ksp", lambda k: k.astype(complex) * 1e300, NonFiniteError, "too large for complex64"),
    ("ksp", lambda _: "scan.h5", KSpaceError, "must be an array of numbers"),
    ("ksp", np.ma.masked_array, KSpaceError, r"masked array; .* ksp\.filled\(0\)"),
    ("ksp", lambda k: [k, k[0]], KSpaceError, "cannot be read as an array"),
    ("mask", lambda m: m.T, MaskError, r"mask has shape \(40, 48\), for ksp \(4, 48, 40\) it must be \(48, 40\)"),
    ("mask", lambda m: m[0], MaskError, "or lines"),
    ("mask", lambda m: np.repeat(m[None], 4, 0), MaskError, "no axis of coils"),
    ("mask", lambda m: np.where(m, 0.5, 0), MaskError, "other values than True or 1"),
    ("mask", lambda m: np.where(m, np.nan, 0), MaskError, "other values than"),
    ("mask", lambda m: m & False, MaskError, "nothing was acquired"),
    ("mask", lambda m: ~m, MaskError, "is the mask inverted"),
    ("maps", lambda k: np.abs(k), MapsError, "maps are float32"),
    ("maps", lambda k: k[:3], MapsError, r"maps have shape \(3, 48, 40\); for ksp \(4, 48, 40\)"),
    ("maps", lambda k: k * 0, MapsError, "zero everywhere"),
    ("maps", lambda k: k * np.inf, NonFiniteError, "maps holds NaN"),
    ("noise", lambda n: n[:3], NoiseError, r"samples \(4, n\) or a covariance \(4, 4\)"),
    ("noise", lambda n: n[:, 0], NoiseError, "noise has shape"),
    ("noise", lambda n: n.real, NoiseError, "samples of noise are complex"),
    ("noise", lambda n: n[:, :4], NoiseError, "equals its conjugate transpose"),
    ("noise", lambda n: n[:, :3], NoiseError, "a covariance needs more samples"),
    ("noise", lambda n: n * np.nan, NonFiniteError, "noise holds NaN"),
    ("noise", lambda n: n * 0, NoiseError, "nothing but zeros"),
]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(("name", "spoil", "error", "message"), WRONG)
def test_what_is_wrong_with_an_argument_is_named(
    scan: ur.SimulatedScan, name: str, spoil: Any, error: type[ur.ReconError], message: str
) -> None:
    arguments = {"ksp": scan.ksp, "mask": scan.mask, "maps": scan.ksp, "noise": scan.noise}
    with pytest.raises(error, match=message):
        ur.reconstruct(**{"ksp": scan.ksp, "mask": scan.mask, name: spoil(arguments[name])})


def test_random_samples_are_k_space_too() -> None:
    rng = np.random.default_rng(0)
    ksp = rng.standard_normal((8, 16, 12)) + 1j * rng.standard_normal((8, 16, 12))
    assert ur.reconstruct(ksp).account.method == "direct"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fit": {"iteration": 3}}, "fit.iteration: unknown key"),
        ({"iterations": 3}, r"iterations: unknown key \(did you mean .*iterations"),
        ({"fit": 3}, "fit: .*got 3"),
        ({"fit.iterations": 3}, "fit.iterations: settings are given by section, as fit="),
        ({"config": "quick"}, "'quick' is neither a preset"),
        ({"device": "gpu"}, "device: .*got 'gpu'"),
        ({"seed": -1}, "seed: "),
    ],
)
def test_settings_are_checked_before_anything_is_computed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ur.reconstruct(np.zeros((1, 8, 8), np.complex64), **settings)


def test_settings_change_a_preset_a_file_or_a_configuration(tmp_path: Path) -> None:
    assert set(ur.presets()) > {"fast", "knee-4x"}
    path = tmp_path / "site.yaml"
    path.write_text("extends: fast\nfit: {iterations: 7}\n")
    config = ur.load_config(path, fit={"lr": np.float64(0.03)}, network={"in_size": (4, np.int64(6))})
    assert (config.name, config.fit.iterations, config.fit.lr, config.network.in_size) == ("site", 7, 0.03, [4, 6])
    assert ur.load_config(config) == config
    assert ur.load_config(config, seed=3).seed == 3


def test_seed_and_device_are_the_configurations_unless_they_are_given(scan: ur.SimulatedScan) -> None:
    config = ur.load_config("fast", seed=5, device="cpu", **QUICK)
    five, zero, again = (
        ur.reconstruct(scan.ksp, scan.mask, config=config, **change).magnitude
        for change in ({}, {"seed": 0, "device": torch.device("cpu")}, {"seed": 5})
    )
    np.testing.assert_array_equal(five, again)
    assert not np.array_equal(five, zero)


def test_the_follower_sees_every_image_and_stops_them(slices: ur.SimulatedScan) -> None:
    seen = []

    def follow(progress: Any) -> bool:
        seen.append((progress.stage, progress.iteration, progress.iterations))
        return progress.iteration % 4 != 2

    recon = ur.reconstruct(slices.ksp, slices.mask, follow=follow, fit={"iterations": 4})
    assert seen == [("fit", 1, 8), ("fit", 2, 8), ("fit", 5, 8), ("fit", 6, 8)]
    assert {part.account.stop_reason for part in recon.parts} == {"callback"}


def test_the_time_of_a_scan_is_shared_by_its_images(slices: ur.SimulatedScan) -> None:
    recon = ur.reconstruct(
        slices.ksp, slices.mask, scan={"time_budget_s": 0.4}, fit={"iterations": 1_000_000}, refine={"iterations": 0}
    )
    reasons = [part.account.stop_reason for part in recon.parts]
    assert len(reasons) == 2
    assert set(reasons) <= {"time budget", "fallback"}  # on a slow machine nothing may be left for the second


def test_a_raw_file_is_read_as_the_gadget_reads_it(small_scan: Path) -> None:
    first, second = ur.read_raw(small_scan)
    assert (first.prewhitened, first.index.slice, second.index.slice) == (True, 0, 1)
    recon = ur.reconstruct(first, **QUICK)
    assert recon.magnitude.shape == first.encoding.recon_shape
    beside = ur.reconstruct(first.ksp, first.mask, noise=2 * np.eye(len(first.ksp)), **QUICK)
    np.testing.assert_allclose(beside.magnitude, recon.magnitude, rtol=1e-3, atol=1e-3 * recon.magnitude.max())
    maps = ur.espirit_maps(first.ksp, first.mask)
    np.testing.assert_array_equal(ur.reconstruct(first, maps=maps, **QUICK).magnitude, recon.magnitude)
    with pytest.raises(MaskError, match="its own mask"):
        ur.reconstruct(first, first.mask)
    with pytest.raises(NoiseError, match="prewhitened already"):
        ur.reconstruct(first, noise=np.eye(4))
    volume = replace(first, ksp=first.ksp[:, None], mask=first.mask[None])
    with pytest.raises(MapsError, match="this one is 3-D"):
        ur.reconstruct(volume, maps=maps[:, None])
    with pytest.raises(MapsError, match=r"recon\.mode is coils"):
        ur.reconstruct(first, maps=maps, recon={"mode": "coils"})
    with pytest.raises(RawFileError, match="no such file"):
        ur.read_raw("nowhere.h5")
    with pytest.raises(ConfigError, match=r"scan\.flush"):
        ur.read_raw(small_scan, flush="never")


def test_a_raw_file_becomes_images_and_an_image_file(small_scan: Path, tmp_path: Path) -> None:
    output = tmp_path / "images.h5"
    recons = ur.reconstruct_file(small_scan, output, **QUICK)
    assert [index.slice for index in recons] == [0, 1]
    images = read_images(output, 0)
    for image, (index, recon) in zip(images, recons.items(), strict=True):
        assert image.slice == index.slice
        np.testing.assert_array_equal(image.data[0, 0], recon.magnitude)
        assert image.meta["untrained_recon_config"] == "fast"
    with pytest.raises(RawFileError, match="would replace the raw data"):
        ur.reconstruct_file(small_scan, small_scan)
    with pytest.raises(RawFileError, match="does not exist"):
        ur.reconstruct_file(small_scan, tmp_path / "nowhere" / "images.h5")


def test_files_of_arrays_are_read_with_their_mask(tmp_path: Path) -> None:
    scan = ur.simulate((64, 48), coils=4, accel=2, acs=16)
    path, mask = tmp_path / "scan.npy", tmp_path / "lines.npy"
    np.save(path, scan.ksp)
    np.save(mask, scan.mask.any(axis=-1))
    (data,) = ur.read_raw(path, mask=mask)
    assert data.mask.sum() == scan.mask.sum()  # the outermost lines, that are missing, are no part of its matrix
    np.testing.assert_allclose(np.linalg.norm(data.ksp), np.linalg.norm(scan.ksp), rtol=1e-5)
    (recon,) = ur.reconstruct_file(path, tmp_path / "images.h5", mask=mask, **QUICK).values()
    assert recon.magnitude.shape == (64, 48)
    with pytest.raises(RawFileError, match="would replace the mask"):
        ur.reconstruct_file(path, mask, mask=mask)


def test_the_simulated_arrays_are_those_of_the_simulated_file(small_scan: Path) -> None:
    scan = ur.simulate((64, 48), coils=4, accel=2, acs=16, pattern="equispaced", slices=2, noise=0.01, seed=1)
    with RawFile(small_scan) as raw:
        noise = next(raw.acquisitions()).data
    assert scan.noise is not None
    np.testing.assert_allclose(scan.noise * np.sqrt(NOISE_BANDWIDTH), noise, rtol=1e-5)
    np.testing.assert_allclose(scan.truth, np.load(small_scan.with_suffix(".truth_white.npy")), rtol=1e-4)
    for ksp, data in zip(scan.ksp, ur.read_raw(small_scan), strict=True):
        np.testing.assert_array_equal(scan.mask, data.mask)
        assert not ksp[:, ~scan.mask].any()
    with pytest.raises(ConfigError, match="pattern: expected random, equispaced"):
        ur.simulate(pattern="radial")
