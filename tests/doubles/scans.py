"""A small scanner: any Cartesian protocol on a given object, with the image that it should give, by Fourier sums of its own."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import ismrmrd
import numpy as np
import numpy.typing as npt
from ismrmrd import xsd

from tests.doubles.helpers import acquisition
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.scan.document import write_document
from untrained_recon.types import BoolArray, ComplexArray, FloatArray

Size = tuple[int, int, int]
Length = tuple[float, float, float]


@dataclass(frozen=True)
class Protocol:
    """What a header says; triples are ``(z, y, x)``, lengths in mm, ``centers`` the step numbers of the k-space centre."""

    matrix: Size = (1, 32, 64)
    recon: Size = (1, 32, 32)
    fov: Length = (5.0, 240.0, 480.0)
    recon_fov: Length = (5.0, 240.0, 240.0)
    centers: tuple[int, int] | None = None
    mode: str = "embedded"
    counts: dict[str, int] = field(default_factory=dict)
    interleaving: str | None = None

    @property
    def steps(self) -> tuple[int, int]:
        return self.centers or (self.matrix[0] // 2, self.matrix[1] // 2)

    def element(self) -> xsd.encodingType:
        z, y = self.steps
        limits = {name: xsd.limitType(minimum=0, maximum=count - 1, center=0) for name, count in self.counts.items()}
        return xsd.encodingType(
            encodedSpace=_space(self.matrix, self.fov),
            reconSpace=_space(self.recon, self.recon_fov),
            encodingLimits=xsd.encodingLimitsType(
                kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=self.matrix[1] - 1, center=y),
                kspace_encoding_step_2=xsd.limitType(minimum=0, maximum=self.matrix[0] - 1, center=z),
                **limits,
            ),
            trajectory=xsd.trajectoryType.CARTESIAN,
            parallelImaging=xsd.parallelImagingType(
                accelerationFactor=xsd.accelerationFactorType(kspace_encoding_step_1=1, kspace_encoding_step_2=1),
                calibrationMode=xsd.calibrationModeType(self.mode),
                interleavingDimension=self.interleaving and xsd.interleavingDimensionType(self.interleaving),
            ),
        )


def header_of(*protocols: Protocol, **sections: Any) -> bytes:
    """The XML header with an encoding space for each protocol."""
    document = xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=123_000_000),
        encoding=[protocol.element() for protocol in protocols],
        **sections,
    )
    return write_document(document)


def _space(matrix: Size, fov: Length) -> xsd.encodingSpaceType:
    (z, y, x), (fov_z, fov_y, fov_x) = matrix, fov
    return xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=x, y=y, z=z), fieldOfView_mm=xsd.fieldOfViewMm(x=fov_x, y=fov_y, z=fov_z)
    )


@dataclass(frozen=True)
class Body:
    """Points on a grid: coil images ``(n_coils, z, y, x)`` and the positions of each axis in mm from the isocentre."""

    coil_imgs: ComplexArray
    places: tuple[npt.NDArray[np.float64], ...]


def body(n_coils: int = 4, slices: int = 1, fov: Length = (5.0, 240.0, 240.0), fine: int = 96, seed: int = 0) -> Body:
    """A head of so many slices that fills ``fov``, seen by coils around it."""
    levels = np.linspace(-0.5, 0.5, slices) if slices > 1 else [0.0]
    imgs = np.stack([head((fine, fine), float(level), seed) for level in levels])
    mps = coil_maps((fine, fine), n_coils)[:, None] * np.exp(0.5j * np.arange(n_coils))[:, None, None, None]
    tilt = 1 + 0.3 * np.cos(np.arange(n_coils)[:, None] * 2.0 + np.asarray(levels) * 3.0)
    return Body((tilt[:, :, None, None] * mps * imgs).astype(np.complex64), _places((slices, fine, fine), fov))


def _places(shape: Size, fov: Length) -> tuple[npt.NDArray[np.float64], ...]:
    return tuple((np.arange(n) - n // 2) * length / n for n, length in zip(shape, fov, strict=True))


def measure(subject: Body, protocol: Protocol) -> ComplexArray:
    """Every sample of the encoded matrix: ``(n_coils, z, y, x)``; the body's values are densities, of about the image's size."""
    ksp = subject.coil_imgs.astype(np.complex128)
    for axis, (n, fov) in enumerate(zip(protocol.matrix, protocol.fov, strict=True)):
        if n == 1:
            continue
        k = (np.arange(n) - n // 2) / fov
        place = subject.places[axis]
        step = place[1] - place[0]
        waves = np.exp(-2j * np.pi * np.outer(k, place)) * step * math.sqrt(n) / fov
        ksp = np.moveaxis(np.tensordot(waves, ksp, axes=(1, 1 + axis)), 0, 1 + axis)
    return ksp.astype(np.complex64)


def expected(ksp: ComplexArray, protocol: Protocol) -> FloatArray:
    """Root sum of squares of the coil images of complete k-space at the delivered pixels: ``(z, y, x)``."""
    imgs = ksp.astype(np.complex128)
    places = _places(protocol.recon, protocol.recon_fov)
    for axis, (n, fov) in enumerate(zip(protocol.matrix, protocol.fov, strict=True)):
        if n == 1:
            continue
        k = (np.arange(n) - n // 2) / fov
        waves = np.exp(2j * np.pi * np.outer(places[axis], k)) / math.sqrt(n)
        imgs = np.moveaxis(np.tensordot(waves, imgs, axes=(1, 1 + axis)), 0, 1 + axis)
    rss: FloatArray = np.sqrt((np.abs(imgs) ** 2).sum(axis=0)).astype(np.float32)
    return rss


def noisy(ksp: ComplexArray, sd: float, seed: int) -> ComplexArray:
    """With white noise of standard deviation ``sd`` in the real and in the imaginary part."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(ksp.shape) + 1j * rng.standard_normal(ksp.shape)
    return (ksp + sd * noise).astype(np.complex64)


