"""Every measure against its published formula, written here a second time with NumPy and SciPy in double precision."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage
import scipy.signal

from untrained_recon import metrics
from untrained_recon.metrics import (
    FASTMRI,
    OURS,
    PAPER,
    PAPER_MEAN_STD,
    PAPER_MIN_MAX,
    PAPER_NO_NORM,
    PAPER_VOLUME,
    Convention,
    foreground,
    match_scale,
    normalise,
    nrmse,
    quality,
)
from untrained_recon.types import BoolArray, FloatArray

pytestmark = pytest.mark.needs("skimage", "torchmetrics")

Array = npt.NDArray[np.float64]
CONVENTIONS = [OURS, PAPER, PAPER_VOLUME, PAPER_NO_NORM, PAPER_MIN_MAX, FASTMRI]


def pair(shape: tuple[int, ...], seed: int = 0, noise: float = 0.1) -> tuple[FloatArray, FloatArray]:
    """A noisy image and its truth: a smooth positive random field, between 0 and about 5."""
    rng = np.random.default_rng(seed)
    truth = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), 3, axes=(-2, -1))
    truth = np.abs(truth) / truth.std()
    img = np.abs(truth + noise * rng.standard_normal(shape))
    return img.astype(np.float32), truth.astype(np.float32)


def gaussian(n: int, sigma: float) -> Array:
    x = np.arange(n) - n // 2
    window = np.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / (2 * sigma**2))
    return np.asarray(window / window.sum())


def valid(img: Array, window: Array) -> Array:
    return np.asarray(scipy.signal.convolve(img, window, mode="valid"))


def vif(img: Array, truth: Array, noise: float) -> float:
    """Sheikh & Bovik 2006, in the pixel domain: the information in the image over that in the truth, four scales."""
    seen, there = 0.0, 0.0
    for n in (17, 9, 5, 3):
        window = gaussian(n, n / 5)
        if n != 17:
            img, truth = valid(img, window)[::2, ::2], valid(truth, window)[::2, ::2]
        mean_t, mean_i = valid(truth, window), valid(img, window)
        var_t, var_i = valid(truth**2, window) - mean_t**2, valid(img**2, window) - mean_i**2
        cov = valid(truth * img, window) - mean_t * mean_i
        gain = np.maximum(cov, 0) / var_t
        distortion = np.maximum(var_i - gain * cov, 1e-10)
        seen += float(np.log10(1 + gain**2 * var_t / (distortion + noise)).sum())
        there += float(np.log10(1 + var_t / noise).sum())
    return seen / there


def ssim_maps(img: Array, truth: Array, window: Array, data_range: float, unbiased: bool) -> tuple[Array, Array]:
    """SSIM and its contrast-structure part (Wang et al. 2004, eqs. 13 and 9·10)."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    factor = window.size / (window.size - 1) if unbiased else 1.0
    mean_t, mean_i = valid(truth, window), valid(img, window)
    var_t, var_i = factor * (valid(truth**2, window) - mean_t**2), factor * (valid(img**2, window) - mean_i**2)
    cov = factor * (valid(truth * img, window) - mean_t * mean_i)
    structure = (2 * cov + c2) / (var_t + var_i + c2)
    return (2 * mean_t * mean_i + c1) / (mean_t**2 + mean_i**2 + c1) * structure, structure


def ssim(img: Array, truth: Array, data_range: float) -> float:
    return float(ssim_maps(img, truth, np.full((7, 7), 1 / 49), data_range, unbiased=True)[0].mean())


