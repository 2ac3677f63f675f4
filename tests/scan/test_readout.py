import dataclasses

import ismrmrd
import numpy as np
import pytest
import sigpy

from tests.conftest import SMALL
from tests.doubles.helpers import acquisition, header_xml
from tests.doubles.scans import Protocol, header_of
from untrained_recon.encoding import Encoding
from untrained_recon.errors import EncodingError, NonFiniteError
from untrained_recon.scan.gridding import to_grid
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.readout import Readout, place
from untrained_recon.types import ComplexArray

ENCODING = parse_header(header_xml(SMALL)).encodings[0]  # 64 lines, readout 96 of which 48 are kept


def noise(*shape: int) -> ComplexArray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def start(readout: Readout, grid: int = 96) -> int:
    """Column of the first sample."""
    return grid // 2 - readout.center


def with_center(center_y: int) -> Encoding:
    return dataclasses.replace(ENCODING, center_y=center_y)


def test_lines_are_centred_by_the_encoding_limits() -> None:
    data = noise(2, 96)
    assert place(acquisition(data, line=5), with_center(32)).line == 5
    assert place(acquisition(data, line=5), with_center(20)).line == 17  # partial Fourier: step 20 is the centre
    readout = place(acquisition(data, line=0), ENCODING)
    assert start(readout) == 0
    np.testing.assert_array_equal(readout.data, data)


def test_reversed_readouts_and_discarded_samples() -> None:
    data = noise(2, 96)
    plain = place(acquisition(data[:, 32:], center_sample=16), ENCODING)  # asymmetric echo: 32 leading samples are missing
    assert start(plain) == 32
    flipped = place(acquisition(data[:, :31:-1], flags=[ismrmrd.ACQ_IS_REVERSE], center_sample=48), ENCODING)
    assert start(flipped) == 32
    np.testing.assert_array_equal(flipped.data, plain.data)
    full = place(acquisition(data[:, ::-1], flags=[ismrmrd.ACQ_IS_REVERSE]), ENCODING)
    assert start(full) == 0
    np.testing.assert_array_equal(full.data, data)
    cut = place(acquisition(data[:, ::-1], flags=[ismrmrd.ACQ_IS_REVERSE], discard_pre=10), ENCODING)
    assert start(cut) == 0
    np.testing.assert_array_equal(cut.data, data[:, :86])
    discarding = place(acquisition(data, discard_pre=32, discard_post=4), ENCODING)
    assert start(discarding) == 32
    np.testing.assert_array_equal(discarding.data, data[:, 32:92])
    middle = place(acquisition(data, discard_pre=24, discard_post=24), ENCODING)
    assert start(middle) == 24
    assert not middle.fits(48)  # short after discarding, but still oversampled


@pytest.mark.parametrize("center", [62, 63, 64])
def test_partial_echoes_of_both_directions_meet(center: int) -> None:
    """The centre of 96 of 128 samples is sample 32, or by the other direction 63; writers are off by one."""
    protocol = parse_header(header_of(Protocol(matrix=(1, 16, 128), recon=(1, 16, 64)))).encodings[0]
    data = noise(2, 96)
    plain = place(acquisition(data, center_sample=32), protocol)
    flipped = place(acquisition(data[:, ::-1], flags=[ismrmrd.ACQ_IS_REVERSE], center_sample=center), protocol)
    assert flipped.center == (plain.center if center != 62 else 33)
    np.testing.assert_array_equal(flipped.data, plain.data)


@pytest.mark.parametrize(("n", "center"), [(96, 47), (96, 49), (48, 23), (48, 25), (64, 15)])
def test_a_centre_beside_the_only_place_that_fits_is_moved_there(n: int, center: int) -> None:
    readout = place(acquisition(noise(2, n), center_sample=center), ENCODING)
    assert readout.center == {96: 48, 48: 24, 64: 16}[n]


def test_reversed_readouts_of_odd_length_stay_on_their_grid() -> None:
    odd = dataclasses.replace(ENCODING, encoded_shape=(64, 95), recon_shape=(64, 95), encoded_fov=(5, 300, 240))
    data = noise(2, 95)
    full = place(acquisition(data[:, ::-1], flags=[ismrmrd.ACQ_IS_REVERSE]), odd)
    assert start(full, 95) == 0
    np.testing.assert_array_equal(full.data, data)


def test_readouts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(EncodingError, match=r"discards 50 \+ 46 of its 96 samples"):
        place(acquisition(noise(2, 96), discard_pre=50, discard_post=46), ENCODING)
    with pytest.raises(EncodingError, match="line 70 is outside the encoded matrix of 64 lines"):
        place(acquisition(noise(2, 96), line=70), ENCODING)
    with pytest.raises(EncodingError, match="line -1 is outside"):
        place(acquisition(noise(2, 96), line=0), with_center(33))
    with pytest.raises(EncodingError, match="100 samples with centre 50 do not fit"):
        place(acquisition(noise(2, 100)), ENCODING)


@pytest.mark.parametrize("bad", [np.nan, np.inf, complex(0, -np.inf)])
def test_samples_that_are_not_finite_are_refused(bad: complex) -> None:
    data = noise(2, 96)
    data[1, 7] = bad
    with pytest.raises(NonFiniteError, match=r"acquisition 0 \(slice 0, step 1 9\) holds NaN or Inf"):
        place(acquisition(data, line=9), ENCODING)


@pytest.mark.parametrize("n_x", [48, 47])
def test_cutting_oversampling_returns_the_inner_image(n_x: int) -> None:
    """Closed form: an object inside the kept field of view, whatever lies outside, has the same k-space."""
    encoding = dataclasses.replace(
        ENCODING, encoded_shape=(64, 2 * n_x), recon_shape=(64, n_x), encoded_fov=(5, 300, 480), recon_fov=(5, 300, 240)
    )
    inner = noise(2, n_x)
    wide = noise(2, 2 * n_x)
    wide[:, n_x - n_x // 2 : n_x - n_x // 2 + n_x] = inner
    readout = place(acquisition(sigpy.fft(wide, axes=[-1])), encoding)
    ksp, counts = to_grid([readout], encoding, 2 * n_x)
    assert ksp.shape == (2, 64, n_x)
    assert (counts[0] == 1).all()
    assert not counts[1:].any()
    np.testing.assert_allclose(ksp[:, 0], sigpy.fft(inner, axes=[-1]), atol=1e-5)


def test_repeated_lines_are_averaged_and_the_counts_are_what_was_acquired() -> None:
    data = noise(2, 48)
    zeros = np.zeros((2, 48), np.complex64)
    readouts = [place(acquisition(d, line=n), ENCODING) for d, n in ((data, 3), (3 * data, 3), (zeros, 4))]
    ksp, counts = to_grid(readouts, ENCODING, 48)
    np.testing.assert_allclose(ksp[:, 3], 2 * data, rtol=1e-6)
    assert [set(counts[n]) for n in (2, 3, 4)] == [{0}, {2}, {1}]  # a line of zeros is a line
