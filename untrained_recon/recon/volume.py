"""Images of any number of coils and dimensions: coils compressed, 3-D scans taken apart into planes, fitted and restacked."""

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from untrained_recon.account import Account
from untrained_recon.cautions import distinct
from untrained_recon.centred import fft, ifft, resize
from untrained_recon.config import Config
from untrained_recon.encoding import Encoding, within
from untrained_recon.physics.maps import compress
from untrained_recon.recon.demand import demand_of
from untrained_recon.recon.fit.warm_start import Neighbour
from untrained_recon.recon.fit.watch import UNWATCHED, Watch
from untrained_recon.recon.lanes import side_by_side
from untrained_recon.recon.outlook import Herald
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
    axis come before the fits. Each plane may start from the network of the one before (``fit.following_iterations``), else
    planes may be made side by side (``compute.at_once``). Time and progress are those of all planes together.

    Raises:
        NonFiniteError: The image is beyond single precision.
    """
    data, scale = near_one(data)
    data = compress(data, config.maps.max_coils)
    return brought_back(_reconstructed(data, config, device, watch), scale)


def reconstruct_images(images: Sequence[KSpace], config: Config, device: torch.device, watch: Watch) -> list[Reconstruction]:
    """:func:`reconstruct_image` of each image of a scan, as many at once as ``compute.at_once`` says; they share the time."""

    def work(data: KSpace, part: Watch) -> Reconstruction:
        return reconstruct_image(data, config, device, part)

    herald = Herald(device)
    for data in images:
        herald.tell(data, config)
    return side_by_side(work, images, watch, device, config.compute, lambda data: demand_of(data, config, device))


def _reconstructed(data: KSpace, config: Config, device: torch.device, watch: Watch) -> Reconstruction:
    if data.mask.ndim == 2:
        return reconstruct(data, config, device, watch)
    start = time.monotonic()
    axis = plane_axis(data.mask)
    planes = split(data, axis)
    logger.info("%s: 3-D, reconstructed in %d %s", data.index, len(planes), AXES[axis])

    def work(plane: KSpace, part: Watch) -> Reconstruction:
        return replace(reconstruct(plane, config, device, part), maps=None)  # of all planes as large as the volume of every coil

    compute = config.compute.model_copy(update={"at_once": 1}) if config.fit.following_iterations else config.compute
    watch = replace(watch, warm_start=Neighbour())
    done = side_by_side(work, planes, watch, device, compute, lambda plane: demand_of(plane, config, device))
    return stacked(done, axis, time.monotonic() - start)


def split(data: KSpace, axis: int) -> list[KSpace]:
    """The planes across an axis of a 3-D image, at the positions that are delivered.

    Args:
        data: ``(n_coils, n_z, n_y, n_x)``; compressed or not.
        axis: 0 for z, 1 for y, 2 for x.

    Returns:
        2-D k-space of the other two axes, which keep their order. Noise keeps its variance but for interpolation.
    """
    encoding = data.encoding.gridded()
    pixels = (encoding.recon_partitions, *encoding.recon_shape)[axis]
    length = within(data.mask.shape[axis], encoding.encoded_fov[axis], encoding.recon_fov[axis])

    def planes(ksp: ComplexArray) -> ComplexArray:
        img = ifft(ksp, axes=[1 + axis])
        img = _resize(img, 1 + axis, length)
        if length != pixels:
            scale = math.sqrt(pixels / length)
            img = scale * ifft(_resize(fft(img, axes=[1 + axis]), 1 + axis, pixels), axes=[1 + axis])
        return np.ascontiguousarray(np.moveaxis(img, 1 + axis, 0), np.complex64)

    ksp = planes(data.ksp)
    energy = np.square(np.abs(ksp)).sum(axis=(1, 2, 3))
    ksp[energy <= ROUNDING * energy.max()] = 0
    calib = ksp if data.calib is data.ksp else planes(data.calib)
    weights = None if data.weights is None else _plane_weights(data.weights, data.mask, axis)
    mask, calib_mask = np.any(data.mask, axis=axis), np.any(data.calib_mask, axis=axis)
    common = replace(data, mask=mask, calib_mask=calib_mask, weights=weights, encoding=_plane(encoding, data.mask.shape, axis))
    return [replace(common, ksp=k, calib=c) for k, c in zip(ksp, calib, strict=True)]


def _plane(encoding: Encoding, shape: tuple[int, ...], axis: int) -> Encoding:
    """That of two axes of a volume of a shape, which is on the grid."""
    others = [n for n in (Z, Y, X) if n != axis]
    thickness, recon_shape = encoding.recon_fov[0], (encoding.recon_partitions, *encoding.recon_shape)
    (n_y, n_x), (recon_y, recon_x) = ([sizes[n] for n in others] for sizes in (shape, recon_shape))
    (fov_y, fov_x), (recon_fov_y, recon_fov_x) = ([fovs[n] for n in others] for fovs in (encoding.encoded_fov, encoding.recon_fov))
    return replace(
        encoding,
        encoded_shape=(n_y, n_x),
        recon_shape=(recon_y, recon_x),
        encoded_fov=(thickness, fov_y, fov_x),
        recon_fov=(thickness, recon_fov_y, recon_fov_x),
        partitions=1,
        recon_partitions=1,
        shutter=encoding.shutter and axis == X,
    )


def _resize(x: ComplexArray, axis: int, size: int) -> ComplexArray:
    return resize(x, (*x.shape[:axis], size, *x.shape[axis + 1 :]))


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
        undetermined=_stacked_maps([p.undetermined for p in planes], axis),
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
