"""Images of any number of coils and dimensions: coils compressed, 3-D scans taken apart into planes, fitted and restacked."""

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import sigpy
import torch

from untrained_recon.account import Account
from untrained_recon.cautions import distinct
from untrained_recon.config import Config
from untrained_recon.encoding import Encoding
from untrained_recon.physics.maps import compress
from untrained_recon.recon.fit.warm_start import Neighbour
from untrained_recon.recon.fit.watch import UNWATCHED, Watch
from untrained_recon.recon.plane import reconstruct
from untrained_recon.recon.scale import brought_back, near_one
from untrained_recon.sampled import AXES, X, Y, Z, plane_axis
from untrained_recon.types import BoolArray, ComplexArray, EvidenceMap, FloatArray, KSpace, Reconstruction

logger = logging.getLogger(__name__)

ROUNDING = 1e-12
"""Energy relative to the brightest plane's, up to which a plane is taken for the rounding errors of the transform."""


def reconstruct_image(data: KSpace, config: Config, device: torch.device, watch: Watch = UNWATCHED) -> Reconstruction:
    """Reconstruct one image, 2-D or 3-D, of any number of coils; see :func:`~untrained_recon.recon.plane.reconstruct`.

    A 3-D image is transformed along an axis in which k-space is complete and reconstructed plane by plane: along z where all
    partitions were acquired, else along the readout. Where no axis is complete (an asymmetric echo with undersampling in y and
    z), the readout is filled with zeros. Planes are made at the delivered positions: oversampling and interpolation along the
    axis come before the fits. Each plane may start from the network of the one before (``fit.following_iterations``). Time and
    progress are those of all planes together.

    Raises:
        NonFiniteError: The image is beyond single precision.
    """
    data, scale = near_one(data)
    data = compress(data, config.maps.max_coils)
    return brought_back(_reconstructed(data, config, device, watch), scale)


def _reconstructed(data: KSpace, config: Config, device: torch.device, watch: Watch) -> Reconstruction:
    if data.mask.ndim == 2:
        return reconstruct(data, config, device, watch)
    start = time.monotonic()
    axis = plane_axis(data.mask)
    planes = split(data, axis)
    logger.info("%s: 3-D, reconstructed in %d %s", data.index, len(planes), AXES[axis])
    done: list[Reconstruction] = []
    for plane, part in zip(planes, replace(watch, warm_start=Neighbour()).parts(len(planes)), strict=True):
        recon = reconstruct(plane, config, device, part)
        done.append(replace(recon, maps=None))  # of all planes they are as large as the volume of every coil
    return stacked(done, axis, time.monotonic() - start)


@dataclass(frozen=True)
class _Plane(Encoding):
    """Two axes of a 3-D encoding, without any oversampling that was removed before; the third is gone."""

    @property
    def image_shape(self) -> tuple[int, int]:
        return self.encoded_shape

    @property
    def crop_shape(self) -> tuple[int, int]:
        n_y, n_x = (_within(n, *fov) for n, fov in zip(self.encoded_shape, self._fovs(), strict=True))
        return n_y, n_x

    def _fovs(self) -> list[tuple[float, float]]:
        return list(zip(self.encoded_fov[1:], self.recon_fov[1:], strict=True))


