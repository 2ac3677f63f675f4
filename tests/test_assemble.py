from collections.abc import Callable
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest

from tests.conftest import SMALL
from tests.helpers import acquisition, header_xml, read_raw
from untrained_recon.assemble import assemble
from untrained_recon.config import ScanConfig
from untrained_recon.errors import (
    AcquisitionError,
    ChannelCountError,
    EncodingError,
    LateAcquisitionError,
    NoImagingDataError,
    NoiseError,
    NonFiniteError,
)
from untrained_recon.header import parse_header
from untrained_recon.types import ComplexArray, KSpace

XML = header_xml(SMALL)
HEADER = parse_header(XML)
SEPARATE = parse_header(XML.replace(b"embedded", b"separate"))
LAST_IN_SLICE, LAST_IN_REPETITION = ismrmrd.ACQ_LAST_IN_SLICE, ismrmrd.ACQ_LAST_IN_REPETITION
ONES = np.ones((3, 96), np.complex64)


def line(n: int, *flags: int, **header: Any) -> ismrmrd.Acquisition:
    return acquisition(ONES, n, flags, **header)


def run(acquisitions: list[ismrmrd.Acquisition], header: Any = HEADER, flush: Any = "flags") -> list[KSpace]:
    return list(assemble(([acq] for acq in acquisitions), header, ScanConfig(flush=flush)))


def noise_of(n_coils: int, n_samples: int) -> ComplexArray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((n_coils, n_samples)) + 1j * rng.standard_normal((n_coils, n_samples))).astype(np.complex64)


def lines_of(data: KSpace) -> list[int]:
    return list(np.flatnonzero(data.mask.any(axis=1)))


def test_simulated_scan_becomes_white_centred_kspace(small_scan: Path) -> None:
    xml, acquisitions = read_raw(small_scan)
    slices = run(acquisitions, parse_header(xml))
    codes = np.load(small_scan.with_suffix(".mask.npy"))
    assert [d.index.slice for d in slices] == [0, 1]
    for data in slices:
        assert data.ksp.shape == (4, 64, 48)
        assert data.ksp.dtype == np.complex64
        np.testing.assert_array_equal(data.mask, np.broadcast_to(codes[:, None] > 0, (64, 48)))
        assert data.prewhitened
        peak = np.unravel_index(np.abs(data.ksp).sum(axis=0).argmax(), (64, 48))
        assert np.abs(np.subtract(peak, (32, 24))).max() <= 1
        assert abs(data.reference.idx.kspace_encode_step_1 - 32) <= 1


def test_images_leave_as_soon_as_their_flags_say() -> None:
    assert [d.index.slice for d in run([line(1), line(2, slice=1), line(3, LAST_IN_SLICE, slice=1), line(4, LAST_IN_SLICE)])] == [
        1,
        0,
    ]
    consumed: list[int] = []

    def stream() -> Any:
        for n, acq in enumerate([line(1, LAST_IN_SLICE), line(2, slice=1)]):
            consumed.append(n)
            yield [acq]

    next(assemble(stream(), HEADER, ScanConfig()))
    assert consumed == [0]


def test_end_of_repetition_completes_every_slice_of_it_and_nothing_else() -> None:
    scan = [line(1), line(1, slice=1), line(1, contrast=1), line(2, LAST_IN_REPETITION, slice=1), line(2, contrast=1)]
    found = run(scan)
    assert [(d.index.slice, d.index.contrast, lines_of(d)) for d in found] == [(0, 0, [1]), (1, 0, [1, 2]), (0, 1, [1, 2])]


def test_every_counter_but_segment_and_average_makes_an_image() -> None:
    names = ("slice", "contrast", "phase", "repetition", "set")
    scan = [line(1), *(line(1, **{name: 1}) for name in names), line(2, segment=1), line(1, average=1)]
    found = run(scan)
    assert len(found) == 6
    assert lines_of(found[0]) == [1, 2]
    assert [str(d.index) for d in found[1:3]] == ["slice 1", "slice 0, contrast 1"]


def test_the_end_of_the_stream_completes_what_no_flag_did() -> None:
    assert [lines_of(d) for d in run([line(1), line(2)])] == [[1, 2]]


def test_late_lines_are_an_error_unless_images_wait_for_the_end() -> None:
    scan = [line(1, LAST_IN_SLICE), line(2)]
    with pytest.raises(LateAcquisitionError, match=r"set scan\.flush to close"):
        run(scan)
    assert [lines_of(d) for d in run(scan, flush="close")] == [[1, 2]]


