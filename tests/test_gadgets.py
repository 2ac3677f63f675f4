"""The gadget at the end of a socket, in Gadgetron's wire protocol: images for good scans, ERROR and drained input for bad ones."""

import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest
from gadgetron.external.connection import Connection

from gadgets.acquisitions import reconstruct
from gadgets.connection import GadgetConnection, properties_of
from tests.helpers import Answer, play, read_raw, stream
from tests.scans import Protocol, body, header_of, measure, readouts, sampled_lines
from untrained_recon.errors import (
    ChannelCountError,
    ConfigError,
    EncodingError,
    HeaderError,
    IncompleteScanError,
    NoImagingDataError,
    NonFiniteError,
    ProtocolError,
    SamplingError,
)
from untrained_recon.wire import CLOSE, CONFIG, HEADER

QUICK = {"config": "fast", "fit.iterations": "3", "network.channels": "8", "refine.iterations": "2", "device": "cpu"}


def guarded(sock: socket.socket) -> None:
    """As ``python -m gadgets`` serves a gadget."""
    with GadgetConnection(sock) as connection:
        reconstruct(connection)


def stock(sock: socket.socket) -> None:
    """As ``python -m gadgetron`` serves a gadget."""
    with Connection(sock) as connection:
        reconstruct(connection)


def run(header: bytes, items: list[Any], properties: dict[str, str] = QUICK, serve: Any = guarded) -> Answer:
    return play(stream(properties, header, items), serve)


def assert_refused(answer: Answer, error: type[Exception], message: str) -> None:
    assert answer.closed, "no CLOSE"
    assert len(answer.errors) == 1
    assert answer.errors[0].startswith(error.__name__)
    assert message in answer.errors[0]
    assert isinstance(answer.failure, error)


@pytest.fixture(scope="module")
def scan(small_scan: Path) -> tuple[bytes, list[ismrmrd.Acquisition]]:
    return read_raw(small_scan)


@pytest.mark.parametrize("serve", [guarded, stock])
def test_a_scan_becomes_images_whoever_starts_the_gadget(
    serve: Callable[[socket.socket], None], scan: tuple[bytes, list[ismrmrd.Acquisition]]
) -> None:
    answer = run(*scan, serve=serve)
    assert (answer.failure, answer.errors, answer.closed) == (None, [], True)
    assert [(i.slice, i.image_series_index, i.data.shape) for i in answer.images] == [
        (0, 1, (1, 1, 64, 48)),
        (1, 1, (1, 1, 64, 48)),
    ]
    assert answer.images[0].meta["untrained_recon_config"] == "fast"
    assert answer.images[0].meta["untrained_recon_iterations"] == "3"


def test_what_is_not_an_acquisition_passes_through(scan: tuple[bytes, list[ismrmrd.Acquisition]]) -> None:
    header, acquisitions = scan
    waveform = ismrmrd.Waveform.from_array(np.arange(12, dtype=np.uint32).reshape(3, 4))
    answer = run(header, [acquisitions[0], waveform, *acquisitions[1:]])
    assert len(answer.images) == 2
    assert [w.to_bytes() for w in answer.waveforms] == [waveform.to_bytes()]


def test_complex_images_follow_on_request(scan: tuple[bytes, list[ismrmrd.Acquisition]]) -> None:
    answer = run(*scan, {**QUICK, "output.complex": "true"})
    assert [(i.slice, i.image_series_index) for i in answer.images] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    np.testing.assert_allclose(np.abs(answer.images[1].data), answer.images[0].data, rtol=1e-5)


def test_maps_follow_on_request_or_the_image_says_why_they_do_not(scan: tuple[bytes, list[ismrmrd.Acquisition]]) -> None:
    asked = {**QUICK, "recon.runs": "2", "evidence.spread": "true", "evidence.replicas": "4"}
    answer = run(*scan, asked)
    assert [(i.slice, i.image_series_index) for i in answer.images] == [(s, n) for s in (0, 1) for n in (1, 3, 4)]
    assert answer.images[2].meta["untrained_recon_noise_map"] == "4 replicas, noise level known, 1"
    without = run(*scan, {**asked, "refine.iterations": "0"})
    assert (without.errors, without.closed) == ([], True)
    assert [(i.slice, i.image_series_index) for i in without.images] == [(s, n) for s in (0, 1) for n in (1, 3)]
    assert without.images[0].meta["untrained_recon_noise_map"].startswith("missing: each replica would take a fit")


