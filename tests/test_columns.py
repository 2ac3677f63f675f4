"""Readouts of every length on the grid that they were sampled on, oversampled or cut."""

from typing import Any

import ismrmrd
import numpy as np
import pytest
import sigpy

from tests.scans import Body, Protocol, body, expected, header_of, measure, noisy, readouts
from untrained_recon.assemble import assemble
from untrained_recon.columns import outside
from untrained_recon.config import ScanConfig
from untrained_recon.errors import EncodingError
from untrained_recon.header import parse_header
from untrained_recon.metrics import nrmse
from untrained_recon.operators import ifft2, rss, to_recon_matrix
from untrained_recon.readout import Readout, place
from untrained_recon.types import ComplexArray, FloatArray, KSpace

ALL = np.ones((1, 32), bool)


def protocol_of(oversampling: float, n_x: int = 64) -> Protocol:
    """32 lines; the field of view is 240 mm, oversampled in the readout."""
    grid = round(n_x * oversampling)
    return Protocol(matrix=(1, 32, grid), recon=(1, 32, n_x), fov=(5.0, 240.0, 240.0 * oversampling))


def wide(width: float) -> Body:
    """A body that spans so much of the field of view in the readout (that of the phantom is 0.69 of it)."""
    found = body()
    z, y, x = found.places
    return Body(found.coil_imgs, (z, y, x * width / 0.69))


def shortened(acquisitions: list[ismrmrd.Acquisition], first: int, last: int) -> list[ismrmrd.Acquisition]:
    """With the samples from ``first`` up to ``last`` alone."""
    found = []
    for acq in acquisitions:
        head = acq.getHead()
        head.number_of_samples, head.center_sample = last - first, acq.center_sample - first
        found.append(ismrmrd.Acquisition(head, np.ascontiguousarray(acq.data[:, first:last])))
    return found


def cut(ksp: ComplexArray, protocol: Protocol) -> tuple[ComplexArray, Protocol]:
    """Readouts without oversampling, as a gadget leaves them: the header stays that of the oversampled ones."""
    n_x = protocol.recon[2]
    img = sigpy.resize(sigpy.ifft(ksp, axes=[-1]), (*ksp.shape[:-1], n_x))
    inner = Protocol(**{**vars(protocol), "matrix": (*protocol.matrix[:2], n_x)})
    return sigpy.fft(img, axes=[-1]).astype(np.complex64), inner


def scan_of(acquisitions: list[ismrmrd.Acquisition], protocol: Protocol, cut_before: bool = False, **settings: Any) -> list[KSpace]:
    return list(assemble(([acq] for acq in acquisitions), parse_header(header_of(protocol)), ScanConfig(**settings), cut_before))


def direct(data: KSpace) -> FloatArray:
    """The image of the samples alone."""
    import torch

    found: FloatArray = rss(to_recon_matrix(ifft2(torch.from_numpy(data.ksp)), data.encoding)).numpy()
    return found


def low_resolution(ksp: ComplexArray, protocol: Protocol, first: int, last: int) -> FloatArray:
    """The image of those columns."""
    kept = np.zeros_like(ksp)
    kept[..., first:last] = ksp[..., first:last]
    return expected(kept, protocol)[0]


@pytest.mark.parametrize("oversampling", [1.25, 1.5, 2, 4, 6])
@pytest.mark.parametrize("width", [0.5, 0.98])
def test_short_readouts_of_the_oversampled_grid_give_the_object_in_its_size(oversampling: float, width: float) -> None:
    protocol = protocol_of(oversampling)
    ksp = noisy(measure(wide(width), protocol), 1e-3, 0)
    middle = protocol.matrix[2] // 2
    first, last = middle - 32, middle + 32  # as many samples as the image has columns
    (data,) = scan_of(shortened(readouts(ksp, protocol, ALL), first, last), protocol)
    assert nrmse(direct(data), low_resolution(ksp, protocol, first, last)) < 0.05
    assert "short ones of the larger" in data.notes[0]


@pytest.mark.parametrize(("oversampling", "width"), [(1.5, 0.9), (2, 0.65), (2, 1.0), (4, 0.5), (6, 0.5)])
@pytest.mark.parametrize("first", [0, 16])
def test_readouts_that_fill_the_field_of_view_were_cut(oversampling: float, width: float, first: int) -> None:
    protocol = protocol_of(oversampling)
    ksp = noisy(measure(wide(width), protocol), 1e-3, 0)
    samples, inner = cut(ksp, protocol)
    (data,) = scan_of(shortened(readouts(samples, inner, ALL), first, 64), protocol)
    assert data.mask[:, first:].all()
    assert not data.mask[:, :first].any()
    np.testing.assert_allclose(data.ksp[..., first:], samples[:, 0, :, first:], atol=1e-6)
    assert "cut already" in data.notes[0]