def sampled_lines(protocol: Protocol, accel: int, acs: int, first: int = 0) -> BoolArray:
    """bool ``(z, y)``: every ``accel``-th line from ``first``, and ``acs`` in the middle."""
    lines = np.zeros(protocol.matrix[:2], bool)
    lines[:, first::accel] = True
    start = protocol.matrix[1] // 2 - acs // 2
    lines[:, start : start + acs] = True
    return lines


def readouts(
    ksp: ComplexArray, protocol: Protocol, lines: BoolArray, flags: Iterable[int] = (), marks: bool = True, **fields: Any
) -> list[ismrmrd.Acquisition]:
    """The acquisitions of the lines ``(z, y)`` of an image, in order.

    Args:
        flags: Set on all.
        marks: Whether the first and the last one of the image are flagged so.
        fields: Counters and header fields of all.
    """
    center_z, center_y = protocol.steps
    n_z, n_y, n_x = protocol.matrix
    found = []
    for z, y in np.argwhere(lines):
        acq = acquisition(
            ksp[:, z, y],
            int(y) - n_y // 2 + center_y,
            flags,
            kspace_encode_step_2=int(z) - n_z // 2 + center_z,
            center_sample=n_x // 2,
        )
        for name, value in fields.items():
            if name in ("position", "read_dir", "phase_dir", "slice_dir"):
                getattr(acq, name)[:] = value
            else:
                setattr(acq.idx if hasattr(acq.idx, name) else acq, name, value)
        found.append(acq)
    if marks:
        found[0].set_flag(ismrmrd.ACQ_FIRST_IN_SLICE)
        found[-1].set_flag(ismrmrd.ACQ_LAST_IN_SLICE)
        found[-1].set_flag(ismrmrd.ACQ_LAST_IN_ENCODE_STEP2)
    return found