def test_a_volume_is_one_image_and_a_scan_that_ends_early_is_an_error_after_what_is_complete() -> None:
    volume = Protocol(matrix=(4, 24, 32), recon=(4, 24, 16), fov=(20.0, 240.0, 480.0), recon_fov=(20.0, 240.0, 240.0))
    ksp = measure(body(3, slices=4, fov=(20.0, 240.0, 240.0)), volume)
    lines = sampled_lines(volume, 2, 10)
    scan = readouts(ksp, volume, lines) + readouts(ksp, volume, lines, repetition=1)[:30]
    answer = run(header_of(volume), scan)
    assert [(i.repetition, i.data.shape) for i in answer.images] == [(0, (1, 4, 24, 16))]
    assert_refused(answer, IncompleteScanError, "slice 0, repetition 1 (30 readouts)")


def spoiled(acquisitions: list[ismrmrd.Acquisition], n: int, change: Callable[[Any], None]) -> list[ismrmrd.Acquisition]:
    copy = ismrmrd.Acquisition.from_bytes(acquisitions[n].to_bytes())
    change(copy)
    return [*acquisitions[:n], copy, *acquisitions[n + 1 :]]


def set_nan(acq: ismrmrd.Acquisition) -> None:
    acq.data[0, 3] = np.nan


def fewer_coils(acq: ismrmrd.Acquisition) -> None:
    acq.resize(acq.number_of_samples, 3)


def beyond_matrix(acq: ismrmrd.Acquisition) -> None:
    acq.idx.kspace_encode_step_1 = 64


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (set_nan, NonFiniteError, "holds NaN or Inf samples"),
        (fewer_coils, ChannelCountError, "has 3 channels, the scan began with 4"),
        (beyond_matrix, EncodingError, "outside the encoded matrix of 64 lines"),
    ],
)
@pytest.mark.parametrize("serve", [guarded, stock])
def test_a_bad_readout_is_an_error_and_images_before_it_still_arrive(
    change: Callable[[Any], None],
    error: type[Exception],
    message: str,
    serve: Any,
    scan: tuple[bytes, list[ismrmrd.Acquisition]],
) -> None:
    header, acquisitions = scan
    answer = run(header, spoiled(acquisitions, len(acquisitions) - 5, change), serve=serve)
    assert_refused(answer, error, message)
    assert [i.slice for i in answer.images] == [0]


def test_a_broken_header_is_an_error(scan: tuple[bytes, list[ismrmrd.Acquisition]]) -> None:
    assert_refused(run(scan[0][:200], scan[1]), HeaderError, "cannot be parsed")


def test_a_scan_without_imaging_readouts_is_an_error(scan: tuple[bytes, list[ismrmrd.Acquisition]]) -> None:
    assert_refused(run(scan[0], scan[1][:1]), NoImagingDataError, "without imaging readouts")


def test_an_unknown_setting_is_an_error_before_any_data_are_used(scan: tuple[bytes, list[ismrmrd.Acquisition]]) -> None:
    answer = run(*scan, {**QUICK, "fit.iteration": "3"})
    assert_refused(answer, ConfigError, "fit.iteration: unknown key (did you mean fit.iterations?)")
    assert not answer.images


