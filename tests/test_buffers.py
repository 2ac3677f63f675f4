"""ReconData as BucketToBuffer lays it out, made here line by line."""

import io
import struct
from collections import deque
from typing import Any

import ismrmrd
import numpy as np
import pytest

from gadgets.answer import Plan
from gadgets.buffers import kspaces_of
from gadgets.readers import read_recon_data
from tests.scans import Protocol, body, header_of, measure, readouts, sampled_lines
from tests.streams import recon_data_bytes
from untrained_recon.assemble import assemble
from untrained_recon.buffers import Buffer, image_grid, indices, kspaces
from untrained_recon.config import ScanConfig
from untrained_recon.encoding import ImageIndex
from untrained_recon.errors import EncodingError, NonFiniteError
from untrained_recon.header import parse_header
from untrained_recon.types import KSpace

PLAIN = Protocol(matrix=(1, 16, 16), recon=(1, 16, 16), fov=(5.0, 240.0, 240.0))
VOLUME = Protocol(matrix=(4, 16, 16), recon=(4, 16, 16), fov=(20.0, 240.0, 240.0), recon_fov=(20.0, 240.0, 240.0), centers=(1, 6))
FULL = np.ones((1, 16), bool)


def buffer_of(cells: dict[tuple[int, int, int], list[ismrmrd.Acquisition]], protocol: Protocol = PLAIN) -> Buffer:
    """Acquisitions of cells (N, S, LOC) on the full grid."""
    n_z, n_y, n_x = protocol.matrix
    center_z, center_y = protocol.steps
    shape = tuple(1 + max(cell[axis] for cell in cells) for axis in range(3))
    n_coils = next(iter(cells.values()))[0].active_channels
    data = np.zeros((n_x, n_y, n_z, n_coils, *shape), np.complex64)
    headers = np.empty((n_y, n_z, *shape), object)
    for place in np.ndindex(*headers.shape):
        headers[place] = ismrmrd.AcquisitionHeader()
    for cell, acquisitions in cells.items():
        for acq in acquisitions:
            row, partition = acq.idx.kspace_encode_step_1, acq.idx.kspace_encode_step_2
            y, z = row + n_y // 2 - center_y, partition + n_z // 2 - center_z
            data[:, y, z, :, cell[0], cell[1], cell[2]] = acq.data.T
            headers[y, z, cell[0], cell[1], cell[2]] = acq.getHead()
    return Buffer(data, headers)


def images(data: Buffer, protocol: Protocol = PLAIN, **settings: Any) -> list[KSpace]:
    return list(kspaces(data, None, parse_header(header_of(protocol)), ScanConfig(**settings)))


def test_averages_along_an_axis_become_one_image() -> None:
    ksp = measure(body(3), PLAIN)
    half = sampled_lines(PLAIN, 2, 0)
    cells = {
        (n, s, 0): readouts((1 + s) * ksp, PLAIN, FULL if s == 0 else half, contrast=n, average=s)
        for n in range(2)
        for s in range(2)
    }
    data = buffer_of(cells)
    assert image_grid(data, ScanConfig()) == (2, 1, 1)
    found = images(data)
    assert [(d.index.contrast, d.index.average) for d in found] == [(0, 0), (1, 0)]
    stream = [acq for cell in cells.values() for acq in cell]
    for ours, theirs in zip(found, assemble([stream], parse_header(header_of(PLAIN)), ScanConfig(flush="close")), strict=True):
        np.testing.assert_allclose(ours.ksp, theirs.ksp, atol=1e-6)
        np.testing.assert_array_equal(ours.sampling, theirs.sampling)
    assert image_grid(data, ScanConfig(average=False)) == (2, 2, 1)
    assert [(d.index.contrast, d.index.average) for d in images(data, average=False)] == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_volumes_are_taken_with_all_of_their_partitions() -> None:
    ksp = measure(body(3, slices=4, fov=(20.0, 240.0, 240.0)), VOLUME)
    lines = np.ones((4, 16), bool)
    lines[:1], lines[:, :2] = False, False  # before step 0
    acquisitions = readouts(ksp, VOLUME, lines)
    (ours,) = images(buffer_of({(0, 0, 0): acquisitions}, VOLUME), VOLUME)
    (theirs,) = assemble([acquisitions], parse_header(header_of(VOLUME)), ScanConfig())
    np.testing.assert_array_equal(ours.ksp, theirs.ksp)
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    assert bytes(ours.reference) == bytes(theirs.reference)
    assert (ours.reference.idx.kspace_encode_step_1, ours.reference.idx.kspace_encode_step_2) == (6, 1)


def test_interleaved_repetitions_of_a_buffer_calibrate_together() -> None:
    protocol = Protocol(**{**vars(PLAIN), "mode": "interleaved", "interleaving": "repetition"})
    ksp = measure(body(3), protocol)
    data = buffer_of(
        {(r, 0, 0): readouts(ksp, protocol, sampled_lines(protocol, 2, 0, r), repetition=r) for r in range(2)}, protocol
    )
    found = images(data, protocol)
    assert [d.mask.mean() for d in found] == [0.5, 0.5]
    assert found[0].calib is found[1].calib
    np.testing.assert_allclose(found[0].calib, ksp[:, 0], atol=1e-6)


