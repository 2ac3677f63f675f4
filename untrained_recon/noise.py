"""Noise covariance from the noise scan, and prewhitening."""

import logging
import math

import numpy as np
import numpy.typing as npt
import scipy.linalg
from numpy.linalg import LinAlgError

from untrained_recon.errors import NOT_FINITE, NoiseError
from untrained_recon.types import ComplexArray

logger = logging.getLogger(__name__)

Covariance = npt.NDArray[np.complex128]

SHORTEST_US, LONGEST_US = 1e-3, 1e6  # of a sample


class NoiseScan:
    """Collects noise readouts (ACQ_IS_NOISE_MEASUREMENT) and whitens with their covariance.

    Args:
        bandwidth: Relative receiver noise bandwidth of the header.
    """

    def __init__(self, bandwidth: float) -> None:
        self.bandwidth = bandwidth
        self._samples: list[ComplexArray] = []
        self._dwell_us = 0.0

    def __bool__(self) -> bool:
        return bool(self._samples)

    def add(self, data: ComplexArray, dwell_us: float) -> None:
        """Add a noise readout ``(n_coils, n_samples)`` of the given dwell time in microseconds.

        Raises:
            NoiseError: NaN or infinite samples, or another number of coils than before.
        """
        if not np.isfinite(data).all():
            raise NoiseError(f"the noise scan holds NaN or Inf samples; {NOT_FINITE}")
        if self._samples and len(data) != len(self._samples[0]):
            raise NoiseError(f"the noise scan changes from {len(self._samples[0])} to {len(data)} channels")
        self._samples.append(np.array(data))
        self._dwell_us = dwell_us

    def prewhiten(self, ksp: ComplexArray, dwell_us: float) -> ComplexArray:
        """Decorrelate the coils and scale the noise to standard deviation 1 in the real and in the imaginary part.

        The scale is ``sqrt(2 · dwell / noise dwell · bandwidth)``, that of Gadgetron's NoiseAdjustGadget.

        Args:
            ksp: complex64 ``(n_coils, …)``.
            dwell_us: Dwell time of the imaging readouts in microseconds; taken for unknown where it is none that can be.

        Raises:
            NoiseError: The noise scan has another number of coils, or too few samples for a covariance.
        """
        noise = np.concatenate(self._samples, axis=1)
        if noise.shape[0] != ksp.shape[0]:
            raise NoiseError(f"the noise scan has {noise.shape[0]} channels, the imaging readouts have {ksp.shape[0]}")
        known = all(SHORTEST_US <= dwell <= LONGEST_US for dwell in (dwell_us, self._dwell_us))
        ratio = dwell_us / self._dwell_us if known else 1.0
        return prewhiten(ksp, covariance(noise), math.sqrt(2 * ratio * self.bandwidth))


def covariance(noise: ComplexArray) -> Covariance:
    """Coil covariance ``E[n n^H]`` of noise samples ``(n_coils, n_samples)``.

    Raises:
        NoiseError: Fewer samples than coils.
    """
    n_coils, n_samples = noise.shape
    if n_samples <= n_coils:
        raise NoiseError(f"the noise scan has {n_samples} samples for {n_coils} channels; a covariance needs more samples")
    samples = noise.astype(np.complex128)
    return samples @ samples.conj().T / (n_samples - 1)


def prewhiten(ksp: ComplexArray, cov: Covariance, scale: float = 1.0) -> ComplexArray:
    """``scale · L^-1 ksp`` with the Cholesky factor ``L L^H = cov``, by triangular solve.

    Channels without any noise are dead: they come out as zeros and do not disturb the others. Samples that are not finite, or
    overflow, are not finite after it.

    Args:
        ksp: complex64 ``(n_coils, …)``.
        cov: complex128 ``(n_coils, n_coils)``.
        scale: Factor on the result.

    Raises:
        NoiseError: The covariance of the live channels is not positive definite.
    """
    power = np.diag(cov).real
    live = np.flatnonzero(power > 1e-12 * power.max(initial=0.0))
    if len(live) == 0:
        raise NoiseError("the noise scan holds nothing but zeros")
    if len(live) < len(power):
        logger.warning(
            "channels %s have no noise: taken for dead and left out", sorted(set(range(len(power))) - set(live.tolist()))
        )
    try:
        factor = np.linalg.cholesky(cov[np.ix_(live, live)])
    except LinAlgError as error:
        raise NoiseError(
            f"the noise covariance of {len(live)} channels is not positive definite; are two channels copies of each other?"
        ) from error
    white = np.zeros(ksp.shape, np.complex64)
    solved = scipy.linalg.solve_triangular(factor, ksp[live].reshape(len(live), -1), lower=True, check_finite=False)
    white[live] = (scale * solved).reshape(len(live), *ksp.shape[1:])
    return white