def test_embedded_calibration_lines_enter_the_image_separate_ones_only_the_maps() -> None:
    only, both = ismrmrd.ACQ_IS_PARALLEL_CALIBRATION, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING
    scan = [line(31, only, LAST_IN_SLICE), line(32, only), line(30), line(32, both)]
    (embedded,) = run([line(31, only), *scan[1:]])
    assert lines_of(embedded) == [30, 31, 32]
    assert embedded.calib is embedded.ksp
    (separate,) = run(scan, SEPARATE)
    assert lines_of(separate) == [30, 32]
    assert list(np.flatnonzero(separate.calib_mask.any(axis=1))) == [31, 32]
    (mixed,) = run([line(31, only), line(32, both), line(30, LAST_IN_SLICE)], SEPARATE)
    assert lines_of(mixed) == [30, 32]
    assert list(np.flatnonzero(mixed.calib_mask.any(axis=1))) == [31, 32]


def test_readouts_that_are_not_lines_of_the_object_are_left_out() -> None:
    skipped = [
        line(5, flag) for flag in (ismrmrd.ACQ_IS_NAVIGATION_DATA, ismrmrd.ACQ_IS_PHASECORR_DATA, ismrmrd.ACQ_IS_DUMMYSCAN_DATA)
    ]
    assert [lines_of(d) for d in run([*skipped, line(1)])] == [[1]]
    kinds = "noise scan: False; other kinds: 1 NAVIGATION_DATA, 1 PHASECORR_DATA, 1 DUMMYSCAN_DATA"
    with pytest.raises(NoImagingDataError, match=kinds):
        run(skipped)


def test_lines_with_raw_data_correction_are_imaging_lines() -> None:
    corrected = ismrmrd.ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA
    noise = acquisition(noise_of(3, 64), 0, [ismrmrd.ACQ_IS_NOISE_MEASUREMENT, corrected])
    (data,) = run([noise, line(1, corrected), line(2)])
    assert lines_of(data) == [1, 2]
    assert data.prewhitened


@pytest.mark.parametrize(
    ("scan", "error", "message"),
    [
        ([], NoImagingDataError, "without imaging readouts"),
        ([line(0, ismrmrd.ACQ_IS_NOISE_MEASUREMENT)], NoImagingDataError, "noise scan: True"),
        ([line(1), acquisition(np.ones((2, 96), np.complex64))], ChannelCountError, "has 2 channels, the scan began with 3"),
        ([line(64)], EncodingError, "outside the encoded matrix"),
        ([line(1, encoding_space_ref=1)], EncodingError, "encoding space 1; the header has 1"),
        ([line(1, kspace_encode_step_2=1)], EncodingError, "partition 1 is outside the encoded matrix of 1 partitions"),
    ],
)
def test_scans_that_do_not_fit_together_are_refused(scan: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(scan)


@pytest.mark.parametrize("name", ["brain8_pd_r4_random", "brain4_t2_r4_equispaced", "brain8_pd_pf6_8", "ge_frfse_3slice_r2"])
def test_masks_of_scanner_like_files(name: str, shared: Callable[[str], Path]) -> None:
    xml, acquisitions = read_raw(shared(f"raw/{name}.h5"))
    codes = np.load(shared(f"raw/{name}.mask.npy"))
    for data in run(acquisitions, parse_header(xml)):
        np.testing.assert_array_equal(data.mask, np.broadcast_to(codes[:, None] > 0, data.mask.shape))


@pytest.mark.parametrize("flags", [[], [ismrmrd.ACQ_IS_NOISE_MEASUREMENT]])
def test_readouts_that_are_still_compressed_are_refused(flags: list[int]) -> None:
    acq = acquisition(np.ones((2, 96), np.complex64), 32, [*flags, ismrmrd.ACQ_COMPRESSION2])
    with pytest.raises(AcquisitionError, match=r"still compressed; .*GadgetIsmrmrdAcquisitionMessageReader"):
        list(assemble([[acq]], HEADER, ScanConfig()))


@pytest.mark.parametrize(("flags", "error"), [([], NonFiniteError), ([ismrmrd.ACQ_IS_NOISE_MEASUREMENT], NoiseError)])
def test_samples_that_are_no_numbers_may_come_from_the_clients_compression(flags: list[int], error: type[Exception]) -> None:
    data = np.full((2, 96), np.nan, np.complex64)
    with pytest.raises(error, match=r"NaN or Inf samples.* compresses the data \(-P or -T\), lossy decompression leaves NaN"):
        list(assemble([[acquisition(data, 32, flags)]], HEADER, ScanConfig()))
