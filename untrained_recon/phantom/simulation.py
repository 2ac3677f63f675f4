"""A scanner-like scan of the phantom with its ground truth, as a raw file or as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import sigpy
from ismrmrd import xsd

from untrained_recon.encoding import Encoding, ImageIndex
from untrained_recon.errors import ReconError
from untrained_recon.files.raw import RawFile
from untrained_recon.files.writer import RawWriter
from untrained_recon.masks import Pattern, line_codes
from untrained_recon.output import require_place, save_array, written
from untrained_recon.phantom.head import coil_covariance, coil_maps, draw_noise, head
from untrained_recon.scan.document import write_document
from untrained_recon.scan.elements import encoding_element
from untrained_recon.scan.noise import covariance, prewhiten
from untrained_recon.types import BoolArray, ComplexArray, FloatArray

OVERSAMPLING = 2
SESSION = "simulated_phantom_session_1"  # measurementID
NOISE_SAMPLES = 2048
NOISE_BANDWIDTH = 0.79
DWELL_US = 5.0
FOV_MM = 240.0
SLICE_MM = 5.0
SLICE_GAP = 1.2  # distance between slices, in slices


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    Attributes:
        shape: Matrix ``(n_y, n_x)`` of the images.
        coils: Receive channels.
        accel: Acceleration along y.
        acs: Fully sampled lines in the centre.
        pattern: Placement of the other lines.
        slices: Number of slices.
        noise: Standard deviation of the noise in the real and in the imaginary part of a k-space sample; the phantom's magnitude
            is about 1 and the Fourier transform orthonormal, so it is also the noise of a coil image.
        seed: Anatomy, pattern and noise.
    """

    shape: tuple[int, int]
    coils: int
    accel: int
    acs: int
    pattern: Pattern
    slices: int
    noise: float
    seed: int


def simulate(path: Path, settings: Simulation) -> None:
    """Write ``path`` (ISMRMRD raw file) and, with the same stem, the truth.

    ``.truth.npy`` is the float32 ``(slices, n_y, n_x)`` root sum of squares of the noise-free coil images, ``.truth_white.npy``
    the same after prewhitening with the file's noise scan, ``.mask.npy`` the uint8 line codes ``(n_y,)``: 0 not acquired, 1
    imaging, 2 calibration only, 3 both.

    They appear when they are complete, and replace older ones.

    Raises:
        ConfigError: The pattern cannot be made as asked.
        RawFileError: A file cannot be written.
    """
    require_place(path)
    names = beside(path)
    for place in names.values():
        require_place(place)
    codes, noise_scan, images = _acquired(settings)
    with written(path) as part:
        truth, truth_white = _write_raw(part, settings, codes, noise_scan, images)
        for name, array in (("truth", np.array(truth)), ("truth_white", np.array(truth_white)), ("mask", codes)):
            if len(array):
                save_array(part.with_name(names[name].name), array)
    if not truth_white:
        names["truth_white"].unlink(missing_ok=True)  # an older scan's


def beside(path: Path) -> dict[str, Path]:
    """The files that come with a simulated one."""
    return {name: path.with_suffix(f".{name}.npy") for name in ("truth", "truth_white", "mask")}


def is_simulated(path: Path) -> bool:
    """Whether a raw file is one that was simulated here."""
    try:
        with RawFile(path) as raw:
            return SESSION.encode() in raw.header
    except ReconError:
        return False


