"""A body with markers at known places of the patient, seen by slices and slabs of any direction."""

import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import ismrmrd
import numpy as np
import numpy.typing as npt

from gadgets.acquisitions import reconstruct
from gadgets.connection import GadgetConnection
from tests.doubles.helpers import play, stream
from tests.doubles.scans import Body, Protocol, header_of, measure, noisy, readouts
from untrained_recon.files.images import image_file

Points = npt.NDArray[np.float64]

MARKERS = {(30.0, -21.0, 12.0): 1.0, (-12.0, -2.0, 34.0): 0.6, (5.0, -40.0, 25.0): 0.3}
"""Left, posterior, head in mm: how bright."""

WIDTH_MM = 7.0
CENTRE = np.array([12.0, -18.0, 20.0])

SLICES = Protocol((1, 33, 96), (1, 33, 48), (5.0, 165.0, 384.0), (5.0, 165.0, 192.0), counts={"slice": 17})
SLAB = Protocol((22, 33, 96), (22, 33, 48), (110.0, 165.0, 384.0), (110.0, 165.0, 192.0))


def _turned(*degrees: float) -> Points:
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        plane = np.eye(3)
        one, two = (n for n in range(3) if n != axis)
        plane[[one, one, two, two], [one, two, one, two]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = plane @ turn
    return turn


DIRECTIONS = {
    "axial": np.eye(3),
    "axial from the head": np.diag([1.0, 1.0, -1.0]),
    "sagittal": np.array([[0.0, 1, 0], [0, 0, -1], [1, 0, 0]]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "oblique": _turned(20, -35, 15),
}
"""Rows: read, phase and slice direction."""


def brightness(points: Points) -> Points:
    """Of the body at places ``(…, 3)``."""
    found = np.zeros(points.shape[:-1])
    for place, value in MARKERS.items():
        found += value * np.exp(-((points - np.array(place)) ** 2).sum(axis=-1) / (2 * WIDTH_MM**2))
    return found


def raw(protocol: Protocol, directions: Points) -> Iterable[ismrmrd.Acquisition]:
    """Every readout of a scan of the body, sampled completely by two coils that see all of it alike."""
    n_slices = protocol.counts.get("slice", 1)
    coils = np.array([1.0, 0.5j])
    for n in range(n_slices):
        position = CENTRE + (n - n_slices // 2) * protocol.fov[0] * directions[2]
        z = 3.5 * np.arange(-16.0, 17.0) if protocol.matrix[0] > 1 else np.array([0.0])
        x = y = 3.5 * np.arange(-23.0, 24.0)
        along = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)  # read, phase, slice
        imgs = brightness(position + along @ directions) * coils[:, None, None, None]
        ksp = measure(Body(imgs.astype(np.complex64), (z, y, x)), protocol)
        fields = dict(zip(("read_dir", "phase_dir", "slice_dir"), directions, strict=True))
        ksp = noisy(ksp, 1e-4, n)  # lines of nothing at all would be taken as not acquired
        yield from readouts(ksp, protocol, np.ones(protocol.matrix[:2], bool), slice=n, position=position, **fields)


def images(path: Path, protocol: Protocol, directions: Points) -> Path:
    """The image file of what our gadget answers to the scan."""
    header = header_of(protocol)
    answer = play(stream({"config": "fast", "device": "cpu"}, header, raw(protocol, directions)), reconstruct_at)
    assert not answer.errors
    with image_file(path, header) as out:
        for image in answer.images:
            out.append_image(0, image)
    return path


def reconstruct_at(sock: socket.socket) -> None:
    """As ``python -m gadgets`` serves the gadget of acquisitions."""
    with GadgetConnection(sock) as connection:
        reconstruct(connection)


def error(read: Callable[[], tuple[Points, Points]]) -> float:
    """How far values are from the body's at their places, relative, but for a common factor."""
    points, values = read()
    truth = brightness(points)
    return float(np.linalg.norm(values / values.max() * truth.max() - truth) / np.linalg.norm(truth))
