"""Reference scans in an encoding space of their own calibrate the images of the others."""

from typing import Any

import ismrmrd
import numpy as np
import pytest
import torch

from tests.scans import Protocol, body, expected, header_of, measure, readouts, sampled_lines
from untrained_recon.assemble import assemble
from untrained_recon.config import ScanConfig, load_config
from untrained_recon.errors import NoImagingDataError
from untrained_recon.header import parse_header
from untrained_recon.membership import begins_image
from untrained_recon.metrics import nrmse
from untrained_recon.reference import calibrates_itself
from untrained_recon.types import BoolArray, KSpace
from untrained_recon.volume import reconstruct_image

CALIBRATION = [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION]
PLAIN = Protocol(matrix=(1, 48, 96), recon=(1, 48, 48), mode="separate")
LOW = Protocol(matrix=(1, 24, 48), recon=(1, 24, 24), mode="separate")
HALF = sampled_lines(PLAIN, 2, 0)
CONFIG = load_config("fast", {"device": "cpu", "recon.method": "cg-sense"})
GEOMETRY: dict[str, Any] = {"read_dir": (1, 0, 0), "phase_dir": (0, 1, 0), "slice_dir": (0, 0, 1)}


def like(protocol: Protocol, **changes: Any) -> Protocol:
    return Protocol(**{**vars(protocol), **changes})


def everything(protocol: Protocol) -> BoolArray:
    return np.ones(protocol.matrix[:2], bool)


def images_of(slices: int, **fields: Any) -> list[ismrmrd.Acquisition]:
    found = []
    for n in range(slices):
        position = (0, 0, 5.0 * n)
        found += readouts(measure(body(6, seed=n), PLAIN), PLAIN, HALF, slice=n, position=position, **GEOMETRY, **fields)
    return found


def reference_of(slices: dict[int, int], protocol: Protocol = LOW, **fields: Any) -> list[ismrmrd.Acquisition]:
    """A reference scan of the slices, by the object that each shows."""
    found = []
    for n, seed in slices.items():
        options: dict[str, Any] = {"slice": n, "position": (0, 0, 5.0 * seed), "encoding_space_ref": 1, **GEOMETRY, **fields}
        found += readouts(measure(body(6, seed=seed), protocol), protocol, everything(protocol), CALIBRATION, False, **options)
    return found


def scan_of(acquisitions: list[ismrmrd.Acquisition], *protocols: Protocol, **settings: Any) -> list[KSpace]:
    return list(assemble(([acq] for acq in acquisitions), parse_header(header_of(*protocols)), ScanConfig(**settings)))


def error(data: KSpace) -> float:
    truth = expected(measure(body(6, seed=data.index.slice), PLAIN), PLAIN)[0]
    return nrmse(reconstruct_image(data, CONFIG, torch.device("cpu")).magnitude, truth)


@pytest.mark.parametrize(
    "low",
    [
        LOW,
        like(LOW, matrix=(1, 25, 48), recon=(1, 25, 24)),
        like(LOW, fov=(5.0, 300.0, 600.0), recon_fov=(5.0, 300.0, 300.0)),
        like(LOW, matrix=(1, 32, 80), recon=(1, 32, 40), fov=(5.0, 320.0, 600.0), recon_fov=(5.0, 320.0, 300.0)),
        like(LOW, mode="embedded"),
        like(LOW, matrix=(1, 48, 96), recon=(1, 48, 48)),
    ],
    ids=lambda p: f"{p.matrix}-{p.recon_fov}-{p.mode}",
)
@pytest.mark.parametrize(("mode", "first"), [("separate", True), ("embedded", False)])
def test_maps_come_from_the_reference_scan(low: Protocol, mode: str, first: bool) -> None:
    reference, imaging = reference_of({0: 0}, low), images_of(1)
    (data,) = scan_of(reference + imaging if first else imaging + reference, like(PLAIN, mode=mode), low)
    assert data.calib_mask.sum() >= 12 * 12
    np.testing.assert_array_equal(data.mask.any(axis=1), HALF[0])
    assert "reference scan in encoding space 1" in data.notes[0]
    assert error(data) < 0.03