def _write_raw(
    path: Path,
    settings: Simulation,
    codes: npt.NDArray[np.uint8],
    noise_scan: ComplexArray | None,
    images: Iterator[tuple[ComplexArray, ComplexArray]],
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Write the raw file, and return the truths of its slices: as they are, and prewhitened where there is noise."""
    truth, truth_white = [], []
    xml = write_document(header(settings))
    with RawWriter(path, xml, settings.slices, SLICE_GAP * SLICE_MM, DWELL_US) as writer:
        if noise_scan is not None:
            writer.noise(noise_scan)
        for s, (clean, noisy) in enumerate(images):
            writer.slice(s, noisy, codes)
            truth.append(_truth(clean, settings))
            if noise_scan is not None:
                scale = float(np.sqrt(2 * NOISE_BANDWIDTH))
                truth_white.append(_truth(prewhiten(clean, covariance(noise_scan), scale), settings))
    return truth, truth_white


class SimulatedScan(NamedTuple):
    """What :func:`scan` makes; of several slices ``ksp`` and ``truth`` have a leading axis.

    Attributes:
        ksp: complex64 ``(n_coils, n_y, n_x)``, zero where not acquired; the noise of the coils is correlated.
        mask: bool ``(n_y, n_x)``, True where acquired.
        noise: complex64 ``(n_coils, n_samples)``, samples of the noise alone; None where there is none.
        truth: float32 ``(n_y, n_x)``, the noise-free magnitude; after whitening by ``noise`` where there is any, as in the images
            of ``untrained_recon.reconstruct(ksp, mask, noise=noise)``.
    """

    ksp: ComplexArray
    mask: BoolArray
    noise: ComplexArray | None
    truth: FloatArray


def scan(settings: Simulation) -> SimulatedScan:
    """The scan of :func:`simulate` as arrays, without readout oversampling.

    Raises:
        ConfigError: The pattern cannot be made as asked.
    """
    codes, noise_scan, images = _acquired(settings)
    noise = None if noise_scan is None else (noise_scan / np.float32(np.sqrt(NOISE_BANDWIDTH)))  # with the bandwidth of the data
    lines = codes > 0
    ksp, truth = [], []
    for clean, noisy in images:
        img = sigpy.resize(sigpy.ifft(noisy * lines[:, None], axes=[-1]), (settings.coils, *settings.shape))
        ksp.append(sigpy.fft(img, axes=[-1]).astype(np.complex64))
        white = clean if noise is None else prewhiten(clean, covariance(noise), float(np.sqrt(2)))
        truth.append(_truth(white, settings))
    mask = np.repeat(lines[:, None], settings.shape[1], axis=1)
    one = settings.slices == 1
    return SimulatedScan(ksp[0] if one else np.stack(ksp), mask, noise, truth[0] if one else np.stack(truth))


def _acquired(
    settings: Simulation,
) -> tuple[npt.NDArray[np.uint8], ComplexArray | None, Iterator[tuple[ComplexArray, ComplexArray]]]:
    """Line codes, noise scan, and the k-space of every slice with oversampling, without noise and with it."""
    rng = np.random.default_rng([settings.seed, 1])
    codes = line_codes(settings.shape[0], settings.pattern, settings.accel, settings.acs, rng)
    cov = coil_covariance(settings.coils, settings.noise)
    noise_scan = draw_noise(cov * NOISE_BANDWIDTH, (NOISE_SAMPLES,), rng) if settings.noise > 0 else None

    def images() -> Iterator[tuple[ComplexArray, ComplexArray]]:
        for s in range(settings.slices):
            clean = _slice_ksp(settings, s)
            yield clean, clean if noise_scan is None else clean + draw_noise(cov, clean.shape[1:], rng)

    return codes, noise_scan, images()


def _slice_ksp(settings: Simulation, s: int) -> ComplexArray:
    """Noise-free k-space ``(n_coils, n_y, OVERSAMPLING * n_x)`` of a slice.

    The object lives on a grid of twice the resolution, so that its edges ring as a scanner's do.
    """
    n_y, n_x = settings.shape
    fine = (2 * n_y, 2 * n_x)
    level = 0.0 if settings.slices == 1 else -0.6 + 1.2 * s / (settings.slices - 1)
    img = coil_maps(fine, settings.coils) * head(fine, level, settings.seed)
    wide = sigpy.resize(img, (settings.coils, fine[0], OVERSAMPLING * fine[1]))
    ksp = sigpy.resize(sigpy.fft(wide, axes=[-2, -1]), (settings.coils, n_y, OVERSAMPLING * n_x))
    return (ksp / 2).astype(np.complex64)  # the fine grid has 4 times the pixels


def _truth(ksp: ComplexArray, settings: Simulation) -> FloatArray:
    n_y, n_x = settings.shape
    img = sigpy.resize(sigpy.ifft(ksp, axes=[-2, -1]), (len(ksp), n_y, n_x))
    rss: FloatArray = np.sqrt((np.abs(img) ** 2).sum(axis=0)).astype(np.float32)
    return rss


def header(settings: Simulation) -> xsd.ismrmrdHeader:
    """The ISMRMRD header of a simulation."""
    n_y, n_x = settings.shape
    fov_y = FOV_MM * n_y / n_x
    encoding = Encoding(
        encoded_shape=(n_y, OVERSAMPLING * n_x),
        recon_shape=(n_y, n_x),
        encoded_fov=(SLICE_MM, fov_y, OVERSAMPLING * FOV_MM),
        recon_fov=(SLICE_MM, fov_y, FOV_MM),
        center_y=n_y // 2,
        counts=ImageIndex(1, 1, settings.slices, 1, 1, 1, 1),
        separate_calibration=False,
        acceleration=settings.accel,
    )
    return xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=123_200_000),
        measurementInformation=xsd.measurementInformationType(
            measurementID=SESSION, patientPosition=xsd.patientPositionType.HFS, protocolName="phantom"
        ),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemVendor="simulated",
            systemFieldStrength_T=2.89,
            relativeReceiverNoiseBandwidth=NOISE_BANDWIDTH,
            receiverChannels=settings.coils,
        ),
        encoding=[encoding_element(encoding, 0, n_y - 1)],
        sequenceParameters=xsd.sequenceParametersType(TR=[20.0], TE=[5.0], flipAngle_deg=[15.0]),
    )
