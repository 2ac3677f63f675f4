from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.doubles.helpers import read_raw
from untrained_recon.config import Config, ScanConfig, load_config
from untrained_recon.errors import NonFiniteError
from untrained_recon.recon.methods import CPU
from untrained_recon.recon.scale import brought_back, near_one
from untrained_recon.recon.volume import reconstruct_image
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.types import KSpace

FACTORS = [2.0**-100, 2.0**-66, 2.0**64, 2.0**110]


def quick(**settings: str) -> Config:
    small = {"fit.iterations": "3", "refine.iterations": "2", "network.channels": "8", "network.layers": "3"}
    return load_config("fast", {**small, **settings})


@pytest.fixture(scope="module", params=[True, False], ids=["with noise scan", "without"])
def data(request: Any, small_scan: Path) -> KSpace:
    xml, acquisitions = read_raw(small_scan)
    return next(iter(assemble([acquisitions[0 if request.param else 1 :]], parse_header(xml), ScanConfig())))


def times(data: KSpace, factor: float) -> KSpace:
    """The same scan with another gain after it."""
    ksp = (data.ksp.astype(np.complex128) * factor).astype(np.complex64)
    return replace(data, ksp=ksp, calib=ksp, averages=data.averages / factor**2)


@pytest.mark.parametrize("factor", FACTORS)
def test_the_image_is_right_at_any_scale(factor: float, data: KSpace) -> None:
    expected = reconstruct_image(data, quick(**{"evidence.replicas": "4"}), CPU)
    found = reconstruct_image(times(data, factor), quick(**{"evidence.replicas": "4"}), CPU)
    assert (found.account.method, found.account.iterations) == (expected.account.method, expected.account.iterations)
    assert found.account.chi2 == pytest.approx(expected.account.chi2)
    np.testing.assert_allclose(found.magnitude / factor, expected.magnitude, rtol=1e-6)
    if data.prewhitened:
        assert found.noise is not None
        assert found.noise.pixels is not None
        assert expected.noise is not None
        assert expected.noise.pixels is not None
        np.testing.assert_allclose(found.noise.pixels / factor, expected.noise.pixels, rtol=1e-4)


def test_k_space_near_one_is_left_as_it_is(data: KSpace) -> None:
    assert near_one(data) == (data, 1.0)
    assert near_one(replace(data, ksp=0 * data.ksp, calib=0 * data.calib))[1] == 1.0
    scaled, scale = near_one(times(data, 2.0**-100))
    assert 0.5 <= max(np.abs(scaled.ksp.real).max(), np.abs(scaled.ksp.imag).max()) <= 2
    assert scaled.calib is scaled.ksp
    np.testing.assert_array_equal(scaled.ksp * scale, times(data, 2.0**-100).ksp)


def test_an_image_beyond_single_precision_is_refused(data: KSpace) -> None:
    config = quick(**{"recon.method": "zero-filled"})
    recon = reconstruct_image(data, config, CPU)
    with pytest.raises(NonFiniteError, match="so bright that it overflows"):
        brought_back(recon, 2.0**130)
