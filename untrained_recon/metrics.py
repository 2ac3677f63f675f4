"""Image quality against a truth, per image, after one least-squares scale; the truth's maximum is the data range."""

from dataclasses import dataclass

import numpy as np

from untrained_recon.errors import MissingExtraError
from untrained_recon.types import FloatArray


@dataclass(frozen=True)
class Quality:
    """NRMSE ``‖s·img - truth‖ / ‖truth‖``, PSNR in dB, SSIM with scikit-image's 7×7 uniform window."""

    nrmse: float
    psnr: float
    ssim: float


def match_scale(img: FloatArray, truth: FloatArray) -> FloatArray:
    """``s · img`` with the factor s that brings it closest to ``truth`` in the least-squares sense."""
    energy = float(np.vdot(img, img))
    factor = float(np.vdot(img, truth)) / energy if energy > 0 else 0.0
    return (factor * img).astype(np.float32)


def nrmse(img: FloatArray, truth: FloatArray) -> float:
    """Relative root mean square error after :func:`match_scale`."""
    return float(np.linalg.norm(match_scale(img, truth) - truth) / np.linalg.norm(truth))


def quality(img: FloatArray, truth: FloatArray) -> Quality:
    """All measures of :class:`Quality`. Raises MissingExtraError without scikit-image."""
    try:
        from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    except ImportError as error:
        raise MissingExtraError("quality measures need scikit-image: pip install 'untrained-recon[report]'") from error
    scaled, data_range = match_scale(img, truth), float(truth.max())
    with np.errstate(divide="ignore"):  # no error at all: an infinite PSNR
        psnr = float(peak_signal_noise_ratio(truth, scaled, data_range=data_range))
    return Quality(
        nrmse=nrmse(img, truth),
        psnr=psnr,
        ssim=float(structural_similarity(truth, scaled, data_range=data_range)),
    )
