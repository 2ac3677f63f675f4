"""Arrays as k-space: what a caller hands in is checked, and named where it is not what it should be."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from untrained_recon.api.checks import complex64, to_array, to_mask, to_samples
from untrained_recon.encoding import Encoding, ImageIndex
from untrained_recon.errors import MapsError, NoiseError, NonFiniteError
from untrained_recon.scan.noise import Covariance, covariance, prewhiten
from untrained_recon.types import BoolArray, ComplexArray, KSpace


def to_kspaces(ksp: Any, mask: Any, maps: Any, noise: Any) -> tuple[list[KSpace], tuple[int, ...]]:
    """The k-space of one image or of several, from arrays of NumPy or PyTorch.

    Args:
        ksp: complex ``(…, n_coils, n_y, n_x)``; samples outside the mask do not count.
        mask: See :func:`~untrained_recon.api.checks.to_mask`.
        maps: complex ``(…, n_coils, n_y, n_x)``, or with an axis of sets before that of the coils; None to have them estimated.
        noise: See :func:`whitening`; None where the noise level is not known. Maps are those of the coils before whitening.

    Returns:
        The images in the order of the leading axes, and the shape of these.

    Raises:
        KSpaceError, MaskError, MapsError, NoiseError, NonFiniteError: What is wrong with an array.
    """
    samples = to_samples(ksp)
    lead, shape = samples.shape[:-3], samples.shape[-3:]
    sampled = to_mask(mask, samples)
    known = None if maps is None else to_maps(maps, samples.shape)
    if noise is not None:
        cov = whitening(noise, shape[0])
        samples = _whitened(samples, cov)
        known = None if known is None else _scaled(_whitened(known, cov), _norms(known))
    images = [
        _kspace(k, m, None if known is None else known.reshape(-1, *known.shape[len(lead) :])[n], noise is not None, n)
        for n, (k, m) in enumerate(zip(samples.reshape(-1, *shape), sampled.reshape(-1, *shape[1:]), strict=True))
    ]
    return images, lead


def to_maps(maps: Any, shape: tuple[int, ...]) -> ComplexArray:
    """Sensitivities as complex64 ``(…, n_sets, n_coils, n_y, n_x)``, of unit norm over the coils where they are not within it.

    Args:
        maps: complex, of the shape of the k-space, or with an axis of sets before that of the coils.
        shape: That of the k-space.

    Raises:
        MapsError: Maps of another type or shape, or all zero.
        NonFiniteError: NaN or Inf in them.
    """
    array = to_array(maps, "maps")
    if array.dtype.kind != "c":
        raise MapsError(f"maps are {array.dtype}; sensitivities are complex")
    with_sets = array[..., None, :, :, :] if array.shape == shape else array
    if with_sets.ndim != len(shape) + 1 or (*with_sets.shape[:-4], *with_sets.shape[-3:]) != shape or with_sets.shape[-4] == 0:
        raise MapsError(
            f"maps have shape {array.shape}; for ksp {shape} it must be the same, or with an axis of sets before that of the coils"
        )
    known = complex64(with_sets, "maps")
    if not np.any(known[..., 0, :, :, :], axis=(-3, -2, -1)).all():
        raise MapsError("the maps of an image are zero everywhere")
    norms = _norms(known)
    return known if norms.max() < 1.01 else _scaled(known, np.sign(norms))


def whitening(noise: Any, n_coils: int) -> Covariance:
    """The coil covariance ``E[n n^H]``, complex128 ``(n_coils, n_coils)``.

    Args:
        noise: Samples of noise, complex ``(n_coils, n)`` with any further axes, acquired with the bandwidth of the data; or their
            covariance. ``2 * np.eye(n_coils)`` says that the data are whitened already, to a standard deviation of 1 in the
            real and in the imaginary part.
        n_coils: Coils of the data.

    Raises:
        NoiseError: It is neither, or of other coils.
        NonFiniteError: NaN or Inf in it.
    """
    array = to_array(noise, "noise")
    if array.ndim < 2 or len(array) != n_coils:
        raise NoiseError(f"noise has shape {array.shape}; it must be samples ({n_coils}, n) or a covariance ({n_coils}, {n_coils})")
    if not np.isfinite(array).all():
        raise NonFiniteError("noise holds NaN or Inf")
    if array.shape != (n_coils, n_coils):
        if array.dtype.kind != "c":
            raise NoiseError(f"samples of noise are complex, these are {array.dtype}")
        return covariance(array.reshape(n_coils, -1))
    if not np.allclose(array, array.conj().T, rtol=1e-4, atol=1e-6 * np.abs(array).max()):
        raise NoiseError(f"a covariance equals its conjugate transpose, this one does not; samples must be more than {n_coils}")
    return array.astype(np.complex128)


def with_known(data: KSpace, maps: Any, noise: Any) -> KSpace:
    """The k-space of an image with maps, and whitened, see :func:`to_kspaces`.

    Raises:
        MapsError, NoiseError, NonFiniteError: They do not belong to it, or it was whitened or is 3-D.
    """
    if maps is not None:
        if data.mask.ndim != 2:
            raise MapsError(f"maps are taken with 2-D images; this one is {data.mask.ndim}-D")
        data = replace(data, maps=to_maps(maps, data.ksp.shape))
    if noise is None:
        return data
    if data.prewhitened:
        raise NoiseError("noise was given for k-space that is prewhitened already")
    cov = whitening(noise, len(data.ksp))
    ksp = prewhiten(data.ksp, cov, math.sqrt(2))
    calib = ksp if data.calib is data.ksp else prewhiten(data.calib, cov, math.sqrt(2))
    known = None if data.maps is None else _scaled(_whitened(data.maps, cov), _norms(data.maps))
    return replace(data, ksp=ksp, calib=calib, maps=known, prewhitened=True)


def _whitened(array: ComplexArray, cov: Covariance) -> ComplexArray:
    return np.ascontiguousarray(np.moveaxis(prewhiten(np.moveaxis(array, -3, 0), cov, math.sqrt(2)), 0, -3))


def _norms(maps: ComplexArray) -> npt.NDArray[np.float32]:
    norms: npt.NDArray[np.float32] = np.linalg.norm(maps, axis=-3, keepdims=True)
    return norms


def _scaled(maps: ComplexArray, norms: npt.NDArray[np.float32]) -> ComplexArray:
    """Maps of other norms over the coils."""
    return (maps * (norms / np.maximum(_norms(maps), np.finfo(np.float32).tiny))).astype(np.complex64)


def _kspace(ksp: ComplexArray, mask: BoolArray, maps: ComplexArray | None, prewhitened: bool, number: int) -> KSpace:
    """An image without a header: a voxel of 1 mm, delivered as large as it was acquired."""
    n_y, n_x = mask.shape
    sampled = np.where(mask, ksp, 0)
    index = ImageIndex(0, 0, number, 0, 0, 0, 0)
    return KSpace(sampled, mask, sampled, mask, index, Encoding.of((n_y, n_x)), None, prewhitened, maps=maps)
