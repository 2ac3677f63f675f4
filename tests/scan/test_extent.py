"""Resolution that was not acquired is not made up, and what partial Fourier leaves out is."""

from dataclasses import replace
from typing import Any

import ismrmrd
import numpy as np
import pytest
import torch

from tests.doubles.scans import Protocol, body, expected, header_of, measure, noisy, readouts, sampled_lines
from untrained_recon.config import ScanConfig, load_config
from untrained_recon.encoding import Encoding
from untrained_recon.metrics import nrmse
from untrained_recon.recon.volume import reconstruct_image
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.extent import acquired_shape
from untrained_recon.scan.header import parse_header
from untrained_recon.types import BoolArray, KSpace

CPU = torch.device("cpu")
QUICK = {"device": "cpu", "fit.iterations": "60", "network.channels": "16"}
PLAIN = Protocol(matrix=(1, 48, 48), recon=(1, 48, 48), fov=(5.0, 240.0, 240.0))


def with_limits(protocol: Protocol, y: tuple[int, int] | None, z: tuple[int, int] | None = None) -> Encoding:
    return replace(parse_header(header_of(protocol)).encodings[0], limits_y=y, limits_z=z)


def rows(*numbers: Any, n: int = 48) -> BoolArray:
    lines = np.zeros((n, n), bool)
    lines[np.r_[numbers]] = True
    return lines


def scan_of(acquisitions: list[ismrmrd.Acquisition], protocol: Protocol, **settings: Any) -> KSpace:
    (data,) = assemble([acquisitions], parse_header(header_of(protocol)), ScanConfig(**settings))
    return data


@pytest.mark.parametrize(
    ("limits", "lines", "height"),
    [
        ((0, 47), rows(slice(0, 48)), 48),
        ((0, 47), rows(slice(1, 48, 4)), 48),  # the last line of the pattern is not missing
        ((0, 47), rows(slice(2, 48, 3), slice(20, 28)), 48),
        ((6, 41), rows(slice(6, 42)), 36),
        ((6, 41), rows(slice(8, 42, 4)), 36),  # by the limits
        ((6, 41), rows(slice(7, 41)), 36),
        ((6, 40), rows(slice(6, 41)), 36),
        ((7, 41), rows(slice(7, 42)), 35),
        (None, rows(slice(6, 42)), 36),
        (None, rows(slice(8, 42, 4)), 39),  # 8 to 40, and three lines beyond that undersampling may leave out
        (None, rows(slice(1, 48, 4)), 48),
        ((0, 47), rows(slice(6, 42)), 36),  # limits of the matrix, written by rote
        ((0, 47), rows(slice(6, 42, 2), slice(20, 28)), 38),
        ((0, 47), rows(slice(3, 48, 4)), 48),
        ((12, 47), rows(slice(12, 48)), 48),  # partial Fourier
        ((0, 35), rows(slice(0, 36)), 48),
        ((12, 40), rows(slice(12, 41)), 33),  # partial Fourier of 32 lines
        ((6, 41), rows(slice(0, 48)), 48),  # more came than announced
        ((1, 30), rows(slice(1, 31)), 48),  # a line short of the edge
        ((0, 47), rows(24), 48),  # no image, but not a small one either
    ],
)
def test_the_extent_is_that_of_the_limits_and_of_the_lines(limits: tuple[int, int] | None, lines: BoolArray, height: int) -> None:
    assert acquired_shape(lines, with_limits(PLAIN, limits)) == (height, 48)


def test_limits_count_from_their_centre_and_every_axis_has_an_extent() -> None:
    partial = replace(with_limits(PLAIN, (0, 35)), center_y=18)
    assert acquired_shape(rows(slice(6, 42)), partial) == (36, 48)
    volume = Protocol(matrix=(16, 48, 48), recon=(16, 48, 48), fov=(80.0, 240.0, 240.0), recon_fov=(80.0, 240.0, 240.0))
    mask = np.zeros((16, 48, 48), bool)
    mask[3:13, 6:42, 4:44] = True
    assert acquired_shape(mask, with_limits(volume, (6, 41), (3, 12))) == (10, 36, 40)
    odd = Protocol(matrix=(1, 47, 47), recon=(1, 47, 47), fov=(5.0, 240.0, 240.0))
    assert acquired_shape(rows(slice(5, 42), n=47), with_limits(odd, (5, 41))) == (37, 47)