def test_reference_scans_in_a_space_of_their_own_calibrate_buffers_too() -> None:
    imaging = Protocol(**{**vars(PLAIN), "mode": "separate"})
    low = Protocol(matrix=(1, 12, 12), recon=(1, 12, 12), fov=(5.0, 240.0, 240.0), mode="separate")
    lines = readouts(measure(body(3), imaging), imaging, sampled_lines(imaging, 2, 0))
    reference = readouts(measure(body(3), low), low, np.ones((1, 12), bool), encoding_space_ref=1)
    header = parse_header(header_of(imaging, low))
    data, ref = buffer_of({(0, 0, 0): lines}, imaging), buffer_of({(0, 0, 0): reference}, low)
    (ours,) = kspaces(data, None, header, ScanConfig(), [ref])
    for acq in reference:
        acq.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
    (theirs,) = assemble([[*reference, *lines]], header, ScanConfig())
    assert ours.calib_mask.sum() == 12 * 12
    np.testing.assert_allclose(ours.calib, theirs.calib, atol=1e-6)
    assert ours.notes == theirs.notes


def test_a_space_of_calibration_lines_alone_comes_as_an_array_without_dimensions() -> None:
    """As the gadget before writes a buffer that was never filled: no sizes, no samples, no headers."""
    imaging = Protocol(**{**vars(PLAIN), "mode": "separate"})
    data = buffer_of({(0, 0, 0): readouts(measure(body(3), imaging), imaging, sampled_lines(imaging, 2, 0))}, imaging)
    ref = buffer_of({(0, 0, 0): readouts(measure(body(3), imaging), imaging, FULL, encoding_space_ref=1)}, imaging)
    sent = recon_data_bytes(data.data, data.headers, None)
    (filled,) = read_recon_data(BytesSource(sent[2:]))
    nothing = struct.pack("<Q", 0) + b"\0\0" + struct.pack("<Q", 0) + bytes(56)
    alone = struct.pack("<Q", 1) + nothing + b"\1" + recon_data_bytes(ref.data, ref.headers, None)[10:-1]
    (empty,) = read_recon_data(BytesSource(alone))
    assert empty.data.data.size == empty.data.headers.size == 0
    plans: deque[Plan] = deque()
    header = parse_header(header_of(imaging, imaging))
    (found,) = kspaces_of([[filled, empty]], header, ScanConfig(), plans)
    assert [plan.shape for plan in plans] == [(1, 1, 1)]
    assert found.calib_mask.all()


class BytesSource(io.BytesIO):
    """Bytes as a gadget reads them."""

    def expect(self, nbytes: int) -> int:
        return nbytes


def test_short_readouts_lie_in_the_middle_and_lines_of_zeros_were_not_acquired() -> None:
    oversampled = Protocol(matrix=(1, 16, 32), recon=(1, 16, 16))
    ksp = measure(body(3), oversampled)
    ksp[:, :, 3] = 0
    whole = buffer_of({(0, 0, 0): readouts(ksp, oversampled, FULL)}, oversampled)
    for columns in (slice(4, 28), slice(10, 22)):  # as long as the larger grid needs, or so short that oversampling is gone
        (found,) = images(Buffer(whole.data[columns], whole.headers), oversampled)
        assert found.mask.any(axis=0).sum() == 12
        assert not found.mask[3].any()
        assert [caution.code for caution in found.cautions] == ["zero-lines"]


def test_buffers_that_do_not_fit_are_refused() -> None:
    data = buffer_of({(0, 0, 0): readouts(measure(body(3), PLAIN), PLAIN, FULL)})
    with pytest.raises(EncodingError, match="16 x 16 x 1 does not fit the encoded matrix of 16 x 16 x 4"):
        images(data, VOLUME)
    with pytest.raises(EncodingError, match="has headers of shape"):
        Buffer(data.data, data.headers[:8])


def test_a_bad_image_of_a_buffer_costs_no_other() -> None:
    lines = readouts(measure(body(3), PLAIN), PLAIN, FULL)
    data = buffer_of({(0, 0, loc): lines for loc in range(3)})
    for loc in range(3):
        for head in data.headers[:, 0, 0, 0, loc]:
            head.idx.slice = loc
    data.data[3, 3, ..., 1] = np.nan
    found = kspaces(data, None, parse_header(header_of(PLAIN)), ScanConfig())
    assert [next(found).index.slice, next(found).index.slice] == [0, 2]
    with pytest.raises(NonFiniteError, match=r"1 image could not be made: slice 1: .* holds NaN or Inf") as caught:
        next(found)
    assert [index for index, _ in caught.value.images] == [ImageIndex(0, 0, 1, 0, 0, 0, 0)]
    assert [index and index.slice for index in indices(data, parse_header(header_of(PLAIN)), ScanConfig())] == [0, 1, 2]
