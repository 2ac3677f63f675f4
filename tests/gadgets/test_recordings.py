"""Streams recorded from a real Gadgetron, byte for byte through the gadgets."""

import contextlib
import gzip
import importlib.util
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gadgets import acquisitions, buckets, buffers
from gadgets.connection import GadgetConnection
from gadgets.readers import READERS
from gadgets.source import GuardedSocket
from tests.conftest import DATA
from tests.doubles.helpers import Answer, play
from untrained_recon.errors import NoImagingDataError, ProtocolError
from untrained_recon.metrics import nrmse
from untrained_recon.wire import ACQUISITION, BUCKET, CONFIG, HEADER, IMAGE_ARRAY, RECON_DATA, WAVEFORM, configuration_xml

RECORDINGS = sorted(p.relative_to(DATA).as_posix() for p in DATA.glob("gadgetron/**/*.bin.gz")) or ["gadgetron/none.bin.gz"]
GADGETS = {"acquisitions": acquisitions.reconstruct, "bucket": buckets.reconstruct, "recondata": buffers.reconstruct}


def recording(path: Path) -> bytes:
    with gzip.open(path) as f:
        return f.read()


def source_of(data: bytes) -> tuple[GuardedSocket, Callable[[], None]]:
    ours, theirs = socket.socketpair()

    def send() -> None:
        with ours, contextlib.suppress(OSError):
            ours.sendall(data)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()

    def finish() -> None:
        theirs.close()
        thread.join()

    return GuardedSocket(theirs), finish


def messages(data: bytes) -> Iterator[tuple[int, Any]]:
    source, finish = source_of(data)
    try:
        while True:
            source.begin_message()
            (message_id,) = struct.unpack("<H", source.read(2))
            if message_id == 4:
                return
            if message_id in (CONFIG, HEADER, 8):
                form = "<Q" if message_id == 8 else "<I"
                yield message_id, source.read(struct.unpack(form, source.read(struct.calcsize(form)))[0])
            else:
                yield message_id, READERS[message_id](source)
    finally:
        finish()


@pytest.fixture(scope="module")
def wire() -> ModuleType:
    """The decoder that was written from the recorded bytes, independently of this package."""
    path = DATA.parent / "tools" / "wire.py"
    if not path.exists():
        pytest.skip("the independent decoder of the development data is not there (set UNTRAINED_RECON_DATA)")
    spec = importlib.util.spec_from_file_location("wire", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_same_acquisition(ours: Any, theirs: dict[str, Any]) -> None:
    assert bytes(ours.getHead()) == theirs["header"]["raw"]
    np.testing.assert_array_equal(ours.data, theirs["data"])
    np.testing.assert_array_equal(ours.traj.ravel(), theirs["trajectory"])


def assert_same_buffer(ours: Any, theirs: dict[str, Any]) -> None:
    np.testing.assert_array_equal(ours.data, theirs["data"])
    assert [bytes(h) for h in ours.headers.ravel()] == [h["raw"] for h in theirs["headers"].ravel()]
    assert tuple(ours.sampling.recon_matrix) == theirs["sampling"]["recon_matrix"]
    assert tuple(ours.sampling.sampling_limits[1]) == theirs["sampling"]["e1"]


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_decode_to_the_numbers_of_an_independent_reading(
    name: str, shared: Callable[[str], Path], wire: ModuleType
) -> None:
    data = recording(shared(name))
    if "bucket_traj.to_gadget" in name:
        with pytest.raises(ProtocolError, match="announces 16384 data trajectory bytes, its headers say 8192"):
            list(messages(data))
        return
    ours, theirs = list(messages(data)), [m[1:] for m in wire.messages(data) if m[1] != 4]
    assert [m[0] for m in ours] == [m[0] for m in theirs]
    for (message_id, mine), (_, yours) in zip(ours, theirs, strict=True):
        if message_id in (CONFIG, HEADER, 8):
            assert mine == yours
        elif message_id == ACQUISITION:
            assert_same_acquisition(mine, yours)
        elif message_id == WAVEFORM:
            np.testing.assert_array_equal(mine.data, yours["data"])
        elif message_id == RECON_DATA:
            for bit, expected in zip(mine, yours, strict=True):
                assert_same_buffer(bit.data, expected["data"])
                assert (bit.ref is None) == (expected["ref"] is None)
                if bit.ref is not None:
                    assert_same_buffer(bit.ref, expected["ref"])
        elif message_id == BUCKET:
            for part in ("data", "ref"):
                for acq, expected in zip(getattr(mine, part), yours[part], strict=True):
                    assert_same_acquisition(acq, expected)
            for waveform, expected in zip(mine.waveforms, yours["waveforms"], strict=True):
                np.testing.assert_array_equal(waveform.data, expected["data"])


def through_gadget(name: str, path: Path, properties: dict[str, str]) -> Answer:
    """The recording with its CONFIG exchanged for ours, the rest as the server sent it."""
    data = recording(path)
    (length,) = struct.unpack_from("<I", data, 2)
    config = configuration_xml({"config": "fast", "device": "cpu", "output.form": "images", **properties})
    target = GADGETS[name.rsplit("_", 1)[1]]

    def serve(sock: socket.socket) -> None:
        with GadgetConnection(sock) as connection:
            target(connection)

    return play(struct.pack("<HI", CONFIG, len(config)) + config + data[6 + length :], serve)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "truth", "most"),
    [
        ("brain16_gre_r3_acquisitions", "brain16_gre_r3.truth_white", 0.09),
        ("brain16_gre_r3_bucket", "brain16_gre_r3.truth_white", 0.09),
        ("brain16_gre_r3_recondata", "brain16_gre_r3.truth_white", 0.09),
        ("brain8_pd_asym_acquisitions", "brain8_pd_asym.truth_white", 0.12),
        ("brain8_pd_asym_recondata", "brain8_pd_asym.truth_white", 0.12),
        ("brain8_pd_pf6_8_recondata", "brain8_pd_pf6_8.truth_white", 0.12),
        ("brain8_pd_wave_bucket", "brain8_pd_wave.truth_white", 0.08),
        ("brain8_pd_separate_recondata", "brain8_pd_separate.truth_white", 0.08),
        ("ge_frfse_3slice_r2_bucket", "ge_frfse_3slice_r2.truth_white", 0.12),
    ],
)
def test_gadgets_make_correct_images_of_recorded_streams(name: str, truth: str, most: float, shared: Callable[[str], Path]) -> None:
    path = shared(f"gadgetron/{name}.to_gadget.bin.gz")
    truths = np.load(shared(f"raw/{truth}.npy"))
    answer = through_gadget(name, path, {"fit.iterations": "120"})
    assert (answer.errors, answer.failure) == ([], None)
    assert len(answer.images) == len(truths)
    for image in answer.images:
        assert nrmse(image.data[0, 0], truths[image.slice]) < most


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        ("brain16_gre_r3_acquisitions", "brain16_gre_r3_bucket", "brain16_gre_r3_recondata"),
        (
            "ge_frfse_3slice_r2_acquisitions",
            "ge_frfse_3slice_r2_bucket",
            "ge_frfse_3slice_r2_recondata",
            "ge_frfse_3slice_r2_recondata_loc3",
        ),
    ],
)
@pytest.mark.parametrize(
    "settings",
    [
        {"recon.method": "cg-sense"},
        {"fit.iterations": "2", "network.channels": "8", "refine.iterations": "0", "compute.precision": "float32"},
    ],
    ids=["cg-sense", "fit"],
)
def test_every_kind_of_input_gives_the_same_image(
    names: tuple[str, ...], settings: dict[str, str], shared: Callable[[str], Path]
) -> None:
    results = []
    for name in names:
        target = name.removesuffix("_loc3")
        answer = through_gadget(target, shared(f"gadgetron/{name}.to_gadget.bin.gz"), settings)
        results.append(np.stack([i.data[0, 0] for i in sorted(answer.images, key=lambda i: i.slice)]))
    for other in results[1:]:
        assert np.linalg.norm(other - results[0]) / np.linalg.norm(results[0]) < 1e-3


