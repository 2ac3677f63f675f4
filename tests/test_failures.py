"""A bad image costs that image, which an error at the end names, and never another one."""

import struct
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest

from gadgets import acquisitions, buckets
from gadgets.answer import Plan, arrays
from gadgets.connection import GadgetConnection
from tests.doubles.helpers import Answer, play, read_raw, stream
from tests.doubles.streams import bucket_bytes
from untrained_recon.errors import EncodingError, NoiseError, NonFiniteError, PartialScanError, ReconError
from untrained_recon.failures import Failures
from untrained_recon.phantom.simulation import Simulation, simulate
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.series import counters_of
from untrained_recon.types import Reconstruction
from untrained_recon.wire import CLOSE

SLICES = 5
SETTINGS = {
    "config": "fast",
    "device": "cpu",
    "fit.iterations": "2",
    "refine.iterations": "1",
    "network.channels": "4",
    "network.layers": "3",
    "network.in_size": "[4, 4]",
}
Lines = list[ismrmrd.Acquisition]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw file of five small slices, without noise scan."""
    raw = tmp_path_factory.mktemp("five") / "five.h5"
    simulate(raw, Simulation(shape=(24, 20), coils=3, accel=2, acs=10, pattern="equispaced", slices=SLICES, noise=0.0, seed=0))
    return raw


def run(path: Path, change: Callable[[Lines], object] = lambda lines: None) -> Answer:
    header, lines = read_raw(path)
    change(lines)
    return play(stream(SETTINGS, header, lines), lambda sock: acquisitions.reconstruct(GadgetConnection(sock)))


@pytest.fixture(scope="module")
def sound(path: Path) -> dict[int, Any]:
    return {image.slice: image.data for image in run(path).images}


def of_slice(lines: Lines, number: int) -> Lines:
    return [line for line in lines if line.idx.slice == number]


def spike(lines: Lines) -> None:
    of_slice(lines, 1)[3].data[0, 5] = 1e20


def not_finite(lines: Lines) -> None:
    of_slice(lines, 1)[3].data[0, 5] = np.nan


def overflow(lines: Lines) -> None:
    for line in of_slice(lines, 1):
        line.data[:] = 3e38


def beyond_the_matrix(lines: Lines) -> None:
    of_slice(lines, 1)[3].idx.kspace_encode_step_1 = 1000


def other_space(lines: Lines) -> None:
    for line in of_slice(lines, 1):
        line.encoding_space_ref = 7


def channels(lines: Lines) -> None:
    line = of_slice(lines, 1)[3]
    data = line.data[:2].copy()
    line.resize(data.shape[1], 2)
    line.data[:] = data


DAMAGES: dict[str, tuple[Callable[[Lines], None], str]] = {
    "spike": (spike, "SpikeError: 1 image could not be made: slice 1: a sample of coil 0, line "),
    "not finite": (not_finite, "NonFiniteError: 1 image could not be made: slice 1: acquisition "),
    "overflow": (overflow, "NonFiniteError: 1 image could not be made: slice 1: the samples of an image are so large"),
    "line": (beyond_the_matrix, "EncodingError: 1 image could not be made: slice 1: acquisition "),
    "space": (other_space, "EncodingError: 1 image could not be made: encoding 7, slice 1: acquisition "),
    "channels": (channels, "ChannelCountError: 1 image could not be made: slice 1: acquisition "),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=list(DAMAGES))
def test_a_bad_image_costs_no_other(
    damage: Callable[[Lines], None], message: str, path: Path, sound: dict[int, Any], caplog: pytest.LogCaptureFixture
) -> None:
    answer = run(path, damage)
    (error,) = answer.errors
    assert error.startswith(message)
    assert {image.slice for image in answer.images} == {0, 2, 3, 4}
    for image in answer.images:
        np.testing.assert_array_equal(image.data, sound[image.slice])
    assert "slice 1: no image is made" in caplog.text


def test_several_bad_images_are_named_with_their_reasons(path: Path) -> None:
    def damage(lines: Lines) -> None:
        spike(lines)
        for number in (2, 3):
            of_slice(lines, number)[0].data[0, 0] = np.inf

    answer = run(path, damage)
    assert [image.slice for image in answer.images] == [0, 4]
    (error,) = answer.errors
    assert error.startswith("PartialScanError: 3 images could not be made: slice 1: SpikeError: a sample of coil 0, line ")
    assert "; slice 2: NonFiniteError: acquisition " in error
    assert "; slice 3: NonFiniteError: acquisition " in error


def test_a_reconstruction_that_fails_costs_no_other(path: Path, sound: dict[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from untrained_recon.recon.volume import reconstruct_image as original

    def failing(data: Any, *rest: Any) -> Reconstruction:
        if data.index.slice == 3:
            raise ZeroDivisionError("nothing to divide by")
        return original(data, *rest)

    monkeypatch.setattr("untrained_recon.serving.jobs.reconstruct_image", failing)
    answer = run(path)
    assert [image.slice for image in answer.images] == [0, 1, 2, 4]
    reason = "internal error, see the log (ZeroDivisionError: nothing to divide by)"
    assert answer.errors == [f"PartialScanError: 1 image could not be made: slice 3: {reason}"]


def test_buckets_lose_no_other_image(path: Path, sound: dict[int, Any]) -> None:
    header, lines = read_raw(path)
    not_finite(lines)
    imaging = [[line for line in of_slice(lines, number) if not line.is_flag_set(20)] for number in range(SLICES)]
    reference = [[line for line in of_slice(lines, number) if line.is_flag_set(20)] for number in range(SLICES)]
    messages = b"".join(bucket_bytes(*bucket) for bucket in zip(imaging, reference, strict=True))
    data = stream(SETTINGS, header, [], close=False) + messages + struct.pack("<H", CLOSE)
    answer = play(data, lambda sock: buckets.reconstruct(GadgetConnection(sock)))
    assert {image.slice for image in answer.images} == {0, 2, 3, 4}
    assert answer.errors[0].startswith("NonFiniteError: 1 image could not be made: slice 1: ")


def test_a_bad_separate_calibration_costs_the_images_that_need_it(path: Path) -> None:
    header, lines = read_raw(path)

    def spoil(lines: Lines) -> None:
        next(line for line in of_slice(lines, 1) if line.is_flag_set(20)).data[0, 0] = np.nan

    spoil(lines)
    separate = header.replace(b"embedded", b"separate")
    answer = play(stream(SETTINGS, separate, lines), lambda sock: acquisitions.reconstruct(GadgetConnection(sock)))
    assert {image.slice for image in answer.images} == {0, 2, 3, 4}
    assert answer.errors[0].startswith("NonFiniteError: 1 image could not be made: slice 1: ")


def test_lines_within_the_limits_but_beyond_the_matrix_are_left_out(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    header, lines = read_raw(path)
    wide = header.replace(b"<maximum>23</maximum>", b"<maximum>25</maximum>")
    assert parse_header(wide).encodings[0].limits_y == (0, 25)
    of_slice(lines, 1)[-1].idx.kspace_encode_step_1 = 25
    answer = play(stream(SETTINGS, wide, lines), lambda sock: acquisitions.reconstruct(GadgetConnection(sock)))
    assert len(answer.images) == SLICES
    assert not answer.errors
    assert "1 readouts within the header's limits lie beyond its matrix; they are left out" in caplog.text


def test_errors_of_the_scan_name_the_images_that_failed_before() -> None:
    failures = Failures()
    failures.add("slice 1", NonFiniteError("NaN"))
    failures.add("slice 1", EncodingError("later ones do not count"))
    with pytest.raises(NoiseError, match="no noise; besides, 1 image could not be made: slice 1: NaN"), failures.collecting():
        raise NoiseError("no noise")
    with pytest.raises(NonFiniteError, match=r"^1 image could not be made: slice 1: NaN$") as caught, failures.collecting():
        pass
    outer = Failures()
    outer.add("slice 2", MemoryError("4 GiB"))
    with pytest.raises(PartialScanError) as both, outer.collecting():
        raise caught.value
    reasons = "slice 2: not enough memory (4 GiB); slice 1: NonFiniteError: NaN"
    assert str(both.value) == f"2 images could not be made: {reasons}"
    with Failures().collecting():
        pass


def test_many_failures_are_told_in_a_line() -> None:
    failures = Failures()
    for number in range(30):
        failures.add(f"slice {number}", ReconError("too few lines"))
    with pytest.raises(ReconError) as caught, failures.collecting():
        pass
    assert str(caught.value).startswith("30 images could not be made: slice 0 and slice 1 and")
    assert str(caught.value).endswith("slice 9 and 20 more: too few lines")


def images(path: Path, numbers: Sequence[int]) -> list[ismrmrd.Image]:
    found = {image.slice: image for image in run(path).images}
    return [found[number] for number in numbers]


def test_the_images_of_an_array_that_has_gaps_leave_one_by_one(path: Path) -> None:
    came = images(path, [0, 2, 3, 4])
    keys = [counters_of(came[0])._replace(slice=number) for number in range(5)]

    def plans() -> deque[Plan]:
        return deque([Plan((1, 1, 3), list(keys[:3])), Plan((1, 1, 2), list(keys[3:]))])

    found = [([image.slice for image in array], shape) for array, shape in arrays(came, plans())]
    assert found == [([0], (1, 1, 1)), ([2], (1, 1, 1)), ([3, 4], (1, 1, 2))]
    assert not list(arrays([], plans()))
    assert [shape for _, shape in arrays(came, deque())] == [(1, 1, 1)] * 4