def test_samples_of_the_same_field_of_view_are_the_same_and_others_interpolated() -> None:
    ksp = measure(body(6), PLAIN)
    (data,) = scan_of(reference_of({0: 0}) + readouts(ksp, PLAIN, everything(PLAIN), **GEOMETRY), PLAIN, LOW)
    inner = data.calib_mask
    scale = np.vdot(data.calib[:, inner], data.ksp[:, inner]) / np.vdot(data.calib[:, inner], data.calib[:, inner])
    assert np.linalg.norm(scale * data.calib[:, inner] - data.ksp[:, inner]) < 0.05 * np.linalg.norm(data.ksp[:, inner])
    moved = like(LOW, matrix=(1, 40, 96), recon=(1, 40, 48), fov=(5.0, 312.0, 624.0), recon_fov=(5.0, 312.0, 312.0))
    subject = body(6)
    z, y, x = subject.places
    shifted = type(subject)(subject.coil_imgs, (z, y - 20.0, x + 12.0))  # as the reference sees it from its own position
    apart = readouts(
        measure(shifted, moved),
        moved,
        everything(moved),
        CALIBRATION,
        False,
        encoding_space_ref=1,
        position=(-12, 20, 0),
        **GEOMETRY,
    )
    (data,) = scan_of(apart + readouts(ksp, PLAIN, everything(PLAIN), **GEOMETRY), PLAIN, moved)
    inner = data.calib_mask
    assert inner.sum() > 25 * 25
    scale = np.vdot(data.calib[:, inner], data.ksp[:, inner]) / np.vdot(data.calib[:, inner], data.calib[:, inner])
    assert abs(np.angle(scale)) < 0.02
    assert np.linalg.norm(scale * data.calib[:, inner] - data.ksp[:, inner]) < 0.05 * np.linalg.norm(data.ksp[:, inner])


@pytest.mark.parametrize(("order", "first"), [({0: 2, 1: 1, 2: 0}, True), ({0: 0, 1: 1, 2: 2, 3: 3}, False)])
def test_each_slice_takes_the_reference_at_its_place(order: dict[int, int], first: bool) -> None:
    reference, imaging = reference_of(order), images_of(3)
    found = scan_of(reference + imaging if first else imaging + reference, PLAIN, LOW)
    assert [data.index.slice for data in found] == [0, 1, 2]
    assert max(error(data) for data in found) < 0.03


def test_without_positions_the_counters_tell_and_slices_that_are_not_there_do_not_serve() -> None:
    nowhere: dict[str, Any] = {"position": (0, 0, 0)}
    reference = [acq for n in (0, 2) for acq in reference_of({n: n}, **nowhere)]
    found = scan_of(reference + [_moved(acq) for acq in images_of(3)], PLAIN, LOW)
    found.sort(key=lambda data: data.index.slice)
    assert [bool(data.notes) and "calibrated by" in data.notes[0] for data in found] == [True, False, True]
    assert "not of this slice" in found[1].notes[0]
    assert error(found[0]) < 0.03
    turned = reference_of({0: 0}, read_dir=(0, 1, 0), phase_dir=(-1, 0, 0))
    (data,) = scan_of(turned + images_of(1), PLAIN, LOW)
    assert "not of this slice and orientation" in data.notes[0]


def _moved(acq: ismrmrd.Acquisition) -> ismrmrd.Acquisition:
    acq.position[:] = (0, 0, 0)
    return acq


def test_images_leave_with_the_first_reference_and_wait_for_it() -> None:
    taken: list[int] = []

    def stream(acquisitions: list[ismrmrd.Acquisition]) -> Any:
        for n, acq in enumerate(acquisitions):
            taken.append(n)
            yield [acq]

    header = parse_header(header_of(PLAIN, LOW))
    next(assemble(stream(reference_of({0: 0, 1: 1}) + images_of(2)), header, ScanConfig()))
    assert len(taken) == 2 * 24 + 24
    taken.clear()
    next(assemble(stream(images_of(2) + reference_of({0: 0, 1: 1})), header, ScanConfig()))
    assert len(taken) == 2 * (24 + 24)


def test_calibration_lines_of_its_own_come_first_and_a_reference_alone_is_no_image() -> None:
    embedded = like(PLAIN, mode="embedded")
    own = readouts(measure(body(6), PLAIN), PLAIN, sampled_lines(PLAIN, 2, 16), **GEOMETRY)
    (data,) = scan_of(reference_of({0: 0}) + own, embedded, LOW)
    assert data.calib is data.ksp
    assert not data.notes
    for low in (LOW, like(LOW, mode="embedded")):
        with pytest.raises(NoImagingDataError):
            scan_of(reference_of({0: 0}, low), PLAIN, low)
        header = parse_header(header_of(PLAIN, low))
        assert not any(begins_image(acq, header) for acq in reference_of({0: 0}, low))
        assert all(begins_image(acq, header) for acq in own)


def test_two_spaces_with_images_calibrate_themselves() -> None:
    """Two echoes in two spaces, each with calibration lines that are not imaging lines."""
    embedded = like(PLAIN, mode="embedded")
    ksp = measure(body(6), PLAIN)
    echoes = []
    for space in range(2):
        acs = readouts(ksp, PLAIN, sampled_lines(PLAIN, 48, 12), CALIBRATION, False, encoding_space_ref=space)
        echoes += acs + readouts(ksp, PLAIN, HALF, encoding_space_ref=space)
    found = scan_of(echoes, embedded, embedded)
    assert [data.index.encoding for data in found] == [0, 1]
    assert all(data.calib is data.ksp and not data.notes for data in found)


def test_lines_around_the_centre_calibrate() -> None:
    lines = np.zeros(32, bool)
    lines[13:18] = True
    assert not calibrates_itself(lines)
    lines[18] = True
    assert calibrates_itself(lines)
