"""Whole protocols against Fourier sums of the tests' own: what comes out is the object, where it is."""

from typing import Any

import ismrmrd
import numpy as np
import pytest
import torch

from tests.doubles.scans import Body, Protocol, body, expected, header_of, measure, noisy, readouts, sampled_lines
from untrained_recon.config import load_config
from untrained_recon.errors import UnsupportedScanError
from untrained_recon.metrics import nrmse
from untrained_recon.recon.volume import reconstruct_image
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.images import to_image
from untrained_recon.types import FloatArray, KSpace

QUICK = {"device": "cpu", "fit.iterations": "100", "network.channels": "16"}
ALL = np.ones((1, 32), bool)
CPU = torch.device("cpu")
CALIBRATION = ismrmrd.ACQ_IS_PARALLEL_CALIBRATION
VOLUME = Protocol(matrix=(8, 32, 64), recon=(8, 32, 32), fov=(40.0, 240.0, 480.0), recon_fov=(40.0, 240.0, 240.0))


def scan_of(acquisitions: list[ismrmrd.Acquisition], *protocols: Protocol, **settings: str) -> list[KSpace]:
    config = load_config("fast", {**QUICK, **settings})
    return list(assemble(([acq] for acq in acquisitions), parse_header(header_of(*protocols)), config.scan))


def magnitude(data: KSpace, **settings: str) -> FloatArray:
    return reconstruct_image(data, load_config("fast", {**QUICK, **settings}), CPU).magnitude