@pytest.mark.parametrize("recon", [48, 64])
def test_beyond_the_acquired_lines_the_image_has_no_frequencies_and_the_values_stay(recon: int) -> None:
    protocol = Protocol(**{**vars(PLAIN), "recon": (1, recon, recon)})
    ksp = noisy(measure(body(6), protocol), 1e-3, 0)
    inner = np.zeros((1, 48), bool)
    inner[:, 6:42] = True
    kept = ksp * inner[..., None]
    data = scan_of(readouts(ksp, protocol, inner), protocol)
    assert data.mask.all()
    assert "acquired on 36 x 48 of 48 x 48" in data.notes[0]
    recon_ = reconstruct_image(data, load_config("fast", QUICK), CPU)
    assert recon_.account.method == "direct"
    np.testing.assert_allclose(recon_.magnitude, expected(kept, protocol)[0], atol=2e-5)
    undersampled = inner & sampled_lines(protocol, 2, 16)
    data = scan_of(readouts(ksp, protocol, undersampled), protocol)
    found = reconstruct_image(data, load_config("fast", QUICK), CPU)
    assert found.account.method == "maps"
    assert nrmse(found.magnitude, expected(kept, protocol)[0]) < 0.05
    spectrum = np.abs(np.fft.fftshift(np.fft.fft(found.complex_img, axis=0), axes=0))
    assert spectrum.shape[0] == recon
    outside = np.abs(np.arange(recon) - recon // 2) > 22
    assert np.sum(spectrum[outside] ** 2) < 1e-3 * np.sum(spectrum**2)
    whole = scan_of(readouts(ksp, protocol, undersampled), protocol, fill="matrix")
    assert whole.mask.shape == (48, 48)
    assert whole.notes == ()


def test_volumes_have_the_acquired_extent_along_every_axis() -> None:
    protocol = Protocol(matrix=(16, 24, 48), recon=(16, 24, 24), fov=(80.0, 240.0, 480.0), recon_fov=(80.0, 240.0, 240.0))
    ksp = measure(body(6, slices=16, fov=(80.0, 240.0, 240.0)), protocol)
    lines = np.zeros((16, 24), bool)
    lines[3:13, 4:20] = True
    data = scan_of(readouts(ksp, protocol, lines), protocol)
    assert data.mask.shape == (10, 16, 24)
    found = reconstruct_image(data, load_config("fast", QUICK), CPU)
    assert found.magnitude.shape == (16, 24, 24)
    np.testing.assert_allclose(found.magnitude, expected(ksp * lines[..., None], protocol), atol=2e-5)


def test_the_corners_outside_an_elliptical_shutter_stay_empty() -> None:
    protocol = Protocol(matrix=(16, 24, 32), recon=(16, 24, 16), fov=(80.0, 240.0, 480.0), recon_fov=(80.0, 240.0, 240.0))
    ksp = measure(body(6, slices=16, fov=(80.0, 240.0, 240.0)), protocol)
    z, y = np.ogrid[-8:8, -12:12]
    within = (z / 8) ** 2 + (y / 12) ** 2 <= 1
    lines = within & ((y % 2 == 0) | ((abs(z) < 4) & (abs(y) < 6)))
    data = scan_of(readouts(ksp, protocol, lines), protocol)
    assert data.encoding.shutter
    assert "the corners stay empty" in data.notes[0]
    found = reconstruct_image(data, load_config("fast", {**QUICK, "recon.method": "cg-sense"}), CPU)
    spectrum = np.abs(np.fft.fftshift(np.fft.fftn(found.complex_img, axes=(0, 1)), axes=(0, 1))) ** 2
    corners = (z / 8.5) ** 2 + (y / 12.5) ** 2 > 1.2
    assert spectrum[corners].sum() < 2e-4 * spectrum.sum()
    assert not scan_of(readouts(ksp, protocol, lines), protocol, fill="matrix").encoding.shutter
    assert not scan_of(readouts(ksp, protocol, lines | (y % 4 == 0)), protocol).encoding.shutter


def test_a_separate_calibration_scan_is_cut_alike() -> None:
    protocol = Protocol(**{**vars(PLAIN), "mode": "separate"})
    ksp = measure(body(6), protocol)
    inner = np.zeros((1, 48), bool)
    inner[:, 6:42:2] = True
    calibration = readouts(ksp, protocol, sampled_lines(protocol, 48, 12), [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION], marks=False)
    data = scan_of([*calibration, *readouts(ksp, protocol, inner)], protocol)
    assert data.calib.shape == data.ksp.shape == (6, 38, 48)
    both = data.calib_mask & data.mask
    assert both.any()
    np.testing.assert_array_equal(data.calib[:, both], data.ksp[:, both])


@pytest.mark.parametrize("recon_z", [1, 2])
@pytest.mark.parametrize("partition", [0, 1])
def test_a_2d_scan_is_2d_whatever_the_matrix_of_its_header_says(recon_z: int, partition: int) -> None:
    """As Pulseq sequences are converted: a matrix of two partitions, limits of one."""
    ksp = measure(body(), PLAIN)
    xml = header_of(PLAIN).replace(b"<z>1</z>", b"<z>2</z>", 1)
    if recon_z == 2:
        xml = xml.replace(b"<z>1</z>", b"<z>2</z>", 1)
    acquisitions = readouts(ksp, PLAIN, np.ones((1, 48), bool), kspace_encode_step_2=partition)
    (data,) = assemble([acquisitions], parse_header(xml), ScanConfig())
    assert (data.mask.ndim, data.encoding.partitions, data.encoding.recon_partitions) == (2, 1, 1)
    np.testing.assert_array_equal(data.ksp, ksp[:, 0])
    assert data.notes == ("the header's 2 partitions are one: a 2-D scan",)


def test_limits_that_nobody_set_are_none() -> None:
    """As GE's converter leaves them: 0 to 0 around 0 for every step, in a volume."""
    protocol = Protocol(matrix=(8, 24, 24), recon=(8, 24, 24), fov=(40.0, 240.0, 240.0), recon_fov=(40.0, 240.0, 240.0))
    ksp = measure(body(slices=8, fov=(40.0, 240.0, 240.0)), protocol)
    header = parse_header(header_of(protocol))
    unset = replace(header, encodings=(with_limits(protocol, None),))
    xml = b"".join(line.strip() for line in header_of(protocol).split(b"\n"))
    parsed = parse_header(xml.replace(b"<maximum>7</maximum><center>4</center>", b"<maximum>0</maximum><center>0</center>"))
    assert (parsed.encodings[0].limits_z, parsed.encodings[0].center_z) == (None, 4)
    for known in (header, unset, parsed):
        (data,) = assemble([readouts(ksp, protocol, np.ones((8, 24), bool))], known, ScanConfig())
        np.testing.assert_array_equal(data.ksp, ksp)
