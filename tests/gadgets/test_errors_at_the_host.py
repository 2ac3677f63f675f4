"""An error reaches the host whatever went wrong and through whatever door, and never while the host still sends."""

import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import ismrmrd
import numpy as np
import pytest
import torch

from gadgets import acquisitions, buckets, buffers
from gadgets.connection import GadgetConnection
from gadgets.mrd import MRD
from tests.doubles.helpers import TIMEOUT_S, Answer, host, play, read_raw, stream
from tests.doubles.streams import bucket_bytes, recon_data_bytes
from tests.gadgets.test_service import running
from untrained_recon.config import Config
from untrained_recon.recon.volume import reconstruct_image
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.readout import line_of
from untrained_recon.types import KSpace, Reconstruction
from untrained_recon.wire import CLOSE, TEXT

QUICK = {"config": "fast", "recon.method": "zero-filled", "device": "cpu", "output.form": "images"}
CLOSED = struct.pack("<H", CLOSE)
DOORS = {"acquisitions": acquisitions.reconstruct, "buckets": buckets.reconstruct, "buffers": buffers.reconstruct}
Scan = tuple[bytes, list[ismrmrd.Acquisition]]


@pytest.fixture(scope="module")
def scan(small_scan: Path) -> Scan:
    header, items = read_raw(small_scan)
    return header, items[1:]  # without the noise scan, as behind NoiseAdjust


def messages(door: str, scan: Scan, items: list[ismrmrd.Acquisition]) -> bytes:
    """The imaging readouts as a door takes them; slice by slice, but for acquisitions."""
    by_slice = [[acq for acq in items if acq.idx.slice == n] for n in range(2)]
    if door == "acquisitions":
        return stream({}, b"", items, close=False)[len(stream({}, b"", [], close=False)) :]
    if door == "buckets":
        return b"".join(bucket_bytes(group, []) for group in by_slice if group)
    return b"".join(buffer(scan, group) for group in by_slice if group)


def buffer(scan: Scan, items: list[ismrmrd.Acquisition]) -> bytes:
    encoding = parse_header(scan[0]).encodings[0]
    samples = items[0].number_of_samples
    data = np.zeros((samples, 64, 1, 4, 1, 1, 1), np.complex64, order="F")
    headers = np.empty((64, 1, 1, 1, 1), object)
    for row in range(64):
        headers[row, 0, 0, 0, 0] = ismrmrd.AcquisitionHeader()
    for acq in items:
        row = line_of(acq, encoding)
        data[:, row, 0, :, 0, 0, 0] = acq.data.T
        headers[row, 0, 0, 0, 0] = acq.getHead()
    return recon_data_bytes(data, headers, None)


def spoiled(items: list[ismrmrd.Acquisition]) -> list[ismrmrd.Acquisition]:
    bad = ismrmrd.Acquisition.from_bytes(items[-1].to_bytes())
    bad.data[0, 0] = np.nan
    return [*items[:-1], bad]


def started(header: bytes, properties: dict[str, str] = QUICK) -> bytes:
    return stream(properties, header, [], close=False)