def ms_ssim(img: Array, truth: Array, data_range: float) -> float:
    """Wang, Simoncelli & Bovik 2003: structure at every scale, luminance at the last, averages of 2×2 pixels between.

    As torchmetrics does, windows at the border of the last scale see its mirror image.
    """
    product = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale == 4:
            img, truth = np.pad(img, 5, mode="reflect"), np.pad(truth, 5, mode="reflect")
        whole, structure = ssim_maps(img, truth, gaussian(11, 1.5), data_range, unbiased=False)
        product *= float((whole if scale == 4 else structure).mean()) ** weight
        img, truth = (a[: a.shape[0] // 2 * 2, : a.shape[1] // 2 * 2] for a in (img, truth))
        img, truth = (a.reshape(a.shape[0] // 2, 2, a.shape[1] // 2, 2).mean(axis=(1, 3)) for a in (img, truth))
    return product


def psnr(img: Array, truth: Array, data_range: float) -> float:
    return float(20 * np.log10(data_range) - 10 * np.log10(((img - truth) ** 2).mean()))


def double(*arrays: FloatArray) -> tuple[Array, ...]:
    return tuple(a.astype(np.float64) for a in arrays)


@pytest.mark.parametrize("shape", [(176, 177), (190, 181)])
def test_ours_equals_the_published_formulas_after_one_scale(shape: tuple[int, int]) -> None:
    img, truth = double(*pair(shape))
    scaled, top = img * (img * truth).sum() / (img * img).sum(), truth.max()
    found = quality(*pair(shape))
    assert found.vif == pytest.approx(vif(scaled * 255 / top, truth * 255 / top, 2.0), rel=1e-6)
    assert found.ms_ssim == pytest.approx(ms_ssim(scaled, truth, top), rel=1e-6)
    assert found.ssim == pytest.approx(ssim(scaled, truth, top), rel=1e-6)
    assert found.psnr == pytest.approx(psnr(scaled, truth, top), rel=1e-6)
    assert found.nmse == pytest.approx(((scaled - truth) ** 2).sum() / (truth**2).sum(), rel=1e-6)
    assert found.nrmse == pytest.approx(math.sqrt(found.nmse)) == pytest.approx(nrmse(*pair(shape)), rel=1e-5)
    assert found.psnr == pytest.approx(metrics.psnr(*pair(shape)), rel=1e-5)
    assert (found.convention, found.region) == ("ours", "whole")


def test_paper_moves_the_truth_and_takes_its_mean_as_the_noise_of_vif() -> None:
    img, truth = double(*pair((180, 180), seed=1))
    moved = (truth - truth.mean()) / truth.std() * img.std() + img.mean()
    found = quality(*pair((180, 180), seed=1), PAPER)
    assert found.vif == pytest.approx(vif(img, moved, moved.mean()), rel=1e-6)
    assert found.ms_ssim == pytest.approx(ms_ssim(img, moved, moved.max()), rel=1e-6)
    assert found.ssim == pytest.approx(ssim(img, moved, moved.max()), rel=1e-6)
    assert found.psnr == pytest.approx(psnr(img, moved, moved.max()), rel=1e-6)


def test_fastmri_takes_the_maximum_of_the_volume_and_sums_errors_over_it() -> None:
    imgs, truths = double(*pair((3, 48, 50), seed=2))
    top = truths.max()
    found = quality(*pair((3, 48, 50), seed=2), FASTMRI)
    assert found.ssim == pytest.approx(np.mean([ssim(i, t, top) for i, t in zip(imgs, truths, strict=True)]), rel=1e-6)
    assert found.psnr == pytest.approx(psnr(imgs, truths, top), rel=1e-6)
    assert found.nmse == pytest.approx(np.linalg.norm(truths - imgs) ** 2 / np.linalg.norm(truths) ** 2, rel=1e-6)


def test_image_based_numbers_of_a_volume_are_means_over_its_images() -> None:
    imgs, truths = pair((3, 48, 50), seed=3)
    imgs[1], truths[1] = 0.3 * imgs[1], 0.3 * truths[1]
    each = [quality(i, t, PAPER) for i, t in zip(imgs, truths, strict=True)]
    found = quality(imgs, truths, PAPER)
    for name in ("vif", "ssim", "psnr", "nmse", "nrmse"):
        assert getattr(found, name) == pytest.approx(np.mean([getattr(q, name) for q in each]))
    assert found.psnr < quality(imgs, truths, PAPER_VOLUME).psnr  # a dim image has its own, smaller range


def test_normalisations_of_table_8() -> None:
    img, truth = double(*pair((48, 50)))
    for a in normalise(img, truth, "min-max"):
        assert (a.min(), a.max()) == (0, 1)
    for a in normalise(img, truth, "mean-std"):
        assert (a.mean(), a.std()) == pytest.approx((0, 1), abs=1e-12)
    same, moved = normalise(img, truth, "mean-std-truth")
    np.testing.assert_array_equal(same, img)
    assert (moved.mean(), moved.std()) == pytest.approx((img.mean(), img.std()))
    with pytest.raises(ValueError, match="constant image cannot be normalised by min-max"):
        normalise(np.ones((8, 8)), truth[:8, :8], "min-max")


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.name)
def test_the_truth_itself_is_perfect(convention: Convention) -> None:
    _, truth = pair((180, 180))
    found = quality(truth, truth, convention)
    assert (found.vif, found.ms_ssim, found.ssim) == pytest.approx((1, 1, 1), abs=1e-6)
    assert found.psnr > 250  # rounding of the normalisation, or infinite
    assert found.nmse < 1e-25


def test_fixed_vif_ignores_the_common_scale_and_the_paper_s_does_not() -> None:
    img, truth = pair((64, 64))
    for convention in (OURS, FASTMRI):
        assert quality(100 * img, 100 * truth, convention).vif == pytest.approx(quality(img, truth, convention).vif, rel=1e-5)
    assert abs(quality(100 * img, 100 * truth, PAPER).vif - quality(img, truth, PAPER).vif) > 0.05


def test_the_scale_of_the_image_matters_only_without_normalisation() -> None:
    img, truth = pair((48, 48))
    for convention in (OURS, PAPER_MIN_MAX, PAPER_MEAN_STD):
        assert quality(7 * img, truth, convention).psnr == pytest.approx(quality(img, truth, convention).psnr, rel=1e-5)
    assert quality(7 * img, truth, FASTMRI).psnr < quality(img, truth, FASTMRI).psnr - 10


def test_what_has_no_value_is_nan() -> None:
    small = quality(*pair((175, 40)))
    assert math.isnan(small.ms_ssim)
    assert math.isnan(small.vif)
    assert small.ssim > 0
    assert math.isnan(quality(*pair((48, 48)), PAPER_MEAN_STD).vif)  # the mean of the truth is 0


def disc(shape: tuple[int, int], radius: float) -> BoolArray:
    y, x = np.indices(shape)
    return np.asarray(np.hypot(y - shape[0] // 2, x - shape[1] // 2) < radius)


def test_foreground_is_the_bright_part_with_its_holes() -> None:
    inside = disc((64, 64), 20)
    truth = np.where(inside, 1.0, 0.02).astype(np.float32)
    truth[disc((64, 64), 5)] = 0
    np.testing.assert_array_equal(foreground(truth), inside)
    np.testing.assert_array_equal(foreground(np.stack([truth, truth])), np.stack([inside, inside]))


def test_foreground_numbers_know_nothing_of_the_background() -> None:
    inside = disc((64, 64), 25)
    img, truth = pair((64, 64))
    truth = np.where(inside, truth + 1, 0).astype(np.float32)
    img = np.where(inside, img + 1, 0).astype(np.float32)
    artefact = img + np.where(inside, 0, 0.5).astype(np.float32)
    clean, dirty = (quality(i, truth, OURS, "foreground") for i in (img, artefact))
    assert math.isnan(clean.ms_ssim)
    assert (clean.vif, clean.ssim, clean.psnr, clean.nmse) == (dirty.vif, dirty.ssim, dirty.psnr, dirty.nmse)
    error = match_scale(img, truth)[inside] - truth[inside]
    assert clean.psnr == pytest.approx(10 * math.log10(truth.max() ** 2 / (error.astype(float) ** 2).mean()), rel=1e-5)
    assert clean.region == "foreground"
    assert quality(artefact, truth).psnr < dirty.psnr - 3


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"got \(8, 8\) and \(8, 9\)"):
        quality(np.ones((8, 8), np.float32), np.ones((8, 9), np.float32))


def test_scale_does_not_matter_and_errors_have_their_closed_form() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 2, (32, 32)).astype(np.float32)
    assert nrmse(7 * truth, truth) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(match_scale(0.1 * truth, truth), truth, rtol=1e-5)
    error = rng.standard_normal((32, 32)).astype(np.float32)
    error -= (error * truth).sum() / (truth * truth).sum() * truth  # orthogonal to the truth: the best scale is truth's share
    t, e = float(np.linalg.norm(truth)), float(np.linalg.norm(error))
    assert nrmse(truth + error, truth) == pytest.approx(e / np.hypot(t, e), rel=1e-4)
    assert not match_scale(np.zeros_like(truth), truth).any()
