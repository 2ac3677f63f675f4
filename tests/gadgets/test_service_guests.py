"""The resident service among guests that are no scans, idle, too large, unwelcome, or gone."""

import contextlib
import ipaddress
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gadgets.door import Door
from gadgets.metrics import PrometheusMetrics
from gadgets.service import Policy
from tests.doubles.helpers import TIMEOUT_S, Answer, _receive_all, stream
from tests.gadgets.test_service import QUICK, SLOW, Scan, assert_images, connect, running, scan, send, status, wait_until
from tests.serving.test_memory import HUGE
from untrained_recon.logs import logging_to
from untrained_recon.serving.memory import Budget

__all__ = ["scan"]
GIB = 1 << 30


@contextlib.contextmanager
def strict(**policy: Any) -> Iterator[Any]:
    """A service that runs under a policy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gadgets.service.Policy", lambda: Policy(**policy))
        with running(max_scans=policy.pop("max_scans", 1)) as service:
            yield service


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with strict(header_s=2.0, idle_s=3.0, budget=Budget(GIB, GIB // 2)) as made:
        yield made


def test_probes_queries_and_rubbish_are_no_scans(service: Any, scan: Scan, caplog: pytest.LogCaptureFixture) -> None:
    served = status(service)["served"]
    with caplog.at_level(logging.DEBUG), contextlib.ExitStack() as stack:
        for _ in range(20):
            connect(service).close()
            status(service)
            stack.enter_context(connect(service))
        with connect(service) as sock:
            sock.sendall(b"\6\0\1")
        with connect(service) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            answer = Answer()
            _receive_all(sock, answer)
        assert answer.errors[0].startswith("ProtocolError: expected the configuration")
        assert_images(send(service, stream(QUICK, *scan)))  # though but one scan is allowed, and 20 peers idle
    wait_until(lambda: status(service)["served"] > served)
    assert status(service)["served"] == served + 1
    assert "Traceback" not in caplog.text


def test_connections_without_a_header_are_given_up(service: Any) -> None:
    with connect(service) as idle, connect(service) as slow:
        slow.sendall(struct.pack("<HI", 2, 100))
        answers = [Answer(), Answer()]
        for sock, answer in zip((idle, slow), answers, strict=True):
            _receive_all(sock, answer)
    assert "HostSilentError" in answers[1].errors[0]


def test_a_host_that_falls_silent_is_given_up_by_name(service: Any, scan: Scan) -> None:
    with connect(service) as sock:
        sock.sendall(stream(QUICK, scan[0], scan[1][:5], close=False))
        answer = Answer()
        _receive_all(sock, answer)
    assert answer.errors == ["HostSilentError: the host sent nothing in time; the connection is given up"]
    wait_until(lambda: status(service)["scans"] == 0)


def test_scans_that_are_too_large_are_refused_by_name(service: Any, scan: Scan) -> None:
    answer = send(service, stream(QUICK, HUGE, scan[1]))
    assert answer.errors[0].startswith("ScanTooLargeError: an image of 1 coils, 1 x 8000 x 16000 encoded")
    assert_images(send(service, stream(QUICK, *scan)))


def test_a_fit_ends_when_its_host_leaves(service: Any, scan: Scan) -> None:
    with connect(service) as sock:
        sock.sendall(stream(SLOW, *scan))
        wait_until(lambda: status(service)["workers"]["busy"] == 1)
    wait_until(lambda: status(service)["scans"] == 0)
    assert_images(send(service, stream(QUICK, *scan)))
    assert status(service)["workers"]["restarts"] == 0


def test_what_comes_from_outside_is_told_on_one_line(service: Any, scan: Scan) -> None:
    for properties in ({"x\ny" + "z" * 5000: "1"}, {"name": '"\\e[1m"'}, {"config": "/etc/passwd\n"}):
        (error,) = send(service, stream({**QUICK, **properties}, *scan)).errors
        assert error.isprintable()
        assert error.startswith("ConfigError")
        assert len(error) < 500


@pytest.mark.needs("prometheus_client")
def test_health_is_told_over_http_too(scan: Scan) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def page(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    with running(metrics=PrometheusMetrics("127.0.0.1", port)) as service:
        assert page("/healthz")[0] == 200
        wait_until(lambda: page("/readyz")[0] == 200)
        assert json.loads(page("/readyz")[1])["workers"] == {"total": 1, "live": 1, "ready": 1, "busy": 0, "restarts": 0}
        assert page("/secrets")[0] == 404
        assert_images(send(service, stream(QUICK, *scan)))
        text = page("/metrics")[1]
    for line in (
        'workers{state="idle"} 1.0',
        "scans_in_progress 0.0",
        "images_waiting 0.0",
        "worker_restarts_total 0.0",
        'scan_seconds_bucket{le="3600.0"} 1.0',
        "build_info{version=",
    ):
        assert f"untrained_recon_{line}" in text


def test_only_allowed_networks_may_connect() -> None:
    for networks, expected in ((["127.0.0.0/8"], True), (["10.0.0.0/8", "::1/128"], False), ([], True)):
        door = Door(["127.0.0.1"], 0, [ipaddress.ip_network(text) for text in networks])
        with socket.create_connection(door.addresses[0]):
            time.sleep(0.05)
            entered = door.accept(door.listeners[0])
            assert (entered is not None) == expected
            if entered is not None:
                entered[0].close()
        door.close()


SERVER = """
import resource, socket, sys
from gadgets.door import Door
door = Door(["127.0.0.1"], 0)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(__import__("os").listdir("/proc/self/fd")) - 1, 4096))
print(door.addresses[0][1], flush=True)
sys.stdin.readline()
print([door.accept(door.listeners[0]) for _ in range(3)])
"""


def test_without_free_files_connections_are_closed_and_the_service_lives() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        peers = [socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) for _ in range(2)]
        out, _ = process.communicate("\n", timeout=TIMEOUT_S)
        assert out.strip() == "[None, None, None]"
        for peer in peers:
            with peer:
                assert peer.recv(1) == b""


def test_a_log_that_nobody_reads_holds_up_nobody() -> None:
    read, write = os.pipe()
    try:
        with logging_to(write, "json", "INFO"):
            for n in range(30_000):
                logging.info("line %d of more than a pipe takes", n)
        os.set_blocking(read, False)
        lines = os.read(read, 1 << 16).splitlines()
        assert json.loads(lines[0])["message"] == "line 0 of more than a pipe takes"
    finally:
        os.close(read)
        os.close(write)


def test_every_record_of_a_scan_has_its_id(scan: Scan, tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as file, logging_to(file.fileno(), "json", "INFO"), running() as service:
        assert_images(send(service, stream(QUICK, *scan)))
        wait_until(lambda: status(service)["served"] == 1)
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (report,) = [record["fields"] for record in records if record["fields"]]
    of_scan = [
        record
        for record in records
        if record["logger"] not in ("untrained_recon.serving.supervision", "untrained_recon.serving.slot", "py.warnings")
    ]
    assert len(of_scan) > 3
    assert {record["scan"] for record in of_scan} == {report["scan"]}


def test_lines_for_people_cannot_be_forged(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as file, logging_to(file.fileno(), "text", "INFO"):
        logging.info("of %s", "a\n2026 INFO forged\x1b[31m")
        try:
            raise ValueError("b\n2026 INFO forged")
        except ValueError:
            logging.exception("failed")
    lines = (tmp_path / "log").read_text().splitlines()
    assert not [line for line in lines if line.startswith("2026 INFO forged")]
    assert "\x1b" not in "".join(lines)