def test_a_small_object_is_told_by_the_door_or_by_the_setting() -> None:
    protocol = protocol_of(2)
    samples, inner = cut(measure(wide(0.3), protocol), protocol)
    acquisitions = readouts(samples, inner, ALL)
    for options in ({"cut_before": True}, {"readout": "cut"}):
        (data,) = scan_of(acquisitions, protocol, **options)
        np.testing.assert_array_equal(data.ksp, samples[:, 0])
    (other,) = scan_of(acquisitions, protocol, readout="oversampled")
    assert other.mask.shape == (32, 32)
    assert not other.notes[0].startswith("readouts")


def test_the_longest_readout_of_a_scan_decides_for_all() -> None:
    protocol = protocol_of(2)
    ksp = noisy(measure(body(), protocol), 1e-3, 0)
    acquisitions = readouts(ksp, protocol, ALL)
    mixed = [*shortened(acquisitions[:8], 16, 112), *shortened(acquisitions[8:24], 32, 96), *shortened(acquisitions[24:], 16, 112)]
    (data,) = scan_of(mixed, protocol)
    assert data.mask.shape == (32, 48)  # 96 of 128 columns
    (same,) = scan_of(shortened(acquisitions, 16, 112), protocol)
    inside = data.mask[8:24].all(axis=0)
    assert inside.sum() == 32
    error = np.abs(data.ksp - same.ksp)[..., inside]
    assert np.linalg.norm(error) < 0.02 * np.linalg.norm(same.ksp)
    with pytest.raises(EncodingError, match=r"96 samples of line 0 with centre 48 .* set scan\.readout to oversampled"):
        scan_of(later := [*shortened(readouts(noisy(0 * ksp, 1, 1), protocol, ALL), 32, 96), *_second(mixed)], protocol)
    assert len(scan_of(later, protocol, readout="oversampled")) == 2


def _second(acquisitions: list[ismrmrd.Acquisition]) -> list[ismrmrd.Acquisition]:
    for acq in acquisitions:
        acq.idx.slice = 1
    return acquisitions


def test_a_separate_calibration_scan_of_low_resolution_lies_on_the_same_grid() -> None:
    protocol = Protocol(**{**vars(protocol_of(2)), "mode": "separate"})
    ksp = measure(body(), protocol)
    calibration = readouts(ksp, protocol, ALL, [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION], marks=False)
    (data,) = scan_of([*shortened(calibration, 40, 88), *readouts(ksp, protocol, ALL)], protocol)
    assert data.calib_mask[0].sum() == 24
    inner = data.calib_mask[0].copy()
    inner[[20, 43]] = False  # truncation
    np.testing.assert_allclose(data.calib[..., inner], data.ksp[..., inner], atol=0.02 * np.abs(data.ksp).max())
    assert not data.notes


@pytest.mark.parametrize("reverse", [False, True])
def test_a_centre_that_nobody_set_is_the_middle_where_the_signal_is(reverse: bool) -> None:
    protocol = protocol_of(2)
    ksp = measure(body(), protocol)
    acquisitions = readouts(ksp[..., ::-1] if reverse else ksp, protocol, ALL, center_sample=0)
    for acq in acquisitions:
        acq.set_flag(ismrmrd.ACQ_IS_REVERSE) if reverse else None
    (plain,) = scan_of(readouts(ksp, protocol, ALL), protocol)
    (data,) = scan_of(acquisitions, protocol)
    np.testing.assert_array_equal(data.ksp, plain.ksp)
    assert "center_sample is 0" in data.notes[0]
    samples, inner = cut(ksp, protocol)  # short enough to begin at the centre, but do not
    (data,) = scan_of(readouts(samples, inner, ALL, center_sample=0), protocol)
    np.testing.assert_array_equal(data.ksp, samples[:, 0])


def test_half_echoes_begin_at_their_centre() -> None:
    protocol = protocol_of(2)
    ksp = measure(body(), protocol)
    (data,) = scan_of(shortened(readouts(ksp, protocol, ALL), 64, 128), protocol)
    assert list(np.flatnonzero(data.mask[0])) == list(range(32, 64))
    assert not any("center_sample" in note for note in data.notes)


def test_noise_does_not_count_as_signal() -> None:
    protocol = protocol_of(2)
    ksp = measure(body(), protocol)[..., 32:96]
    sd = 0.2 * float(np.abs(expected(measure(body(), protocol), protocol)).mean())
    encoding = parse_header(header_of(protocol)).encodings[0]
    found = [
        place(acq, encoding) for acq in readouts(noisy(ksp, sd, 0), Protocol(**{**vars(protocol), "matrix": (1, 32, 64)}), ALL)
    ]
    assert outside(found, 0.5) < 0.003
    assert outside([Readout(0, 0, 32, 32, 32, np.zeros((2, 64), np.complex64))], 0.5) == 0
