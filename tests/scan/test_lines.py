"""Lines of zeros, and lines that came more often than announced."""

from typing import Any

import ismrmrd
import numpy as np
import pytest

from tests.doubles.scans import Protocol, body, header_of, measure, noisy, readouts, sampled_lines
from untrained_recon.config import ScanConfig
from untrained_recon.errors import UnsupportedScanError
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.types import ComplexArray, KSpace

PLAIN = Protocol(matrix=(1, 32, 32), recon=(1, 32, 32), fov=(5.0, 240.0, 240.0))
ALL = np.ones((1, 32), bool)
LINES = sampled_lines(PLAIN, 2, 8)


@pytest.fixture(scope="module")
def ksp() -> ComplexArray:
    return noisy(measure(body(), PLAIN), 1e-3, 0)


def scan_of(acquisitions: list[ismrmrd.Acquisition], protocol: Protocol = PLAIN, **settings: Any) -> KSpace:
    (data,) = assemble([acquisitions], parse_header(header_of(protocol)), ScanConfig(**settings))
    return data


def codes(data: KSpace) -> list[str]:
    return [caution.code for caution in data.cautions]


def test_lines_of_zeros_were_not_acquired(ksp: ComplexArray) -> None:
    data = scan_of(readouts(ksp * LINES[..., None], PLAIN, ALL))
    np.testing.assert_array_equal(data.mask.any(axis=1), LINES[0])
    assert codes(data) == ["zero-lines"]
    assert data.cautions[0].detail == "12 of 32 readouts"
    one = ALL.copy()
    one[0, 3] = False
    assert codes(scan_of(readouts(ksp * one[..., None], PLAIN, ALL))) == ["zero-lines"]
    second = readouts(0 * ksp, PLAIN, ALL, average=1)  # does not halve the first
    protocol = Protocol(**{**vars(PLAIN), "counts": {"average": 2}})
    data = scan_of(readouts(ksp, PLAIN, ALL) + second, protocol)
    np.testing.assert_array_equal(data.ksp, ksp[:, 0])


def test_dead_coils_and_empty_scans_have_no_lines_of_zeros(ksp: ComplexArray) -> None:
    dead = ksp.copy()
    dead[1:] = 0
    assert codes(scan_of(readouts(dead, PLAIN, ALL))) == []
    data = scan_of(readouts(0 * ksp, PLAIN, ALL))
    assert codes(data) == ["zero-lines"]
    assert data.cautions[0].detail == "all readouts; the image is empty"
    assert data.mask.all()


def test_rounding_errors_are_no_samples_but_faint_lines_are(ksp: ComplexArray) -> None:
    for loud, found in ((1e-7, LINES[0]), (1e-2, ALL[0])):
        data = scan_of(readouts(np.where(LINES[..., None], ksp, loud * np.abs(ksp).max() * ksp / np.abs(ksp)), PLAIN, ALL))
        np.testing.assert_array_equal(data.mask.any(axis=1), found)


def test_lines_that_came_twice_are_averaged_with_a_caution_unless_announced(ksp: ComplexArray) -> None:
    again = [acq for n in range(2) for acq in readouts(noisy(ksp, 1e-3, n), PLAIN, LINES)]
    data = scan_of(again)
    assert codes(data) == ["lines-averaged-unannounced"]
    assert data.cautions[0].detail == "2 times, 1 announced, copies differ by 0%"
    announced = Protocol(**{**vars(PLAIN), "counts": {"average": 2}})
    assert codes(scan_of(again, announced)) == []
    counted = [acq for n in range(2) for acq in readouts(noisy(ksp, 1e-3, n), PLAIN, LINES, average=n)]
    assert codes(scan_of(counted)) == []  # limits that nobody wrote, but counters that say it
    assert codes(scan_of(again + again, announced)) == ["lines-averaged-unannounced"]


def test_a_few_lines_may_come_again(ksp: ComplexArray) -> None:
    centre = sampled_lines(PLAIN, 32, 8)
    calibration = readouts(ksp, PLAIN, centre, [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION], marks=False)
    assert codes(scan_of(calibration + readouts(ksp, PLAIN, LINES))) == []
    segments = readouts(ksp, PLAIN, ALL, marks=False, segment=0) + readouts(ksp, PLAIN, centre, segment=1)
    assert codes(scan_of(segments)) == []


def test_copies_of_another_contrast_are_no_averages(ksp: ComplexArray) -> None:
    other = noisy(measure(body(seed=3), PLAIN), 1e-3, 0) * 0.3
    mixed = [acq for pair in zip(readouts(ksp, PLAIN, LINES), readouts(other, PLAIN, LINES), strict=True) for acq in pair]
    with pytest.raises(UnsupportedScanError, match=r"20 of 20 lines came 2 times .* of different images"):
        scan_of(mixed)
    centre = readouts(other, PLAIN, sampled_lines(PLAIN, 32, 8), [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION], marks=False)
    with pytest.raises(UnsupportedScanError, match=r"9 of 20 lines"):
        scan_of(centre + readouts(ksp, PLAIN, LINES))
    opposite = readouts(ksp, PLAIN, LINES) + readouts(-ksp, PLAIN, LINES)  # of which nothing would be left
    with pytest.raises(UnsupportedScanError, match="differ by 200%"):
        scan_of(opposite)