def subject_of(protocol: Protocol) -> Body:
    return body(slices=protocol.matrix[0] if protocol.matrix[0] > 1 else 1, fov=(protocol.recon_fov[0], 240.0, 240.0))


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol(),
        Protocol(matrix=(1, 33, 62), recon=(1, 33, 31)),
        Protocol(matrix=(1, 32, 40), fov=(5.0, 240.0, 300.0)),
        Protocol(matrix=(1, 32, 128), fov=(5.0, 240.0, 960.0)),
        Protocol(matrix=(1, 32, 32), fov=(5.0, 240.0, 240.0)),
        Protocol(matrix=(1, 48, 64), fov=(5.0, 360.0, 480.0)),
        Protocol(matrix=(1, 24, 64), recon=(1, 24, 32), fov=(5.0, 180.0, 480.0), recon_fov=(5.0, 180.0, 240.0)),
        Protocol(recon=(1, 80, 32)),
        Protocol(matrix=(1, 31, 64), recon=(1, 47, 32)),
        Protocol(matrix=(1, 32, 32), recon=(1, 80, 75), fov=(5.0, 240.0, 240.0)),
        Protocol(centers=(0, 10)),
        VOLUME,
        Protocol(matrix=(9, 31, 64), recon=(7, 31, 32), fov=(45.0, 240.0, 480.0), recon_fov=(35.0, 240.0, 240.0)),
        Protocol(matrix=(8, 32, 64), recon=(20, 48, 32), fov=(40.0, 240.0, 480.0), recon_fov=(40.0, 240.0, 240.0)),
        Protocol(matrix=(8, 32, 64), recon=(8, 32, 32), fov=VOLUME.fov, recon_fov=VOLUME.recon_fov, centers=(3, 12)),
    ],
    ids=lambda p: f"{p.matrix}-{p.recon}-{p.centers}",
)
def test_complete_kspace_of_any_protocol_gives_the_object_at_the_delivered_pixels(protocol: Protocol) -> None:
    ksp = measure(subject_of(protocol), protocol)
    lines = np.ones(protocol.matrix[:2], bool)
    if protocol.centers:  # lines before step 0 cannot be had; here they are empty
        first_z, first_y = (n // 2 - center for n, center in zip(protocol.matrix, protocol.centers, strict=False))
        lines[: max(0, first_z)] = lines[:, : max(0, first_y)] = False
        ksp = ksp * lines[..., None]
    (data,) = scan_of(readouts(ksp, protocol, lines), protocol)
    truth = expected(ksp, protocol)
    if protocol.centers:
        assert not data.mask.all()
        data = KSpace(**{**vars(data), "mask": np.ones_like(data.mask)})
    found = magnitude(data)
    np.testing.assert_allclose(found, truth if protocol.matrix[0] > 1 else truth[0], atol=2e-5)


def marked(protocol: Protocol, place: tuple[float, float, float]) -> Body:
    """A small asymmetric thing: a bright point at ``(z, y, x)`` mm from the isocentre of the gradients' axes."""
    places = tuple(np.array([p, p + 1.0]) for p in place)
    imgs = np.zeros((2, 2, 2, 2), np.complex64)
    imgs[:, 0, 0, 0] = 1
    return Body(imgs if protocol.matrix[0] > 1 else imgs[:, :1], places)


def rotation(axis: tuple[float, float, float], degrees: float) -> Any:
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


AXIAL = np.eye(3)  # rows: read, phase and slice direction in patient coordinates (LPS)
ORIENTATIONS = {
    "axial": AXIAL,
    "sagittal": np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]]),
    "coronal": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "oblique": AXIAL @ rotation((1, 2, 0.5), 33.0).T,
}


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize(
    "protocol",
    [
        Protocol(matrix=(1, 48, 96), recon=(1, 48, 48)),
        Protocol(matrix=(1, 47, 98), recon=(1, 47, 49)),
        Protocol(matrix=(1, 60, 96), recon=(1, 96, 96), fov=(5.0, 300.0, 480.0)),
        Protocol(matrix=(12, 48, 96), recon=(12, 48, 48), fov=(60.0, 240.0, 480.0), recon_fov=(60.0, 240.0, 240.0)),
        Protocol(matrix=(15, 48, 96), recon=(10, 48, 48), fov=(75.0, 240.0, 480.0), recon_fov=(50.0, 240.0, 240.0)),
    ],
    ids=["even", "odd", "oversampled and interpolated", "volume", "volume with slice oversampling"],
)
def test_a_marker_is_found_where_it_is_in_the_patient(name: str, protocol: Protocol) -> None:
    """Pixel ``n // 2`` of every axis lies at the image's position, the others along its directions by the field of view."""
    directions = ORIENTATIONS[name]
    is_volume = protocol.matrix[0] > 1
    position = np.array([12.0, -31.0, 44.0])
    inside = np.array([55.0, -40.0, 10.0 if is_volume else 0.0])  # read, phase, slice
    patient = position + inside @ directions
    along = (patient - position) @ directions.T  # what the gradients encode
    ksp = measure(marked(protocol, (along[2], along[1], along[0])), protocol)
    read, phase, normal = directions.tolist()
    geometry = {"position": position.tolist(), "read_dir": read, "phase_dir": phase, "slice_dir": normal}
    config = load_config("fast", QUICK)
    header = parse_header(header_of(protocol))
    (data,) = assemble([readouts(ksp, protocol, np.ones(protocol.matrix[:2], bool), **geometry)], header, config.scan)
    image = to_image("magnitude", reconstruct_image(data, config, CPU), data, header, config)

    head = image.getHead()
    sizes = np.array(head.matrix_size)
    pixel = np.array(head.field_of_view) / sizes
    peak = np.array(np.unravel_index(image.data[0].argmax(), image.data[0].shape))[::-1]  # x, y, z
    axes = np.array([head.read_dir, head.phase_dir, head.slice_dir])
    found = np.array(head.position) + ((peak - sizes // 2) * pixel) @ axes
    assert np.abs((found - patient) @ axes.T)[: 3 if is_volume else 2].max() <= 0.51 * pixel.max()
    assert np.linalg.norm(found - patient) < 0.87 * np.linalg.norm(pixel)


def test_averages_are_averaged_by_the_number_of_acquisitions_of_each_sample() -> None:
    protocol = Protocol(counts={"average": 2})
    ksp = measure(body(), protocol)
    everything, centre = ALL, sampled_lines(protocol, 32, 8)
    first = readouts(noisy(ksp, 0.1, 1), protocol, everything)  # LAST_IN_SLICE of an average that is not the last
    second = readouts(noisy(ksp, 0.1, 2), protocol, centre, average=1)
    (data,) = scan_of([*first, *second], protocol)
    twice = centre[0]
    np.testing.assert_allclose(data.weights[twice, 0] / data.weights[~twice, 0][0], np.sqrt(2), rtol=1e-6)  # type: ignore[index]
    np.testing.assert_allclose((data.sampling**2)[data.mask].mean(), 1, rtol=1e-6)
    assert data.averages == everything.mean() + centre.mean()
    noise = data.ksp - scan_of(readouts(ksp, protocol, everything, marks=False), protocol)[0].ksp
    assert np.std(noise[:, twice]) / np.std(noise[:, ~twice]) == pytest.approx(np.sqrt(0.5), rel=0.1)
    apart = scan_of([*first, *second], protocol, **{"scan.average": "false"})
    assert [(d.index.average, d.weights) for d in apart] == [(0, None), (1, None)]


def test_samples_that_are_means_of_more_acquisitions_count_for_more_in_the_fit() -> None:
    protocol = Protocol(matrix=(1, 32, 32), fov=(5.0, 240.0, 240.0), counts={"average": 9})
    ksp = measure(body(6), protocol)
    lines = sampled_lines(protocol, 2, 16)
    spoilt = ksp.copy()
    once = lines & ~sampled_lines(protocol, 32, 16)
    spoilt[:, once] = noisy(0 * ksp, 0.5, 1)[:, once]
    acquisitions = readouts(spoilt, protocol, lines)
    for n in range(1, 9):
        acquisitions += readouts(ksp, protocol, sampled_lines(protocol, 32, 16), average=n)
    (data,) = scan_of(acquisitions, protocol)
    equal = KSpace(**{**vars(data), "weights": None})
    truth = expected(ksp, protocol)[0]
    settings = {"recon.data_consistency": "false", "fit.iterations": "150", "refine.iterations": "0"}
    assert nrmse(magnitude(data, **settings), truth) < 0.97 * nrmse(magnitude(equal, **settings), truth)


def test_undersampling_that_is_interleaved_over_repetitions_calibrates_from_all_of_them() -> None:
    protocol = Protocol(mode="interleaved", interleaving="repetition", counts={"repetition": 4, "slice": 2})
    ksps = [measure(body(6, seed=s), protocol) for s in range(2)]
    acquisitions = [
        acq
        for r in range(4)
        for s, ksp in enumerate(ksps)
        for acq in readouts(ksp, protocol, sampled_lines(protocol, 4, 0, r), repetition=r, slice=s)
    ]
    found = scan_of(acquisitions, protocol)
    assert [(d.index.repetition, d.index.slice) for d in found] == [(r, s) for r in range(4) for s in range(2)]
    assert all(d.calib_mask.all() and d.mask.sum() == d.mask.size / 4 for d in found)
    assert found[0].calib is found[2].calib
    (whole,) = scan_of(readouts(ksps[1], protocol, ALL), Protocol())
    np.testing.assert_allclose(found[1].calib, whole.ksp, atol=1e-6)
    assert reconstruct_image(found[3], load_config("fast", {**QUICK, "fit.iterations": "2"}), CPU).account.method == "maps"


def test_a_separate_calibration_scan_may_come_after_the_images() -> None:
    protocol = Protocol(mode="separate")
    ksp = measure(body(6), protocol)
    after = readouts(ksp, protocol, sampled_lines(protocol, 32, 12), [CALIBRATION], marks=False)
    (data,) = scan_of([*readouts(ksp, protocol, sampled_lines(protocol, 2, 0)), *after], protocol)
    assert data.mask.sum() == data.mask.size / 2
    assert data.calib_mask[10:22].all()


def test_without_calibration_lines_the_sampled_centre_calibrates_else_coils_are_reconstructed_one_by_one() -> None:
    protocol = Protocol()
    ksp = measure(body(6), protocol)
    for acs, method in ((10, "maps"), (0, "coils")):
        (data,) = scan_of(readouts(ksp, protocol, sampled_lines(protocol, 2, acs)), protocol)
        assert reconstruct_image(data, load_config("fast", {**QUICK, "fit.iterations": "2"}), CPU).account.method == method


@pytest.mark.parametrize("accel", [1, 2, 5, 12])
def test_accelerations(accel: int) -> None:
    protocol = Protocol(matrix=(1, 48, 48), recon=(1, 48, 48), fov=(5.0, 240.0, 240.0))
    ksp = measure(body(8), protocol)
    (data,) = scan_of(readouts(ksp, protocol, sampled_lines(protocol, accel, 16)), protocol)
    zero_filled = magnitude(KSpace(**{**vars(data), "mask": np.ones_like(data.mask)}))
    truth = expected(ksp, protocol)[0]
    error = nrmse(magnitude(data), truth)
    assert error < 1e-5 if accel == 1 else error < 0.9 * nrmse(zero_filled, truth)


def test_segments_are_one_image_and_every_encoding_space_has_its_own() -> None:
    large, small = Protocol(), Protocol(matrix=(1, 16, 16), recon=(1, 16, 16), fov=(5.0, 240.0, 240.0))
    ksp, other = measure(body(), large), measure(body(), small)
    upper, lower = ALL, np.zeros((1, 32), bool)
    upper[:, ::2], lower[:, ::2] = False, True
    scan = readouts(ksp, large, upper, marks=False) + readouts(other, small, np.ones((1, 16), bool), encoding_space_ref=1)
    found = scan_of([*scan, *readouts(ksp, large, lower, segment=1)], large, small)
    assert [(d.index.encoding, d.mask.shape, bool(d.mask.all())) for d in found] == [(1, (16, 16), True), (0, (32, 32), True)]
    np.testing.assert_allclose(magnitude(found[1]), expected(ksp, large)[0], atol=2e-5)
    np.testing.assert_allclose(magnitude(found[0]), expected(other, small)[0], atol=2e-5)


def test_epi_and_shots_of_diffusion_are_refused() -> None:
    protocol = Protocol()
    ksp = measure(body(), protocol)
    lines = readouts(ksp, protocol, ALL)
    correction = readouts(ksp, protocol, sampled_lines(protocol, 32, 0), [ismrmrd.ACQ_IS_PHASECORR_DATA], marks=False)
    assert len(scan_of([*correction, *lines], protocol)) == 1  # as turbo spin echo has it
    lines[3].set_flag(ismrmrd.ACQ_IS_REVERSE)
    assert len(scan_of(lines, protocol)) == 1
    with pytest.raises(UnsupportedScanError, match="echo planar"):
        scan_of([*correction, *lines], protocol)

    xsd = ismrmrd.xsd
    direction = xsd.gradientDirectionType(rl=1.0, ap=0.0, fh=0.0)
    weighted = xsd.sequenceParametersType(diffusion=[xsd.diffusionType(gradientDirection=direction, bvalue=1000.0)])
    header = parse_header(header_of(protocol, sequenceParameters=weighted))
    settings = load_config("fast", QUICK).scan
    plain = readouts(ksp, protocol, ALL)
    assert len(list(assemble([plain], header, settings))) == 1
    for field, flags in (({"segment": 1}, []), ({}, [ismrmrd.ACQ_IS_NAVIGATION_DATA])):
        shot = readouts(ksp, protocol, sampled_lines(protocol, 32, 0), flags, marks=False, **field)
        with pytest.raises(UnsupportedScanError, match="several shots"):
            list(assemble([[*shot, *plain]], header, settings))
