"""No image without the centre of k-space, none from a line or two, and no scan refused that undersampling explains."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from tests.scans import Protocol, body, header_of, measure, readouts, sampled_lines
from untrained_recon.assemble import assemble
from untrained_recon.config import ScanConfig
from untrained_recon.errors import SamplingError
from untrained_recon.header import parse_header
from untrained_recon.soundness import checked, sound
from untrained_recon.types import BoolArray, KSpace

PLAIN = Protocol(matrix=(1, 64, 32), recon=(1, 64, 32), fov=(5.0, 240.0, 240.0))
VOLUME = Protocol(matrix=(16, 32, 32), recon=(16, 32, 32), fov=(80.0, 240.0, 240.0), recon_fov=(80.0, 240.0, 240.0))


@pytest.fixture(scope="module")
def plane() -> KSpace:
    (data,) = assemble(
        [readouts(measure(body(2), PLAIN), PLAIN, np.ones((1, 64), bool))], parse_header(header_of(PLAIN)), ScanConfig()
    )
    return data


@pytest.fixture(scope="module")
def volume() -> KSpace:
    ksp = measure(body(2, slices=16, fov=(80.0, 240.0, 240.0)), VOLUME)
    (data,) = assemble([readouts(ksp, VOLUME, np.ones((16, 32), bool))], parse_header(header_of(VOLUME)), ScanConfig())
    return data


def sampled(data: KSpace, mask: BoolArray, calibrated: bool = False) -> KSpace:
    return replace(data, ksp=data.ksp * mask, mask=mask, calib_mask=np.ones_like(mask) if calibrated else mask)


def lines(missing: range | list[int] = [], accel: int = 1, first: int = 0, acs: int = 0) -> BoolArray:  # noqa: B006
    found = sampled_lines(PLAIN, accel, acs, first)[0]
    found[list(missing)] = False
    return np.repeat(found[:, None], 32, axis=1)


@pytest.mark.parametrize(
    "mask",
    [
        lines(),
        *(lines(accel=accel, first=first) for accel in (2, 3, 4, 6) for first in range(accel)),
        lines(accel=8, first=4),
        lines(accel=4, first=1, acs=8),
        lines(range(16)),  # partial Fourier
        lines(range(24)),
        lines(range(33, 64)),
        lines([3, 60]),
    ],
)
def test_undersampling_and_partial_fourier_pass_without_a_caution(mask: BoolArray, plane: KSpace) -> None:
    assert checked(sampled(plane, mask)).cautions == ()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (lines(range(33)), "of its 64 lines only those on one side"),
        (lines(range(32, 64)), "of its 64 lines only those on one side"),
        (lines(range(28, 36)), "8 lines around it are missing, 0 elsewhere"),
        (lines([32]), "1 lines around it are missing"),
        (lines([31, 32, 33], accel=4, acs=16), "3 lines around it are missing"),
        (lines([30, 34], accel=4, first=2), "11 lines around it are missing, 3 elsewhere"),
        (lines([n for n in range(64) if n != 32]), "1 of 64 lines were sampled"),
        (lines([n for n in range(64) if not 30 <= n < 35]), "5 of 64 lines were sampled"),
    ],
)
def test_without_its_centre_there_is_no_image(mask: BoolArray, message: str, plane: KSpace) -> None:
    with pytest.raises(SamplingError, match=message):
        checked(sampled(plane, mask))
    with pytest.raises(SamplingError):
        checked(sampled(plane, mask))


def test_a_line_that_is_missing_at_the_centre_is_doubtful_where_a_calibration_scan_has_it(plane: KSpace) -> None:
    (caution,) = checked(sampled(plane, lines([32]), calibrated=True)).cautions
    assert (caution.code, caution.detail) == ("centre-missing", "1 lines around it, 0 elsewhere")
    (caution,) = checked(sampled(plane, lines([32], accel=4), calibrated=True)).cautions
    assert caution.detail == "7 lines around it, 3 elsewhere"
    with pytest.raises(SamplingError, match="15 lines around it"):
        checked(sampled(plane, lines([28, 32, 36], accel=4), calibrated=True))


def test_the_readout_has_a_centre_too(plane: KSpace) -> None:
    for columns in (slice(17, 32), slice(0, 16), [n for n in range(32) if not 14 <= n < 18]):
        mask = np.zeros((64, 32), bool)
        mask[:, columns] = True
        with pytest.raises(SamplingError, match="columns"):
            checked(sampled(plane, mask))
    early = np.zeros((64, 32), bool)
    early[:, 12:] = True  # asymmetric echo
    checked(sampled(plane, early))
    early[24:40, :20] = False  # but the lines at the centre end before theirs
    with pytest.raises(SamplingError, match="centre of k-space was not sampled"):
        checked(sampled(plane, early))


def test_volumes_need_their_centre_in_every_direction(volume: KSpace) -> None:
    z, y = np.ogrid[:16, :32]
    patterns = {
        "grid": (z % 2 == 0) & (y % 2 == 1),
        "shifted": (y + z) % 4 == 1,
        "partial": (z >= 6) & (y >= 10),
        "shutter": ((z - 8) / 8) ** 2 + ((y - 16) / 16) ** 2 < 1,
    }
    for pattern in patterns.values():
        assert checked(sampled(volume, np.repeat(pattern[..., None], 32, axis=-1))).cautions == ()
    hollow = np.ones((16, 32), bool)
    hollow[6:10, 12:20] = False
    for pattern in (hollow, hollow & ((y + z) % 2 == 0), (z == 8) & (y >= 0), (z > 8) & (y >= 0)):
        with pytest.raises(SamplingError):
            checked(sampled(volume, np.repeat(pattern[..., None], 32, axis=-1)))


def test_the_images_that_can_be_made_come_first_and_the_readings_are_logged_once(
    plane: KSpace, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = replace(plane, notes=("read so",)), sampled(plane, lines(range(33)))
    images = sound([good, bad, good])
    with caplog.at_level(logging.INFO):
        assert [next(images), next(images)] == [good, good]
        with pytest.raises(SamplingError, match="1 image could not be made: slice 0: the centre of k-space was not sampled"):
            next(images)
    assert [record.message.count("read so") for record in caplog.records].count(1) == 1
