"""Image quality against a truth. Every number belongs to a :class:`Convention`, without which it means little.

The conventions differ in how images are scaled before they are compared, in whether an image or its whole volume is looked at, and
in the noise that VIF assumes. All share the measures:

===========  =================================================================================================================
NMSE         ``‖img - truth‖² / ‖truth‖²``
NRMSE        its square root
PSNR         ``10 log10(range² / mean squared error)`` in dB, infinite without any error
SSIM         7×7 uniform window, K1 0.01, K2 0.03, unbiased covariance, through scikit-image [Wang et al., IEEE TIP 13:600, 2004]
MS-SSIM      five scales, Gaussian window of 11 pixels, through torchmetrics [Wang et al., Asilomar, 2003]
VIF          pixel domain, four scales, through torchmetrics [Sheikh & Bovik, IEEE TIP 15:430, 2006]
===========  =================================================================================================================

``range`` is the maximum of the truth, after normalisation. MS-SSIM is NaN for images of fewer than 176 pixels along an axis, VIF
for fewer than 41: their windows do not fit, and fewer scales would be another measure.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import torch

from untrained_recon.errors import MissingExtraError
from untrained_recon.types import BoolArray, FloatArray

Normalisation = Literal["none", "min-max", "mean-std", "mean-std-truth", "least-squares"]
"""What is done to image and truth first (paper, Table 8): nothing; both to 0 … 1; both to mean 0 and standard deviation 1; the
truth moved to the mean and standard deviation of the image; or the image times the factor that brings it closest to the truth."""

Scope = Literal["image", "volume"]
"""``image``: every image with its own normalisation and range, then the mean over the images. ``volume``: one normalisation and one
range, errors summed over the volume, SSIM, MS-SSIM and VIF averaged over its images (paper, section 5.1 and Table 1)."""

VifNoise = Literal["fixed", "reference-mean"]
"""Variance of the noise in VIF's model of the eye. ``fixed``: 2 with both images scaled so that ``range`` is 255, as published for
8-bit images. ``reference-mean``: the mean of the truth, as the paper's authors compute it; VIF then depends on the common scale."""

Region = Literal["whole", "foreground"]
"""``foreground``: outside :func:`foreground` both images are zero before all else; errors and SSIM are averaged inside. MS-SSIM is
NaN there, as it would average the background too; VIF needs no average, as a background of zeros holds no information."""

Array = npt.NDArray[np.float64]
MS_SSIM_SIZE = 176
VIF_SIZE = 41


@dataclass(frozen=True)
class Convention:
    """How numbers are to be computed, under a name."""

    name: str
    normalisation: Normalisation
    scope: Scope
    vif_noise: VifNoise


OURS = Convention("ours", "least-squares", "image", "fixed")
PAPER = Convention("paper", "mean-std-truth", "image", "reference-mean")
PAPER_VOLUME = Convention("paper, volume-based", "mean-std-truth", "volume", "reference-mean")
PAPER_NO_NORM = Convention("paper, no norm", "none", "image", "reference-mean")
PAPER_MIN_MAX = Convention("paper, min-max", "min-max", "image", "reference-mean")
PAPER_MEAN_STD = Convention("paper, mean-std (both)", "mean-std", "image", "reference-mean")
FASTMRI = Convention("fastMRI", "none", "volume", "fixed")


@dataclass(frozen=True)
class Quality:
    """The measures of this module, with the name of their convention and the region they look at."""

    convention: str
    region: Region
    vif: float
    ms_ssim: float
    ssim: float
    psnr: float
    nmse: float
    nrmse: float


def quality(img: FloatArray, truth: FloatArray, convention: Convention = OURS, region: Region = "whole") -> Quality:
    """All measures of one image, or of a volume.

    Args:
        img: Magnitude, ``(n_y, n_x)`` or ``(n_slices, n_y, n_x)``. fastMRI's convention wants the central 320×320 pixels.
        truth: Of the same shape.
        convention: How to compare.
        region: Where to compare.

    Returns:
        VIF is NaN where its noise variance would not be positive, which the mean of a truth with mean 0 is not.

    Raises:
        MissingExtraError: scikit-image or torchmetrics is not installed.
        ValueError: The shapes differ, the truth is zero everywhere, or a normalisation meets a constant image.
    """
    if not truth.any():
        raise ValueError("nothing can be compared with a truth that is zero everywhere")
    if img.shape != truth.shape or truth.ndim not in (2, 3):
        raise ValueError(f"an image or a volume and a truth of its shape are compared, got {img.shape} and {truth.shape}")
    imgs, truths = (np.asarray(a, np.float64).reshape(-1, *a.shape[-2:]) for a in (img, truth))
    if convention.scope == "volume":
        scores = _scores(imgs, truths, convention, region)
    else:
        each = [_scores(imgs[n : n + 1], truths[n : n + 1], convention, region) for n in range(len(imgs))]
        scores = tuple(np.mean(each, axis=0))
    return Quality(convention.name, region, *(float(score) for score in scores))


def nrmse(img: FloatArray, truth: FloatArray) -> float:
    """NRMSE in the convention :data:`OURS`: ``‖s·img - truth‖ / ‖truth‖`` with the best factor s."""
    return float(np.linalg.norm(match_scale(img, truth) - truth) / np.linalg.norm(truth))