def split(data: KSpace, axis: int) -> list[KSpace]:
    """The planes across an axis of a 3-D image, at the positions that are delivered.

    Args:
        data: ``(n_coils, n_z, n_y, n_x)``; compressed or not.
        axis: 0 for z, 1 for y, 2 for x.

    Returns:
        2-D k-space of the other two axes, which keep their order. Noise keeps its variance but for interpolation.
    """
    encoding = data.encoding
    shape = data.mask.shape
    recon_shape = (encoding.recon_partitions, *encoding.recon_shape)
    fovs = (encoding.encoded_fov[0], encoding.encoded_fov[1], encoding.recon_fov[2])  # the readout is cut already
    length = _within(shape[axis], fovs[axis], encoding.recon_fov[axis])

    def planes(ksp: ComplexArray) -> ComplexArray:
        img = sigpy.ifft(ksp, axes=[1 + axis])
        img = _resize(img, 1 + axis, length)
        if length != recon_shape[axis]:
            scale = math.sqrt(recon_shape[axis] / length)
            img = scale * sigpy.ifft(_resize(sigpy.fft(img, axes=[1 + axis]), 1 + axis, recon_shape[axis]), axes=[1 + axis])
        return np.ascontiguousarray(np.moveaxis(img, 1 + axis, 0), np.complex64)

    ksp = planes(data.ksp)
    energy = np.square(np.abs(ksp)).sum(axis=(1, 2, 3))
    ksp[energy <= ROUNDING * energy.max()] = 0
    calib = ksp if data.calib is data.ksp else planes(data.calib)
    weights = None if data.weights is None else _plane_weights(data.weights, data.mask, axis)
    others = [n for n in (Z, Y, X) if n != axis]
    plane = _plane(encoding, [shape[n] for n in others], [recon_shape[n] for n in others], [fovs[n] for n in others], others)
    mask, calib_mask = np.any(data.mask, axis=axis), np.any(data.calib_mask, axis=axis)
    common = replace(data, mask=mask, calib_mask=calib_mask, weights=weights, encoding=plane)
    return [replace(common, ksp=k, calib=c) for k, c in zip(ksp, calib, strict=True)]


def _plane(
    encoding: Encoding, shape: Sequence[int], recon_shape: Sequence[int], fov: Sequence[float], others: Sequence[int]
) -> _Plane:
    thickness = encoding.recon_fov[0]
    return _Plane(
        **{
            **vars(encoding),
            "encoded_shape": tuple(shape),
            "recon_shape": tuple(recon_shape),
            "encoded_fov": (thickness, *fov),
            "recon_fov": (thickness, *(encoding.recon_fov[n] for n in others)),
            "partitions": 1,
            "recon_partitions": 1,
            "shutter": encoding.shutter and X not in others,
        }
    )


def _within(n: int, fov: float, recon_fov: float) -> int:
    return max(1, round(n * recon_fov / fov))


def _resize(x: ComplexArray, axis: int, size: int) -> ComplexArray:
    resized: ComplexArray = sigpy.resize(x, (*x.shape[:axis], size, *x.shape[axis + 1 :]))
    return resized


def _plane_weights(weights: FloatArray, mask: BoolArray, axis: int) -> FloatArray:
    """Weights in the planes: the transform along the axis mixes samples and leaves the mean of their variances."""
    variance = np.where(mask, 1 / np.maximum(weights, np.finfo(np.float32).tiny) ** 2, 0).sum(axis=axis)
    precision = np.where(variance > 0, mask.sum(axis=axis) / np.maximum(variance, np.finfo(np.float32).tiny), 0)
    scaled: FloatArray = np.sqrt(precision / precision[precision > 0].mean()).astype(np.float32)
    return scaled


def stacked(planes: list[Reconstruction], axis: int, seconds: float) -> Reconstruction:
    """One volume of its planes."""
    return Reconstruction(
        magnitude=np.stack([p.magnitude for p in planes], axis=axis),
        complex_img=np.stack([p.complex_img for p in planes], axis=axis),
        account=replace(Account.merged([p.account for p in planes], "planes"), seconds=seconds),
        spread=_stacked_maps([p.spread for p in planes], axis),
        noise=_stacked_maps([p.noise for p in planes], axis),
        cautions=distinct(caution for p in planes for caution in p.cautions),
    )


def _stacked_maps(planes: list[EvidenceMap | None], axis: int) -> EvidenceMap | None:
    """A map of the whole volume, or none: a part of it could be taken for the rest."""
    maps = [p for p in planes if p is not None]
    if not maps:
        return None
    missing = [p for p in maps if p.pixels is None]
    if missing:
        return EvidenceMap(None, f"{len(missing)} of {len(maps)} planes: {missing[0].note}")
    (note, planes_alike), *_ = Counter(p.note for p in maps).most_common(1)
    note = note if planes_alike == len(maps) else f"by plane, most often {note}"
    return EvidenceMap(np.stack([p.pixels for p in maps if p.pixels is not None], axis=axis), note)