def test_internal_errors_are_errors_too(scan: tuple[bytes, list[ismrmrd.Acquisition]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.jobs.reconstruct_image", lambda *_: 1 / 0)
    answer = run(*scan)
    assert answer.closed
    reason = "internal error, see the log (ZeroDivisionError: division by zero)"
    assert answer.errors == [f"PartialScanError: 2 images could not be made: slice 0 and slice 1: {reason}"]


def test_an_unknown_message_is_an_error_not_the_end(scan: tuple[bytes, list[ismrmrd.Acquisition]]) -> None:
    data = stream(QUICK, scan[0], scan[1][:3], close=False) + struct.pack("<H", 999) + b"whatever"
    assert_refused(play(data, guarded), ProtocolError, "message id 999 is not known")


def test_messages_out_of_order_are_an_error(scan: tuple[bytes, list[ismrmrd.Acquisition]]) -> None:
    data = struct.pack("<HI", HEADER, len(scan[0])) + scan[0] + struct.pack("<H", CLOSE)
    assert_refused(play(data, guarded), ProtocolError, f"expected the configuration (message id {CONFIG}), got message id {HEADER}")


def test_a_host_that_dies_ends_the_gadget_at_once(scan: tuple[bytes, list[ismrmrd.Acquisition]]) -> None:
    def cut_off(sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_RD)  # what was sent so far is read, then the end of the stream
        guarded(sock)

    answer = play(stream(QUICK, scan[0], scan[1][:3], close=False), cut_off)
    assert isinstance(answer.failure, ProtocolError)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (b"", {}),
        (b'<?xml version="1.0"?>\n\0', {}),
        (b"<configuration><config>fast</config><fit.lr> 1e-2 </fit.lr></configuration>", {"config": "fast", "fit.lr": "1e-2"}),
        (b'<configuration><property name="a" value="1"/><property name="b.c"/></configuration>\0', {"a": "1", "b.c": ""}),
    ],
)
def test_properties_of_a_chain(config: bytes, expected: dict[str, str]) -> None:
    assert properties_of(config) == expected


def test_configurations_that_cannot_be_read_are_refused() -> None:
    for config, message in (
        (b"<configuration", "not XML"),
        (b"<c><property/></c>", "without a name"),
        (b"<c><a/><a/></c>", "twice: 'a'"),
    ):
        with pytest.raises(ProtocolError, match=message):
            properties_of(config)


@pytest.mark.parametrize("launcher", ["gadgets", "gadgetron"])
def test_the_exit_status_of_the_process_is_not_0_after_an_error(
    launcher: str, scan: tuple[bytes, list[ismrmrd.Acquisition]]
) -> None:
    with socket.create_server(("localhost", 0)) as server:
        command = [sys.executable, "-m", launcher, str(server.getsockname()[1]), "gadgets.acquisitions", "reconstruct"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
            host, _ = server.accept()
            with host:
                host.sendall(stream({"config": "nowhere"}, scan[0], scan[1]))
                answer = b"".join(iter(lambda: host.recv(65536), b""))
            assert process.stderr is not None
            log = process.stderr.read().decode()
            assert process.wait(60) != 0
    assert b"'nowhere' is neither a preset" in answer
    assert answer.endswith(struct.pack("<H", CLOSE))
    assert "Traceback" in log


def test_a_target_that_does_not_load_is_an_error(scan: tuple[bytes, list[ismrmrd.Acquisition]]) -> None:
    with socket.create_server(("localhost", 0)) as server:
        command = [sys.executable, "-m", "gadgets", str(server.getsockname()[1]), "gadgets.nothing", "reconstruct"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as process:
            host, _ = server.accept()
            with host:
                host.sendall(stream(QUICK, scan[0], scan[1]))
                answer = b"".join(iter(lambda: host.recv(65536), b""))
            assert process.wait(60) == 1
    assert b"No module named 'gadgets.nothing'" in answer


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path) -> None:
    for name in ("numpy", "ismrmrd", "gadgetron", "torch"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the current folder')\n")
    command = [sys.executable, "-m", "gadgets", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_image_without_its_centre_costs_itself_alone() -> None:
    protocol = Protocol()
    ksp = measure(body(), protocol)
    hollow = sampled_lines(protocol, 1, 0)
    hollow[:, 12:20] = False
    lines = [readouts(ksp, protocol, hollow if n == 0 else np.ones((1, 32), bool), slice=n) for n in range(2)]
    answer = run(header_of(protocol), [acq for image in lines for acq in image])
    assert [image.slice for image in answer.images] == [1]
    assert_refused(answer, SamplingError, "slice 0: the centre of k-space was not sampled: 8 lines around it are missing")
