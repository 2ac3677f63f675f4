"""A head phantom with anatomy-like texture, smooth coil maps and smooth phase, as closed forms on any grid.

Positions are ``(y, x)`` in units of half the field of view, from -1 to 1.
"""

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from untrained_recon.types import ComplexArray

Field = npt.NDArray[np.float64]


def positions(shape: tuple[int, int]) -> tuple[Field, Field]:
    """Broadcastable coordinates y and x of a grid, 0 at index ``n // 2``."""
    n_y, n_x = shape
    y = (np.arange(n_y) - n_y // 2) / (n_y / 2)
    x = (np.arange(n_x) - n_x // 2) / (n_x / 2)
    return y[:, None], x[None, :]


def head(shape: tuple[int, int], level: float, seed: int) -> ComplexArray:
    """An axial slice: scalp, skull, fluid, folded grey and white matter, ventricles, vessels, smooth phase.

    Args:
        shape: Grid ``(n_y, n_x)``.
        level: Height of the slice, from -1 to 1; it changes the outline, the folds and the ventricles.
        seed: Same seed, same anatomy.

    Returns:
        complex64 ``shape``; the magnitude is between 0 and about 1.
    """
    rng = np.random.default_rng([seed, round(1000 * (level + 1))])
    y, x = positions(shape)
    size = 1 - 0.25 * level**2
    radius = np.hypot(x / (0.70 * size), y / (0.88 * size))
    depth = radius + 0.03 * _smooth_noise(shape, 0.2, rng)
    folds = _smooth_noise(shape, 0.09, rng)
    img = np.zeros(shape)
    img[radius < 1.0] = 0.95  # scalp
    img[radius < 0.94] = 0.06  # skull
    img[radius < 0.88] = 0.22  # fluid
    sulci = (np.abs(folds) < 0.10) & (depth > 0.62)
    img[(depth < 0.84) & ~sulci] = 0.55  # grey matter
    img[(depth + 0.10 * (np.abs(folds) < 0.35) < 0.74) & ~sulci] = 0.80  # white matter, following the folds
    for side in (-1, 1):
        nucleus = np.hypot((x - side * 0.24) / 0.09, (y + 0.02) / 0.20)
        img[nucleus < 1] = 0.62
        ventricle = np.hypot((x - side * (0.07 + 0.35 * (y + 0.05) ** 2)) / 0.05, (y + 0.05) / (0.32 - 0.1 * level))
        img[ventricle < 1] = 0.20
    img[(np.abs(x) < 0.008) & (np.abs(y) > 0.40) & (depth < 0.84)] = 0.22  # fissure
    for _ in range(10):
        center_y, center_x = rng.uniform(-0.5, 0.5, 2)
        img[np.hypot(y - center_y, x - center_x) < rng.uniform(0.008, 0.018)] = 1.0  # vessels
    img *= 1 + 0.03 * _smooth_noise(shape, 0.015, rng) * (radius < 0.88)
    phase = 0.8 * x + 0.5 * y + 0.9 * x * y + 0.4 * _smooth_noise(shape, 0.4, rng)
    return (img * np.exp(1j * phase)).astype(np.complex64)


def coil_maps(shape: tuple[int, int], n_coils: int) -> ComplexArray:
    """Smooth sensitivities of ``n_coils`` elements on a ring around the head: complex64 ``(n_coils, n_y, n_x)``."""
    y, x = positions(shape)
    mps = np.empty((n_coils, *shape), np.complex64)
    for c in range(n_coils):
        angle = 2 * np.pi * (c + 0.5) / n_coils
        dy, dx = y - 1.1 * np.sin(angle), x - 1.1 * np.cos(angle)
        distance = np.hypot(dy, dx)
        phase = angle + 0.7 * (np.cos(angle) * y - np.sin(angle) * x)
        mps[c] = np.exp(1j * phase) / (1 + (distance / 0.6) ** 2) ** 1.5
    return mps / np.sqrt((np.abs(mps) ** 2).sum(axis=0).mean())


def coil_covariance(n_coils: int, noise_sd: float) -> npt.NDArray[np.complex128]:
    """Noise covariance ``E[n n^H]`` with neighbours correlated and unequal gains.

    ``noise_sd`` is the root mean square standard deviation of the real (or imaginary) part over the coils.
    """
    c = np.arange(n_coils)
    apart = np.abs(c[:, None] - c[None, :])
    apart = np.minimum(apart, n_coils - apart)
    correlation = 0.35**apart * np.exp(0.5j * np.sin(2 * np.pi * (c[:, None] - c[None, :]) / n_coils))
    gain = 1 + 0.3 * np.cos(2 * np.pi * c / max(1, n_coils))
    cov = gain[:, None] * gain[None, :] * correlation
    scaled: npt.NDArray[np.complex128] = cov * (2 * noise_sd**2 / np.mean(np.diag(cov).real))
    return scaled


def draw_noise(cov: npt.NDArray[np.complex128], shape: tuple[int, ...], rng: np.random.Generator) -> ComplexArray:
    """Complex Gaussian noise ``(n_coils, *shape)`` with covariance ``cov``."""
    n_coils = len(cov)
    white = (rng.standard_normal((n_coils, *shape)) + 1j * rng.standard_normal((n_coils, *shape))) / np.sqrt(2)
    return np.tensordot(np.linalg.cholesky(cov), white, axes=1).astype(np.complex64)


def _smooth_noise(shape: tuple[int, int], width: float, rng: np.random.Generator) -> Field:
    """Gaussian random field of unit variance; ``width`` of its features in units of half the field of view.

    Drawn on a fixed coarse grid and interpolated, so that the anatomy does not depend on the matrix.
    """
    n = max(4, round(4 / width))
    coarse = rng.standard_normal((n, n))
    y, x = (np.linspace(0, n - 1, size) for size in shape)
    field = scipy.ndimage.map_coordinates(coarse, np.meshgrid(y, x, indexing="ij"), order=3, mode="nearest")
    unit: Field = field / field.std()
    return unit