ORIGINS: dict[str, tuple[Callable[[str, Scan], bytes], str, int]] = {
    "configuration": (
        lambda door, scan: started(scan[0], {**QUICK, "config": "nowhere"}) + messages(door, scan, scan[1]),
        "ConfigError",
        0,
    ),
    "header": (lambda door, scan: started(scan[0][:200]) + messages(door, scan, scan[1]), "HeaderError", 0),
    "sample": (lambda door, scan: started(scan[0]) + messages(door, scan, spoiled(scan[1])), "NonFiniteError", 1),
    "message": (
        lambda door, scan: started(scan[0]) + messages(door, scan, scan[1][: len(scan[1]) // 2]) + struct.pack("<HQ", 999, 7),
        "ProtocolError",
        1,
    ),
    "nothing": (lambda door, scan: started(scan[0]), "NoImagingDataError", 0),
}


def execute(door: str, data: bytes, pace_s: float = 0.0) -> Answer:
    def serve(sock: socket.socket) -> None:
        with GadgetConnection(sock) as connection:
            DOORS[door](connection)

    return play(data, serve, pace_s)


@pytest.fixture(scope="module")
def connect() -> Iterator[Callable[[str, bytes], Answer]]:
    with running() as service:
        yield lambda _, data: host(socket.create_connection(service.addresses[0]), data)


def assert_told(answer: Answer, error: str, images: int) -> None:
    assert answer.closed
    assert [text.partition(":")[0] for text in answer.errors] == [error]
    assert [image.slice for image in answer.images] == list(range(images))


@pytest.mark.parametrize(("door", "origin"), list(itertools.product(DOORS, ORIGINS)))
def test_every_error_is_told_after_the_data_by_a_gadget_and_by_the_service(
    door: str, origin: str, scan: Scan, connect: Callable[[str, bytes], Answer]
) -> None:
    make, error, images = ORIGINS[origin]
    for way in (execute, connect):
        assert_told(way(door, make(door, scan) + CLOSED), error, images)


@pytest.mark.parametrize("way", ["execute", "connect"])
def test_a_scan_that_ends_early_is_told(way: str, scan: Scan, connect: Callable[[str, bytes], Answer]) -> None:
    data = started(scan[0]) + messages("acquisitions", scan, scan[1][:-5]) + CLOSED
    assert_told(execute("acquisitions", data) if way == "execute" else connect("", data), "IncompleteScanError", 1)


def reconstruct_first(data: KSpace, config: Config, *_: object, device: str = "cpu") -> Reconstruction:
    if data.index.slice == 1:
        raise RuntimeError("the device is gone")
    return reconstruct_image(data, config, torch.device(device))


@pytest.mark.parametrize("door", DOORS)
def test_a_device_that_fails_is_told_after_the_images_before(
    door: str, scan: Scan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("untrained_recon.serving.jobs.reconstruct_image", reconstruct_first)
    data = started(scan[0]) + messages(door, scan, scan[1]) + CLOSED
    assert_told(execute(door, data), "PartialScanError", 1)
    assert [r.message for r in caplog.records].count("the scan failed") == 1


@pytest.mark.slow
def test_a_device_that_fails_in_the_service_is_told_after_the_images_before(scan: Scan) -> None:
    data = started(scan[0]) + messages("acquisitions", scan, scan[1]) + CLOSED
    with running(task=reconstruct_first) as service:
        answer = host(socket.create_connection(service.addresses[0]), data)
    assert_told(answer, "PartialScanError", 1)


@pytest.mark.parametrize("door", DOORS)
def test_a_scan_that_goes_on_for_long_is_followed_to_its_close(
    door: str, scan: Scan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = started(scan[0], {**QUICK, "fit.lr": "x"}) + messages(door, scan, scan[1]) + CLOSED
    assert_told(execute(door, data, pace_s=0.15), "ConfigError", 0)
    assert "not waited for" not in caplog.text


@pytest.mark.parametrize("origin", ["configuration", "header"])
def test_a_host_that_never_says_close_is_told_when_it_has_been_silent(
    origin: str, scan: Scan, caplog: pytest.LogCaptureFixture
) -> None:
    make, error, images = ORIGINS[origin]
    assert_told(execute("acquisitions", make("acquisitions", scan)), error, images)
    log = [record.message for record in caplog.records]
    assert log.index("the scan failed") < next(n for n, text in enumerate(log) if "its CLOSE is not waited for" in text)


def test_a_busy_service_refuses_after_the_data(scan: Scan) -> None:
    with running(max_scans=0) as service:
        data = started(scan[0]) + messages("acquisitions", scan, scan[1]) + CLOSED
        answer = host(socket.create_connection(service.addresses[0]), data)
    assert_told(answer, "ServiceBusyError", 0)


def test_a_scanner_hears_of_an_error_at_once_and_gets_its_close_after_its_own(scan: Scan) -> None:
    with running(protocol=MRD) as service, socket.create_connection(service.addresses[0], timeout=TIMEOUT_S) as sock:
        sock.sendall(started(scan[0], {"config": "nothing"}) + messages("acquisitions", scan, scan[1][:2]))
        read = sock.makefile("rb").read
        message_id, length = struct.unpack("<HI", read(6))
        assert message_id == TEXT
        assert read(length).startswith(b"ERROR    ConfigError: ")
        sock.sendall(messages("acquisitions", scan, scan[1][2:]) + CLOSED)
        assert read() == CLOSED


class Hasty(GadgetConnection):
    """Says ERROR at once, which crashes a Gadgetron that still sends."""

    def report(self, text: str) -> None:
        self.send_error(text)
        self.drain()


class Impatient(GadgetConnection):
    """Waits for CLOSE, but not for what the host does then."""

    def report(self, text: str) -> None:
        self.drain()
        self.send_error(text)


@pytest.mark.parametrize("kind", [Hasty, Impatient])
def test_the_double_finds_an_error_that_comes_too_early(kind: type[GadgetConnection], scan: Scan) -> None:
    def serve(sock: socket.socket) -> None:
        with kind(sock) as connection:
            acquisitions.reconstruct(connection)

    data = started(scan[0], {**QUICK, "fit.lr": "x"}) + messages("acquisitions", scan, scan[1]) + CLOSED
    with pytest.raises(AssertionError, match="before the host had closed its side"):
        play(data, serve)
