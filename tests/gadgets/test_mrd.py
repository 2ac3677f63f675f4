"""A scanner that speaks the MRD protocol, played by a small client."""

import json
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest

from gadgets.mrd import MRD, MrdConnection, parameters_of, settings_of, siemens_image
from gadgets.service import Service
from tests.doubles.helpers import TIMEOUT_S, read_raw
from tests.gadgets.test_service import running
from untrained_recon.errors import ProtocolError
from untrained_recon.wire import ACQUISITION, CLOSE, CONFIG, HEADER, IMAGE, TEXT, WAVEFORM

FILENAME = 1
QUICK = {"fit.iterations": 3, "network.channels": 8, "network.layers": 3}

Scan = tuple[bytes, list[ismrmrd.Acquisition]]


@dataclass
class Answer:
    """What the scanner gets."""

    images: list[ismrmrd.Image] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    closed: bool = False


def name(text: str) -> bytes:
    return struct.pack("<H1024s", FILENAME, text.encode())


def text(message_id: int, payload: bytes) -> bytes:
    return struct.pack("<HI", message_id, len(payload) + 1) + payload + b"\0"


def message(item: Any) -> bytes:
    kinds = {ismrmrd.Acquisition: ACQUISITION, ismrmrd.Waveform: WAVEFORM, ismrmrd.Image: IMAGE}
    return struct.pack("<H", kinds[type(item)]) + bytes(item.to_bytes())


def talk(service: Service, *messages: bytes) -> Answer:
    """Send messages and CLOSE, and take what comes back until the other side hangs up."""
    answer = Answer()
    with socket.create_connection(service.addresses[0], timeout=TIMEOUT_S) as sock:
        sock.sendall(b"".join([*messages, struct.pack("<H", CLOSE)]))
        read = sock.makefile("rb").read
        while head := read(2):
            assert not answer.closed, "something came after CLOSE"
            (message_id,) = struct.unpack("<H", head)
            if message_id == IMAGE:
                answer.images.append(ismrmrd.Image.deserialize_from(read))
            elif message_id == TEXT:
                payload = read(struct.unpack("<I", read(4))[0])
                assert payload.endswith(b"\0")
                answer.log.append(payload[:-1].decode())
            else:
                assert message_id == CLOSE
                answer.closed = True
    return answer


@pytest.fixture(scope="module")
def scan(small_scan: Path) -> Scan:
    return read_raw(small_scan)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(protocol=MRD) as made:
        yield made


def parameters(**values: object) -> bytes:
    return text(TEXT, json.dumps({"version": "1.1.0", "parameters": {**QUICK, **values}}).encode())


def test_name_header_parameters_and_readouts_become_images_and_log_lines(service: Service, scan: Scan) -> None:
    header, acquisitions = scan
    answer = talk(
        service,
        name("openrecon"),
        text(HEADER, header),
        parameters(config="fast", seed=4, dataConsistency="False"),
        *map(message, acquisitions),
    )
    assert answer.closed
    assert [image.slice for image in answer.images] == [0, 1]
    assert [line[:17] for line in answer.log] == ["INFO     slice 0,", "INFO     slice 1,"]
    meta = answer.images[0].meta
    assert meta["untrained_recon_config"] == "fast"
    assert meta["untrained_recon_seed"] == "4"
    assert meta["untrained_recon_iterations"] == "3"
    assert meta["DataRole"] == "Image"
    assert meta["Keep_image_geometry"] == "1"
    assert [float(v) for v in meta["ImageRowDir"]] == list(answer.images[0].read_dir)
    assert [float(v) for v in meta["ImageColumnDir"]] == list(answer.images[0].phase_dir)
    assert meta["SeriesDescription"] == "_UNTRAINED"
    assert answer.images[0].data.dtype == np.uint16
    low, high = (float(meta["WindowCenter"]) + sign * float(meta["WindowWidth"]) / 2 for sign in (-1, 1))
    assert 0 <= low < high < 4096
    assert 1500 < answer.images[0].data.max() <= 4095


@pytest.mark.parametrize(
    "config",
    [
        b'<configuration><property name="config" value="fast"/><property name="fit.iterations" value="3"/></configuration>',
        b'{"parameters": {"config": "fast", "fit.iterations": 3}}',
    ],
)
def test_the_configuration_may_come_as_text(config: bytes, service: Service, scan: Scan) -> None:
    answer = talk(service, text(CONFIG, config), text(HEADER, scan[0]), *map(message, scan[1]))
    assert [image.meta["untrained_recon_iterations"] for image in answer.images] == ["3", "3"]


def test_waveforms_and_late_texts_are_kept(service: Service, scan: Scan) -> None:
    waveform = ismrmrd.Waveform.from_array(np.arange(12, dtype=np.uint32).reshape(3, 4))
    items = [message(scan[1][0]), message(waveform), text(TEXT, b"a remark"), *map(message, scan[1][1:])]
    answer = talk(service, name("fast"), text(HEADER, scan[0]), parameters(), *items)
    assert len(answer.images) == 2
    assert answer.closed


