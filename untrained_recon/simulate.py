"""Write a scanner-like raw file of the phantom, and its ground truth beside it."""

from dataclasses import dataclass
from pathlib import Path

import ismrmrd
import numpy as np
import numpy.typing as npt
import sigpy
from ismrmrd import xsd

from untrained_recon.masks import Pattern, acs_lines, grid_lines
from untrained_recon.noise import covariance, prewhiten
from untrained_recon.phantom import coil_covariance, coil_maps, draw_noise, head
from untrained_recon.types import ComplexArray, FloatArray

OVERSAMPLING = 2
NOISE_SAMPLES = 2048
NOISE_BANDWIDTH = 0.79
DWELL_US = 5.0
FOV_MM = 240.0
SLICE_MM = 5.0
TICKS_PER_LINE = 8  # of 2.5 ms


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

    Raises:
        ConfigError: The pattern cannot be made as asked.
    """
    rng = np.random.default_rng([settings.seed, 1])
    n_y, _ = settings.shape
    grid = grid_lines(n_y, settings.pattern, settings.accel, settings.acs, rng)
    acs = acs_lines(n_y, settings.acs)
    imaging = grid if settings.pattern == "equispaced" else grid | acs
    codes = (imaging + 2 * acs).astype(np.uint8)

    cov = coil_covariance(settings.coils, settings.noise)
    for old in (path, *(path.with_suffix(f".{name}.npy") for name in ("truth", "truth_white", "mask"))):
        old.unlink(missing_ok=True)
    truth, truth_white = [], []
    with _Writer(path, settings) as writer:
        noise_scan = draw_noise(cov * NOISE_BANDWIDTH, (NOISE_SAMPLES,), rng) if settings.noise > 0 else None
        if noise_scan is not None:
            writer.noise(noise_scan)
        for s in range(settings.slices):
            clean = _slice_ksp(settings, s)
            noisy = clean if noise_scan is None else clean + draw_noise(cov, clean.shape[1:], rng)
            writer.slice(s, noisy, codes)
            truth.append(_truth(clean, settings))
            if noise_scan is not None:
                scale = float(np.sqrt(2 * NOISE_BANDWIDTH))
                truth_white.append(_truth(prewhiten(clean, covariance(noise_scan), scale), settings))
    np.save(path.with_suffix(".truth.npy"), np.stack(truth))
    np.save(path.with_suffix(".mask.npy"), codes)
    if truth_white:
        np.save(path.with_suffix(".truth_white.npy"), np.stack(truth_white))


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


class _Writer:
    """Appends acquisitions with counters, flags and geometry as a scanner sets them."""

    def __init__(self, path: Path, settings: Simulation) -> None:
        self._settings = settings
        self._dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
        self._dataset.write_xml_header(xsd.ToXML(header(settings)).encode())
        self._count = 0

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._dataset.close()

    def noise(self, samples: ComplexArray) -> None:
        acq = self._acquisition(samples)
        acq.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        self._dataset.append_acquisition(acq)

    def slice(self, s: int, ksp: ComplexArray, codes: npt.NDArray[np.uint8]) -> None:
        lines = np.flatnonzero(codes)
        last_slice = s == self._settings.slices - 1
        for n, line in enumerate(lines):
            acq = self._acquisition(ksp[:, line])
            acq.idx.kspace_encode_step_1 = int(line)
            acq.idx.slice = s
            acq.position[:] = (0.0, 0.0, (s - (self._settings.slices - 1) / 2) * 1.2 * SLICE_MM)
            first, last = n == 0, n == len(lines) - 1
            for condition, flag in (
                (first, ismrmrd.ACQ_FIRST_IN_ENCODE_STEP1),
                (last, ismrmrd.ACQ_LAST_IN_ENCODE_STEP1),
                (first, ismrmrd.ACQ_FIRST_IN_SLICE),
                (last, ismrmrd.ACQ_LAST_IN_SLICE),
                (first and s == 0, ismrmrd.ACQ_FIRST_IN_REPETITION),
                (last and last_slice, ismrmrd.ACQ_LAST_IN_REPETITION),
                (last and last_slice, ismrmrd.ACQ_LAST_IN_MEASUREMENT),
                (codes[line] == 2, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION),
                (codes[line] == 3, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING),
            ):
                if condition:
                    acq.set_flag(flag)
            self._dataset.append_acquisition(acq)

    def _acquisition(self, data: ComplexArray) -> ismrmrd.Acquisition:
        acq = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data, np.complex64))
        acq.scan_counter = self._count
        acq.center_sample = data.shape[1] // 2
        acq.sample_time_us = DWELL_US
        acq.acquisition_time_stamp = 1000 + TICKS_PER_LINE * self._count
        acq.read_dir[:] = (1.0, 0.0, 0.0)
        acq.phase_dir[:] = (0.0, 1.0, 0.0)
        acq.slice_dir[:] = (0.0, 0.0, 1.0)
        for c in range(len(data)):
            acq.channel_mask[c // 64] |= 1 << (c % 64)
        self._count += 1
        return acq


def header(settings: Simulation) -> xsd.ismrmrdHeader:
    """The ISMRMRD header of a simulation."""
    n_y, n_x = settings.shape
    fov_y = FOV_MM * n_y / n_x

    def limit(maximum: int, center: int = 0) -> xsd.limitType:
        return xsd.limitType(minimum=0, maximum=maximum, center=center)

    def space(x: int, fov_x: float) -> xsd.encodingSpaceType:
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=x, y=n_y, z=1),
            fieldOfView_mm=xsd.fieldOfViewMm(x=fov_x, y=fov_y, z=SLICE_MM),
        )

    return xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=123_200_000),
        measurementInformation=xsd.measurementInformationType(
            measurementID="simulated_phantom_session_1", patientPosition=xsd.patientPositionType.HFS, protocolName="phantom"
        ),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemVendor="simulated",
            systemFieldStrength_T=2.89,
            relativeReceiverNoiseBandwidth=NOISE_BANDWIDTH,
            receiverChannels=settings.coils,
        ),
        encoding=[
            xsd.encodingType(
                encodedSpace=space(OVERSAMPLING * n_x, OVERSAMPLING * FOV_MM),
                reconSpace=space(n_x, FOV_MM),
                encodingLimits=xsd.encodingLimitsType(
                    kspace_encoding_step_0=limit(OVERSAMPLING * n_x - 1, OVERSAMPLING * n_x // 2),
                    kspace_encoding_step_1=limit(n_y - 1, n_y // 2),
                    kspace_encoding_step_2=limit(0),
                    average=limit(0),
                    slice=limit(settings.slices - 1),
                    contrast=limit(0),
                    phase=limit(0),
                    repetition=limit(0),
                    set=limit(0),
                    segment=limit(0),
                ),
                trajectory=xsd.trajectoryType.CARTESIAN,
                parallelImaging=xsd.parallelImagingType(
                    accelerationFactor=xsd.accelerationFactorType(kspace_encoding_step_1=settings.accel, kspace_encoding_step_2=1),
                    calibrationMode=xsd.calibrationModeType.EMBEDDED,
                ),
            )
        ],
        sequenceParameters=xsd.sequenceParametersType(TR=[20.0], TE=[5.0], flipAngle_deg=[15.0]),
    )
