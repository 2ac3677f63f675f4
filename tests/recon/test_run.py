"""Images without a sampled centre, whose maps a scan of its own calibrates: right, or said to be doubtful."""

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

from tests.doubles.helpers import header_xml
from untrained_recon.config import load_config
from untrained_recon.encoding import ImageIndex
from untrained_recon.metrics import nrmse
from untrained_recon.phantom.head import head, positions
from untrained_recon.phantom.simulation import Simulation
from untrained_recon.physics.operators import fft2, rss_image
from untrained_recon.recon.plane import reconstruct
from untrained_recon.scan.header import parse_header
from untrained_recon.types import ComplexArray, KSpace, Reconstruction

SETTINGS = Simulation((64, 64), coils=8, accel=1, acs=64, pattern="equispaced", slices=1, noise=0.0, seed=0)
ENCODING = parse_header(header_xml(SETTINGS)).encodings[0]
CONFIG = load_config("fast", {"network.layers": "4", "network.channels": "16", "network.in_size": "[8, 8]", "fit.iterations": "40"})
DISTINCT, ALIKE = 0.6, 1.2  # widths of the coils' sensitivities


@cache
def clean(width: float) -> ComplexArray:
    """What coils of that width see of the head, the noise's standard deviation being 1."""
    y, x = positions(SETTINGS.shape)
    angle = np.pi / 4 * (np.arange(8)[:, None, None] + 0.5)
    mps = np.exp(-((y - np.sin(angle)) ** 2 + (x - np.cos(angle)) ** 2) / (2 * width**2) + 1j * angle)
    mps /= np.sqrt((np.abs(mps) ** 2).sum(axis=0).mean())
    return fft2(torch.from_numpy(100 * mps * head(SETTINGS.shape, 0.0, 3))).numpy().astype(np.complex64)


def noisy(ksp: ComplexArray, seed: int) -> ComplexArray:
    rng = np.random.default_rng(seed)
    return (ksp + rng.standard_normal(ksp.shape) + 1j * rng.standard_normal(ksp.shape)).astype(np.complex64)


def acquired(width: float, accel: int, first: int) -> KSpace:
    """Every so many lines from a first one, and 24 lines of a calibration scan that is quieter, and of another phase."""
    mask, calib_mask = np.zeros(SETTINGS.shape, bool), np.zeros(SETTINGS.shape, bool)
    mask[first::accel] = calib_mask[20:44] = True
    ksp = noisy(clean(width), 0) * mask
    calib = noisy(0.8j * clean(width), 1) * calib_mask
    return KSpace(ksp, mask, calib, calib_mask, ImageIndex(0, 0, 0, 0, 0, 0, 0), ENCODING, None, prewhitened=True)


def reconstructed(data: KSpace) -> Reconstruction:
    return reconstruct(data, CONFIG, torch.device("cpu"))


def error(recon: Reconstruction, width: float) -> float:
    return nrmse(recon.magnitude, rss_image(clean(width), ENCODING))


@pytest.mark.parametrize(("accel", "first", "width"), [(3, 0, 0.9), (4, 0, DISTINCT), (4, 2, DISTINCT)])
def test_what_coils_can_tell_apart_is_right_whether_the_centre_line_was_sampled_or_not(
    accel: int, first: int, width: float
) -> None:
    data = acquired(width, accel, first)
    recon = reconstructed(data)
    assert recon.cautions == ()
    zero_filled = nrmse(rss_image(data.ksp, ENCODING), rss_image(clean(width), ENCODING))
    assert error(recon, width) < min(0.13, 0.25 * zero_filled)


@pytest.mark.parametrize("method", ["network", "cg-sense"])
def test_what_coils_cannot_tell_apart_is_said(method: str) -> None:
    config = CONFIG.model_copy(update={"recon": CONFIG.recon.model_copy(update={"method": method})})
    recon = reconstruct(acquired(ALIKE, 4, 0), config, torch.device("cpu"))
    assert [caution.code for caution in recon.cautions] == ["acceleration-beyond-coils"]


def test_calibration_lines_in_the_image_tell_what_the_same_coils_do_not() -> None:
    data = acquired(ALIKE, 4, 0)
    mask = data.mask | data.calib_mask
    ksp = noisy(clean(ALIKE), 0) * mask
    recon = reconstructed(dataclasses.replace(data, ksp=ksp, mask=mask, calib=ksp, calib_mask=mask))
    assert recon.cautions == ()
    assert error(recon, ALIKE) < 0.1


def test_an_image_is_corrected_only_where_no_centre_was_sampled() -> None:
    data = acquired(DISTINCT, 4, 0)
    centre = dataclasses.replace(data, mask=data.mask | data.calib_mask)
    assert (reconstructed(data).account.refinements, reconstructed(centre).account.refinements) == (75, 45)