def test_recon_data_is_answered_with_image_arrays_that_carry_their_meta(shared: Callable[[str], Path], wire: ModuleType) -> None:
    path = shared("gadgetron/ge_frfse_3slice_r2_recondata_loc3.to_gadget.bin.gz")
    sent: list[bytes] = []

    class Recorder(GadgetConnection):
        def send_bytes(self, message: bytes) -> None:
            sent.append(message)

    data = recording(path)
    (length,) = struct.unpack_from("<I", data, 2)
    config = configuration_xml(
        {"config": "fast", "device": "cpu", "fit.iterations": "2", "network.channels": "8", "refine.iterations": "2"}
    )

    def serve(sock: socket.socket) -> None:
        with Recorder(sock) as connection:
            buffers.reconstruct(connection)

    answer = play(struct.pack("<HI", CONFIG, len(config)) + config + data[6 + length :], serve)
    assert (answer.failure, len(sent)) == (None, 1)
    ((_, message_id, array),) = wire.messages(sent[0])
    assert message_id == IMAGE_ARRAY
    assert array["data"].shape == (128, 128, 1, 1, 1, 1, 3)
    assert len(array["raw_headers"]) == len(array["attributes"]) == 3
    for text in (b"GADGETRON_DataRole", b"sampling_limits_E1", b"encoding_FOV", b"recon_FOV", b"GADGETRON_ImageComment"):
        assert text in array["attributes"][0]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("shepp_logan/bucket_traj_bucket", ProtocolError, "trajectory bytes"),
        ("brain8_pd_asym_recondata_rejected_recondata", NoImagingDataError, "ended without a buffer"),
    ],
)
def test_malformed_recordings_end_in_an_error(
    name: str, error: type[Exception], message: str, shared: Callable[[str], Path]
) -> None:
    answer = through_gadget(name, shared(f"gadgetron/{name.rsplit('_', 1)[0]}.to_gadget.bin.gz"), {})
    assert answer.closed
    assert isinstance(answer.failure, error)
    assert len(answer.errors) == 1
    assert message in answer.errors[0]


def test_what_is_not_accepted_passes_byte_for_byte(shared: Callable[[str], Path]) -> None:
    name = "shepp_logan/acquisitions_wav"
    data = recording(shared(f"gadgetron/{name}.to_gadget.bin.gz"))

    def serve(sock: socket.socket) -> None:
        with GadgetConnection(sock) as connection:
            connection.open()
            connection.accept(IMAGE_ARRAY)
            assert list(connection) == []

    answer = play(data, serve)
    theirs = recording(shared(f"gadgetron/{name}.from_gadget.bin.gz"))
    assert len(answer.waveforms) == 5
    sizes = sum(len(x.to_bytes()) + 2 for x in [*answer.acquisitions, *answer.waveforms])
    assert sizes == len(theirs) - 2
