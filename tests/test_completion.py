import logging
from typing import Any

import ismrmrd
import numpy as np
import pytest

from tests.helpers import acquisition
from tests.scans import Protocol, header_of
from untrained_recon.assemble import assemble
from untrained_recon.completion import Completion
from untrained_recon.config import ScanConfig
from untrained_recon.encoding import ImageIndex
from untrained_recon.errors import IncompleteScanError
from untrained_recon.header import parse_header
from untrained_recon.types import KSpace

FIRST, LAST, END = ismrmrd.ACQ_FIRST_IN_SLICE, ismrmrd.ACQ_LAST_IN_SLICE, ismrmrd.ACQ_LAST_IN_MEASUREMENT
LAST_STEP_2, LAST_REPETITION = ismrmrd.ACQ_LAST_IN_ENCODE_STEP2, ismrmrd.ACQ_LAST_IN_REPETITION
SLICES = Protocol(counts={"slice": 3, "average": 1})
VOLUME = Protocol(matrix=(2, 32, 64), recon=(2, 32, 32))


def line(n: int, *flags: int, **fields: Any) -> ismrmrd.Acquisition:
    return acquisition(np.ones((2, 64), np.complex64), n, flags, **fields)


def run(scan: list[ismrmrd.Acquisition], protocol: Protocol = SLICES, flush: Any = "flags") -> tuple[list[KSpace], str]:
    """The images that came, and the error after them."""
    found: list[KSpace] = []
    try:
        found.extend(assemble(([acq] for acq in scan), parse_header(header_of(protocol)), ScanConfig(flush=flush)))
    except IncompleteScanError as error:
        return found, str(error)
    return found, ""


def test_a_scan_that_ends_early_gives_its_complete_images_and_names_the_others(caplog: pytest.LogCaptureFixture) -> None:
    scan = [line(n, slice=s) for n in range(3) for s in range(2)]
    scan[-2].set_flag(LAST)
    scan.pop()  # line 2 of slice 1 never came
    with caplog.at_level(logging.WARNING):
        found, error = run(scan)
    assert [d.index.slice for d in found] == [0]
    assert "ended before 1 of 2 images were complete: slice 1 (2 readouts)" in error
    assert "set scan.flush to close" in error
    assert "the header announces 3 of slice, 2 came" in caplog.text
    found, error = run(scan, flush="close")
    assert [d.index.slice for d in found] == [0, 1]
    assert not error


def test_a_single_image_that_was_begun_by_flag_and_not_ended_is_incomplete() -> None:
    assert run([line(0, FIRST), line(1)])[1].startswith("the scan ended before 1 of 1 images were complete")
    assert not run([line(0, FIRST), line(1, LAST)])[1]
    assert not run([line(0, FIRST), line(1, END)])[1]
    assert not run([line(0), line(1)])[1]  # a scan without flags


def test_images_as_long_as_a_flagged_one_need_no_flag_of_their_own() -> None:
    """As with echoes: LAST_IN_SLICE comes with the last one only."""
    scan = [line(n, contrast=c) for n in range(3) for c in range(2)]
    scan[-1].set_flag(LAST)
    found, error = run(scan)
    assert sorted(d.index.contrast for d in found) == [0, 1]
    assert not error


def test_partitions_that_end_do_not_end_their_volume() -> None:
    first, second = ([line(n, kspace_encode_step_2=z) for n in range(3)] for z in range(2))
    first[-1].set_flag(LAST)
    second[-1].set_flag(LAST)
    for scan in ([*first, *second], [*second, *first, line(5)]):  # a bucket's order means nothing
        scan[0].set_flag(FIRST)
        (data,), error = run(scan, VOLUME)
        assert (data.mask.any(axis=2).sum(), error) == (len(scan), "")
    assert run([*first, *second[:-1]], VOLUME)[1]
    second[-1].set_flag(LAST_STEP_2)
    scan = [*first, *second, line(0, repetition=1, kspace_encode_step_2=0)]
    assembler = assemble(([acq] for acq in scan), parse_header(header_of(VOLUME)), ScanConfig())
    assert next(assembler).mask.any(axis=2).sum() == 6  # left before repetition 1 was there
    assert "repetition 1 (1 readouts)" in run(scan, VOLUME)[1]


def test_the_last_average_completes_an_image() -> None:
    protocol = Protocol(counts={"average": 2})
    scan = [line(n, *([LAST] if n == 1 else []), average=a) for a in range(2) for n in range(2)]
    found, error = run(scan, protocol)
    assert (len(found), error) == (1, "")
    found, error = run(scan[:3], protocol)
    assert (len(found), error) == (1, "")
    assert found[0].weights is not None  # one line of the second average came
    assert run([line(0, FIRST), line(1)], protocol)[1]


def test_the_end_of_a_repetition_ends_its_slices() -> None:
    scan = [line(n, slice=s, repetition=r) for r in range(2) for n in range(2) for s in range(2)]
    scan[3].set_flag(LAST_REPETITION)
    found, error = run(scan)
    assert [(d.index.repetition, d.index.slice) for d in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    found, error = run(scan[:-1])
    assert len(found) == 3
    assert "slice 1, repetition 1 (1 readouts)" in error


def test_the_flag_that_ends_a_repetition_concerns_its_slices_alone() -> None:
    completion = Completion(parse_header(header_of(SLICES)), ScanConfig())
    ended = 0
    for repetition in range(3000):  # all images so far for each of them: minutes
        for number in range(2):
            index = ImageIndex(0, 0, number, 0, 0, repetition, 0)
            ended += len(completion.add(line(0, *([LAST_REPETITION] if number else []), slice=number), index))
    assert ended == 6000
    assert not completion.incomplete()
