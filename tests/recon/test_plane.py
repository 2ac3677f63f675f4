import dataclasses
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.doubles.helpers import read_raw
from untrained_recon.config import Config, ScanConfig, load_config
from untrained_recon.encoding import Encoding
from untrained_recon.errors import ConfigError, FitError
from untrained_recon.metrics import nrmse
from untrained_recon.physics.operators import fft2, rss_image, to_recon_matrix
from untrained_recon.recon.fit.loop import FitResult
from untrained_recon.recon.fit.loop import fit as real_fit
from untrained_recon.recon.fit.watch import Watch
from untrained_recon.recon.networks import ConvDecoder
from untrained_recon.recon.plane import pick_device, reconstruct
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.images import to_image
from untrained_recon.types import KSpace

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scan(small_scan: Path) -> list[KSpace]:
    xml, acquisitions = read_raw(small_scan)
    return list(assemble([acquisitions], parse_header(xml), ScanConfig()))


def config(**changes: str) -> Config:
    overrides = {
        "fit.iterations": "150",
        "fit.discrepancy": "0",
        "network.layers": "4",
        "network.channels": "32",
        "network.in_size": "[8, 6]",
    }
    return load_config("fast", overrides | {key.replace("__", "."): value for key, value in changes.items()})


@pytest.mark.parametrize(("mode", "most"), [("maps", 0.5), ("coils", 0.8)])
def test_both_steps_come_much_closer_to_the_truth_than_zero_filling(
    mode: str, most: float, scan: list[KSpace], small_scan: Path
) -> None:
    truth = np.load(small_scan.with_suffix(".truth_white.npy"))
    for data in scan:
        recon = reconstruct(data, config(recon__mode=mode), CPU)
        assert recon.account.method == mode
        assert recon.magnitude.shape == (64, 48)
        assert nrmse(recon.magnitude, truth[data.index.slice]) < most * nrmse(
            rss_image(data.ksp, data.encoding), truth[data.index.slice]
        )


def test_the_same_seed_gives_the_same_image_bit_for_bit(scan: list[KSpace]) -> None:
    settings = config(fit__iterations="20")
    first, again = (reconstruct(scan[0], settings, CPU) for _ in range(2))
    np.testing.assert_array_equal(first.complex_img, again.complex_img)
    other = reconstruct(scan[0], config(fit__iterations="20", seed="1"), CPU)
    assert np.abs(other.magnitude - first.magnitude).max() > 1e-3


def test_magnitude_and_complex_image_agree_and_measured_samples_are_kept(scan: list[KSpace]) -> None:
    data = dataclasses.replace(scan[0], ksp=scan[0].ksp[:1], calib=scan[0].calib[:1])  # one coil: the image is the coil image
    recon = reconstruct(data, config(fit__iterations="5", recon__mode="coils"), CPU)
    np.testing.assert_allclose(np.abs(recon.complex_img), recon.magnitude, rtol=1e-5)
    sampled = np.abs(fft2(torch.from_numpy(recon.complex_img)).numpy())[data.mask]
    free = reconstruct(data, config(fit__iterations="5", recon__mode="coils", recon__data_consistency="false"), CPU)
    assert np.corrcoef(sampled, np.abs(data.ksp[0][data.mask]))[0, 1] > 0.9
    assert np.abs(free.magnitude - recon.magnitude).max() > 0.1


def test_a_fully_sampled_image_is_transformed_not_fitted(scan: list[KSpace]) -> None:
    full = dataclasses.replace(scan[0], mask=np.ones_like(scan[0].mask))
    recon = reconstruct(full, config(), CPU)
    assert (recon.account.method, recon.account.iterations) == ("direct", 0)
    np.testing.assert_allclose(recon.magnitude, rss_image(full.ksp, full.encoding), rtol=1e-6)


def test_a_slice_without_signal_gives_a_zero_image_and_a_warning(scan: list[KSpace], caplog: pytest.LogCaptureFixture) -> None:
    empty = dataclasses.replace(scan[0], ksp=np.zeros_like(scan[0].ksp), calib=np.zeros_like(scan[0].ksp))
    with caplog.at_level(logging.WARNING):
        recon = reconstruct(empty, config(), CPU)
    assert recon.account.method == "empty"
    assert not recon.magnitude.any()
    assert "holds no signal" in caplog.text