def test_complex_images_keep_their_type(service: Service, scan: Scan) -> None:
    answer = talk(service, name("fast"), text(HEADER, scan[0]), parameters(**{"output.complex": True}), *map(message, scan[1]))
    assert [image.data.dtype for image in answer.images] == [np.uint16, np.complex64] * 2


def test_phases_keep_their_sign_in_12_bits(service: Service, scan: Scan) -> None:
    both = parameters(**{"output.complex": True, "output.phase": True})
    answer = talk(service, name("fast"), text(HEADER, scan[0]), both, *map(message, scan[1]))
    assert [image.image_type for image in answer.images[:3]] == [1, 5, 2]
    complex_image, phase = answer.images[1:3]
    assert phase.data.dtype == np.uint16
    meta = phase.meta
    radians = (phase.data - float(meta["GADGETRON_ScaleOffset"])) / float(meta["GADGETRON_ScaleRatio"])
    assert radians.min() < -3
    np.testing.assert_allclose(radians, np.angle(complex_image.data), atol=2 * np.pi / 4096)
    assert (meta["WindowCenter"], meta["WindowWidth"]) == ("2048", "4096")
    assert "GADGETRON_ScaleOffset" not in answer.images[0].meta


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([name("nothing"), "header"], "ConfigError: configuration 'nothing'"),
        ([name("fast"), "header", text(TEXT, b"{")], "ProtocolError: the scanner's parameters are not JSON"),
        ([name("fast"), "header", parameters(timebudget=3)], "ConfigError"),
        ([name("fast")], "ProtocolError: expected the header"),
        ([name("fast"), "header", "image"], "UnsupportedScanError: the scanner sent images"),
        ([name("fast"), "header"], "NoImagingDataError"),
    ],
)
def test_errors_are_texts_and_the_scanner_gets_its_close(messages: list[Any], error: str, service: Service, scan: Scan) -> None:
    image = ismrmrd.Image.from_array(np.zeros((4, 4), np.float32), transpose=False)
    known = {"header": text(HEADER, scan[0]), "image": message(image)}
    answer = talk(service, *(known[m] if isinstance(m, str) else m for m in messages))
    assert answer.closed
    assert not answer.images
    assert len(answer.log) == 1
    assert answer.log[0].startswith(f"ERROR    {error}")


def test_images_before_an_error_still_arrive(service: Service, scan: Scan) -> None:
    spoiled = ismrmrd.Acquisition.from_bytes(scan[1][-1].to_bytes())
    spoiled.data[0, 0] = np.nan
    answer = talk(service, name("fast"), text(HEADER, scan[0]), parameters(), *map(message, [*scan[1][:-1], spoiled]))
    assert [image.slice for image in answer.images] == [0]
    assert answer.log[-1].startswith("ERROR    NonFiniteError")


def test_names_that_name_nothing() -> None:
    assert settings_of(b"openrecon\0") == {}
    assert settings_of(b"") == {}
    assert settings_of(b"brain-4x\0") == {"config": "brain-4x"}


def test_parameters_have_the_labels_names_or_ours() -> None:
    found = parameters_of(b'{"parameters": {"timeBudget": 30, "fit.lr": 0.1, "config": ""}}\0')
    assert found == {"scan.time_budget_s": "30", "fit.lr": "0.1"}
    assert parameters_of(b'{"version": "1.1.0"}') == {}
    for broken in (b"[]", b'{"parameters": 3}', b"no"):
        with pytest.raises(ProtocolError):
            parameters_of(broken)


@pytest.mark.parametrize("shape", [(6, 8), (5, 7)])
def test_lines_and_columns_are_counted_backwards_about_the_centre(shape: tuple[int, int]) -> None:
    pixels = np.zeros(shape, np.float32)
    centre = (shape[0] // 2, shape[1] // 2)
    pixels[centre] = 1
    pixels[centre[0] + 1, centre[1] + 2] = 2
    image = ismrmrd.Image.from_array(pixels, transpose=False, slice=3, image_series_index=1)
    keys = ("DataRole", "ImageComment", "ImageProcessingHistory", "SeqDescription")
    image.meta = {**{f"GADGETRON_{key}": "x" for key in keys}, "GADGETRON_WindowCenter": "1", "GADGETRON_WindowWidth": "2"}
    made = siemens_image(image, 10.0)
    found = made.data[0, 0]
    assert (found[centre], found[centre[0] - 1, centre[1] - 2], found.sum()) == (10, 20, 30)
    assert (made.slice, made.meta["WindowCenter"], made.meta["WindowWidth"]) == (3, "10", "20")


def test_a_scanner_that_is_gone_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    connection = MrdConnection(ours)
    theirs.close()
    connection.log("INFO", "anyone there?")
    ours.close()