def psnr(img: FloatArray, truth: FloatArray, convention: Convention = OURS, region: Region = "whole") -> float:
    """PSNR in dB of an image, without the other measures and their cost."""
    mask = _mask(truth, region)
    scaled, exact = normalise(np.asarray(img, np.float64) * mask, np.asarray(truth, np.float64) * mask, convention.normalisation)
    return psnr_of(float(np.mean((scaled - exact)[mask] ** 2)), float(exact.max()))


def psnr_of(mse: float, data_range: float) -> float:
    """PSNR in dB by the mean squared error."""
    return 10 * math.log10(data_range**2 / mse) if mse > 0 else math.inf


def match_scale(img: FloatArray, truth: FloatArray) -> FloatArray:
    """``s · img`` with the factor s that brings it closest to ``truth`` in the least-squares sense."""
    scaled, _ = normalise(np.asarray(img, np.float64), np.asarray(truth, np.float64), "least-squares")
    return scaled.astype(np.float32)


def normalise(img: Array, truth: Array, how: Normalisation) -> tuple[Array, Array]:
    """Image and truth after a :data:`Normalisation`, statistics over all of each array.

    Raises:
        ValueError: A constant image has no range or standard deviation to divide by.
    """
    if how == "none":
        return img, truth
    if how == "least-squares":
        energy = float(np.vdot(img, img))
        return (float(np.vdot(img, truth)) / energy if energy > 0 else 0.0) * img, truth
    if truth.min() == truth.max() or img.min() == img.max():
        raise ValueError(f"a constant image cannot be normalised by {how}")
    if how == "min-max":
        img, truth = ((a - a.min()) / (a.max() - a.min()) for a in (img, truth))
        return img, truth
    standard = (truth - truth.mean()) / truth.std()
    if how == "mean-std":
        return (img - img.mean()) / img.std(), standard
    return img, standard * img.std() + img.mean()


def foreground(truth: FloatArray | Array) -> BoolArray:
    """Pixels above a tenth of the 99th percentile of ``truth``, and the holes that they enclose in each image.

    Args:
        truth: ``(n_y, n_x)`` or ``(n_slices, n_y, n_x)``; the percentile is that of the whole array.

    Returns:
        bool, of the same shape.
    """
    above = truth > 0.1 * np.percentile(truth, 99)
    images = above.reshape(-1, *above.shape[-2:])
    filled: BoolArray = np.stack([scipy.ndimage.binary_fill_holes(image) for image in images]).reshape(above.shape)
    return filled


def _scores(imgs: Array, truths: Array, convention: Convention, region: Region) -> tuple[float, ...]:
    """VIF, MS-SSIM, SSIM, PSNR, NMSE and NRMSE of ``(n_slices, n_y, n_x)`` with one normalisation and one range."""
    mask = _mask(truths, region)
    imgs, truths = normalise(imgs * mask, truths * mask, convention.normalisation)
    data_range = float(truths.max())
    mse = float(np.mean((imgs - truths)[mask] ** 2))
    nmse = mse / float(np.mean(truths[mask] ** 2))
    if convention.vif_noise == "fixed":
        vif = np.mean([_vif(i * 255 / data_range, t * 255 / data_range, 2.0) for i, t in zip(imgs, truths, strict=True)])
    else:
        vif = np.mean([_vif(i, t, float(t.mean())) for i, t in zip(imgs, truths, strict=True)])
    ms_ssim = math.nan if region == "foreground" else _ms_ssim(imgs, truths, data_range)
    return float(vif), ms_ssim, _ssim(imgs, truths, data_range, mask), psnr_of(mse, data_range), nmse, math.sqrt(nmse)


def _mask(truth: FloatArray | Array, region: Region) -> BoolArray:
    return foreground(truth) if region == "foreground" else np.ones(truth.shape, bool)


def _ssim(imgs: Array, truths: Array, data_range: float, mask: BoolArray) -> float:
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise MissingExtraError("quality measures need scikit-image: pip install 'untrained-recon[report]'") from error
    maps = np.stack([structural_similarity(t, i, data_range=data_range, full=True)[1] for i, t in zip(imgs, truths, strict=True)])
    inner = (slice(None), slice(3, -3), slice(3, -3))  # where the window fits
    return float(maps[inner][mask[inner]].mean())


def _vif(img: Array, truth: Array, noise_variance: float) -> float:
    try:
        from torchmetrics.functional.image import visual_information_fidelity
    except ImportError as error:
        raise MissingExtraError("VIF needs torchmetrics: pip install 'untrained-recon[report]'") from error
    if min(truth.shape) < VIF_SIZE or noise_variance < 1e-6 * truth.std():  # rounding makes a mean of 0 a little more than 0
        return math.nan
    return float(visual_information_fidelity(_batch(img), _batch(truth), noise_variance))


def _ms_ssim(imgs: Array, truths: Array, data_range: float) -> float:
    try:
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
    except ImportError as error:
        raise MissingExtraError("MS-SSIM needs torchmetrics: pip install 'untrained-recon[report]'") from error
    if min(truths.shape[1:]) < MS_SSIM_SIZE:
        return math.nan
    each = [
        float(multiscale_structural_similarity_index_measure(_batch(i), _batch(t), data_range=data_range))
        for i, t in zip(imgs, truths, strict=True)
    ]
    return float(np.mean(each))


def _batch(img: Array) -> torch.Tensor:
    return torch.from_numpy(img)[None, None]