def test_too_few_calibration_lines_fall_back_to_the_coils(scan: list[KSpace], caplog: pytest.LogCaptureFixture) -> None:
    lines = np.zeros_like(scan[0].mask)
    lines[30:34] = True
    with caplog.at_level(logging.WARNING):
        recon = reconstruct(dataclasses.replace(scan[0], calib_mask=lines), config(fit__iterations="3"), CPU)
    assert recon.account.method == "coils"
    assert "no sensitivity maps (4 contiguous calibration lines" in caplog.text
    assert np.isfinite(recon.magnitude).all()


@pytest.mark.parametrize("recon_shape", [(64, 48), (80, 60), (81, 59), (40, 48)])
def test_interpolation_to_the_recon_matrix_keeps_pixel_values(recon_shape: tuple[int, int], scan: list[KSpace]) -> None:
    encoding = dataclasses.replace(scan[0].encoding, recon_shape=recon_shape)
    y, x = np.arange(64) - 32, np.arange(48) - 24
    img = np.cos(2 * np.pi * y / 64)[:, None] + np.sin(2 * np.pi * 3 * x / 48)[None, :] + 3
    fine_y = (np.arange(recon_shape[0]) - recon_shape[0] // 2) * 64 / recon_shape[0]
    fine_x = (np.arange(recon_shape[1]) - recon_shape[1] // 2) * 48 / recon_shape[1]
    expected = np.cos(2 * np.pi * fine_y / 64)[:, None] + np.sin(2 * np.pi * 3 * fine_x / 48)[None, :] + 3
    result = to_recon_matrix(torch.from_numpy(img).to(torch.complex128), encoding)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-9)


def test_phase_oversampling_is_cut_to_the_reconstructed_field_of_view(scan: list[KSpace]) -> None:
    encoding = dataclasses.replace(
        scan[0].encoding, encoded_fov=(5.0, 400.0, 480.0), recon_fov=(5.0, 300.0, 240.0), recon_shape=(48, 48)
    )
    img = torch.arange(64.0)[:, None].expand(64, 48).to(torch.complex64)
    np.testing.assert_array_equal(to_recon_matrix(img, encoding)[:, 0].real.numpy(), np.arange(8.0, 56.0))


def test_devices_that_are_not_there_are_refused_by_name() -> None:
    assert pick_device("cpu") == CPU
    with pytest.raises(ConfigError, match="device: 'cuda:63' is not available"):
        pick_device("cuda:63")


def raising(error: Exception, times: int = 1000) -> Callable[..., FitResult]:
    """A fit that fails so many times, and notes how the network was set."""
    calls: list[bool] = []

    def fit(network: ConvDecoder, *args: Any, **named: Any) -> FitResult:
        calls.append(network.save_memory)
        if len(calls) <= times:
            raise error
        return real_fit(network, *args, **named)

    fit.calls = calls  # type: ignore[attr-defined]
    return fit


@pytest.mark.parametrize(
    "error",
    [FitError("the loss became nan"), torch.cuda.OutOfMemoryError("out of memory"), RuntimeError("device lost"), MemoryError()],
)
def test_a_fit_that_fails_is_replaced_by_cg_sense_that_says_so(
    error: Exception, scan: list[KSpace], small_scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("untrained_recon.recon.run.fit", raising(error))
    recon = reconstruct(scan[0], config(), CPU)
    assert recon.account.method == "cg-sense"
    assert recon.account.fallback_reason == f"{type(error).__name__}: {error}"
    truth = np.load(small_scan.with_suffix(".truth_white.npy"))[0]
    assert nrmse(recon.magnitude, truth) < 0.5 * nrmse(rss_image(scan[0].ksp, scan[0].encoding), truth)


def test_what_is_too_narrow_for_the_network_is_reconstructed_without_it(scan: list[KSpace]) -> None:
    narrow = np.ascontiguousarray(scan[0].ksp[:, :6])
    mask = np.ones(narrow.shape[1:], bool)
    mask[0] = False
    narrow *= mask
    encoding = Encoding.of((narrow.shape[1], narrow.shape[2]))
    recon = reconstruct(KSpace(narrow, mask, narrow, mask, scan[0].index, encoding, None, False), config(), CPU)
    assert recon.account.fallback_reason.startswith("FitError: a side of 6 pixels is too short for the network")


def test_without_maps_the_fallback_is_zero_filled(scan: list[KSpace], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.recon.run.fit", raising(FitError("diverged")))
    recon = reconstruct(dataclasses.replace(scan[0], calib_mask=np.zeros_like(scan[0].mask)), config(), CPU)
    assert (recon.account.method, recon.account.fallback_reason) == ("zero-filled", "FitError: diverged")
    np.testing.assert_allclose(recon.magnitude, rss_image(scan[0].ksp, scan[0].encoding), rtol=1e-5)


def test_out_of_memory_first_tries_with_less(scan: list[KSpace], monkeypatch: pytest.MonkeyPatch) -> None:
    once = raising(torch.cuda.OutOfMemoryError("CUDA out of memory"), times=1)
    monkeypatch.setattr("untrained_recon.recon.run.fit", once)
    recon = reconstruct(scan[0], config(fit__iterations="3"), CPU)
    assert (recon.account.method, recon.account.fallback_reason) == ("maps", "")
    assert once.calls == [False, True]  # type: ignore[attr-defined]


def test_nothing_of_a_fit_that_ran_out_of_memory_is_left_when_it_is_tried_again(
    scan: list[KSpace], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where the log keeps its records."""
    networks: list[weakref.ref[ConvDecoder]] = []

    def fit(network: ConvDecoder, operator: Any, ksp: Any, settings: Any, *args: Any, **named: Any) -> FitResult:
        networks.append(weakref.ref(network))
        if len(networks) == 1:
            real_fit(network, operator, ksp, settings, *args, **named)
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        assert networks[0]() is None
        return real_fit(network, operator, ksp, settings, *args, **named)

    monkeypatch.setattr("untrained_recon.recon.run.fit", fit)
    assert reconstruct(scan[0], config(fit__iterations="3"), CPU).account.fallback_reason == ""
    assert "trying again with less: CUDA out of memory" in caplog.text


def test_pixels_that_are_not_finite_never_leave(scan: list[KSpace], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **named: Any) -> FitResult:
        result = real_fit(*args, **named)
        return dataclasses.replace(result, img=result.img * torch.nan)

    monkeypatch.setattr("untrained_recon.recon.run.fit", broken)
    recon = reconstruct(scan[0], config(fit__iterations="1", recon__data_consistency="false"), CPU)
    assert recon.account.method == "cg-sense"
    assert recon.account.fallback_reason == "FitError: the image holds pixels that are not finite"
    assert np.isfinite(recon.magnitude).all()


def test_time_budgets_give_an_early_image_or_a_conventional_one(scan: list[KSpace]) -> None:
    early = reconstruct(scan[0], config(fit__iterations="100000", fit__time_budget_s="0.1"), CPU)
    ends = {"time budget", "fallback"}  # whichever is better; a slow machine may have no time left
    assert early.account.stop_reason in ends
    assert early.account.iterations < 100000
    codes = {caution.code for caution in early.cautions}
    # it depends on how far the time reached
    assert codes == {"time-budget"} if early.account.fallback_reason else codes <= {"time-budget"}
    assert reconstruct(scan[0], config(fit__iterations="100000"), CPU, Watch.of(0.1)).account.stop_reason in ends
    spent = reconstruct(scan[0], config(), CPU, Watch.of(0.0))
    assert (spent.account.method, spent.account.fallback_reason) == ("cg-sense", "FitError: the time budget of the scan is spent")


def test_images_say_when_they_are_a_fallback(scan: list[KSpace], small_scan: Path) -> None:
    recon = reconstruct(scan[0], config(), CPU, Watch.of(0.0))
    header = parse_header(read_raw(small_scan)[0])
    meta = to_image("magnitude", recon, scan[0], header, config()).meta
    assert meta["GADGETRON_ImageComment"].startswith("phantom CONVENTIONAL FALLBACK cg-sense, not the un-trained network: FitError")
    assert meta["GADGETRON_SeqDescription"] == "_FALLBACK_CG-SENSE"
    assert "time budget" in meta["untrained_recon_fallback_reason"]
