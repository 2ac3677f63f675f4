"""The resident service under what a day in a hospital may bring."""

import contextlib
import dataclasses
import functools
import json
import logging
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import psutil
import pytest
import torch

from gadgets.metrics import Metrics, PrometheusMetrics
from gadgets.service import GADGETRON, Protocol, Service
from tests.doubles.helpers import TIMEOUT_S, Answer, _receive_all, acquisition, read_raw, stream
from tests.doubles.streams import bucket_bytes
from untrained_recon.config import Config, ScanConfig
from untrained_recon.errors import ConfigError, FitError, ServiceStoppedError
from untrained_recon.phantom.simulation import Simulation, simulate
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.serving.pool import FitPool, Task, reconstruct_on
from untrained_recon.types import KSpace, Reconstruction
from untrained_recon.wire import CLOSE

QUICK = {"config": "fast", "fit.iterations": "3", "network.channels": "8", "refine.iterations": "2", "network.layers": "3"}
SLOW = {**QUICK, "fit.iterations": "1000000", "fit.discrepancy": "0"}

Scan = tuple[bytes, list[ismrmrd.Acquisition]]


@pytest.fixture(scope="module")
def scan(small_scan: Path) -> Scan:
    return read_raw(small_scan)


@contextlib.contextmanager
def running(
    workers: int = 1,
    max_scans: int = 64,
    grace_s: float = 30.0,
    task: Task | None = None,
    metrics: Metrics | None = None,
    protocol: Protocol = GADGETRON,
) -> Iterator[Service]:
    service = Service(["127.0.0.1"], 0, FitPool(["cpu"] * workers, threads=1, task=task), max_scans, metrics, protocol)
    thread = threading.Thread(target=service.run, args=(grace_s,))
    thread.start()
    try:
        yield service
    finally:
        service.stop()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(workers=2) as made:
        yield made


def connect(service: Service) -> socket.socket:
    return socket.create_connection(service.addresses[0], timeout=TIMEOUT_S)


def send(service: Service, data: bytes) -> Answer:
    answer = Answer()
    with connect(service) as sock:
        sender = threading.Thread(target=sock.sendall, args=(data,), daemon=True)
        sender.start()
        _receive_all(sock, answer)
        sender.join(TIMEOUT_S)
    return answer


def assert_images(answer: Answer, seed: str = "0") -> None:
    assert (answer.errors, answer.closed) == ([], True)
    assert [i.slice for i in answer.images] == [0, 1]
    assert {i.meta["untrained_recon_seed"] for i in answer.images} == {seed}


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def status(service: Service) -> dict[str, Any]:
    with connect(service) as sock:
        sock.sendall(struct.pack("<HQQQ", 6, 0, 77, 6) + b"health")
        message_id, correlation, length = struct.unpack("<HQQ", sock.recv(18, socket.MSG_WAITALL))
        assert (message_id, correlation) == (7, 77)
        found: dict[str, Any] = json.loads(sock.recv(length, socket.MSG_WAITALL))
        return found


def test_every_kind_of_input_is_known_by_its_first_message(service: Service, scan: Scan) -> None:
    header, acquisitions = scan
    assert_images(send(service, stream(QUICK, header, acquisitions)))
    imaging = acquisitions[1:]
    bucket = stream(QUICK, header, [], close=False) + bucket_bytes(imaging, []) + struct.pack("<H", CLOSE)
    assert_images(send(service, bucket))


def test_twenty_scans_at_once_get_their_own_images(service: Service, scan: Scan) -> None:
    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(lambda n: send(service, stream({**QUICK, "seed": str(n)}, *scan)), range(20)))
    for n, answer in enumerate(answers):
        assert_images(answer, str(n))


def test_bad_scans_end_in_errors_and_the_service_goes_on(service: Service, scan: Scan) -> None:
    header, acquisitions = scan
    for data, message in (
        (stream({"config": "none"}, header, acquisitions), "ConfigError"),
        (stream(QUICK, header[:200], acquisitions), "HeaderError"),
        (stream(QUICK, header, []), "NoImagingDataError: the scan ended without data"),
        (stream(QUICK, header, [acquisition(np.full((4, 96), np.nan, np.complex64))]), "NonFiniteError"),
    ):
        answer = send(service, data)
        assert answer.closed
        assert len(answer.errors) == 1
        assert message in answer.errors[0]
    assert_images(send(service, stream(QUICK, header, acquisitions)))


def test_a_client_that_dies_mid_scan_leaves_nothing_behind(service: Service, scan: Scan) -> None:
    for n in (1, 10, len(scan[1])):
        with connect(service) as sock:
            sock.sendall(stream(QUICK, scan[0], scan[1][:n], close=False))
    wait_until(lambda: status(service)["scans"] == 0)
    assert_images(send(service, stream(QUICK, *scan)))


def test_a_deadline_gives_early_images(service: Service, scan: Scan) -> None:
    answer = send(service, stream({**SLOW, "fit.time_budget_s": "0.1"}, *scan))
    assert_images(answer)
    assert {i.meta["untrained_recon_stop_reason"] for i in answer.images} <= {"time budget", "fallback"}  # on a slow machine


def test_ipv6_is_served_beside_ipv4_where_there_is_one(scan: Scan) -> None:
    service = Service(["127.0.0.1", "::1", "192.0.2.1"], 0, FitPool(["cpu"], threads=1), max_scans=4)
    thread = threading.Thread(target=service.run, args=(30.0,))
    thread.start()
    try:
        assert 1 <= len(service.addresses) <= 2  # 192.0.2.1 is nobody's
        for address in service.addresses:
            with socket.create_connection(address, timeout=TIMEOUT_S) as sock:
                sock.sendall(stream(QUICK, *scan))
                answer = Answer()
                _receive_all(sock, answer)
                assert_images(answer)
    finally:
        service.stop()
        thread.join(TIMEOUT_S)
    with pytest.raises(ConfigError, match="cannot listen on port 0 of 192"):
        Service(["192.0.2.1"], 0, FitPool([], threads=1), max_scans=1)


@pytest.mark.slow
def test_a_slow_reader_holds_up_nobody_else(service: Service, scan: Scan, tmp_path: Path) -> None:
    large = Simulation(shape=(512, 512), coils=1, accel=1, acs=16, pattern="equispaced", slices=8, noise=0.01, seed=1)
    simulate(tmp_path / "large.h5", large)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # its 8 MiB of images fit no buffer on the way
        slow.settimeout(TIMEOUT_S)
        slow.connect(service.addresses[0])
        slow.sendall(stream(QUICK, *read_raw(tmp_path / "large.h5")))
        assert_images(send(service, stream(QUICK, *scan)))
        assert status(service)["scans"] == 1
        answer = Answer()
        _receive_all(slow, answer)
    assert ([i.slice for i in answer.images], answer.errors, answer.closed) == (list(range(8)), [], True)


def test_one_scan_too_many_is_refused_by_name(scan: Scan) -> None:
    with running(max_scans=1) as service, connect(service) as first:
        first.sendall(stream(QUICK, scan[0], scan[1][:5], close=False))
        wait_until(lambda: status(service)["scans"] == 1)
        refused = send(service, stream(QUICK, *scan))
        assert refused.errors == ["ServiceBusyError: the service has 1 scans already; repeat this one later"]


@pytest.mark.slow
def test_a_worker_killed_mid_fit_is_replaced_and_the_scan_is_finished(scan: Scan) -> None:
    with running() as service, ThreadPoolExecutor(1) as client:
        assert_images(send(service, stream(QUICK, *scan)))
        before = multiprocessing.active_children()
        answer = client.submit(send, service, stream({**SLOW, "fit.time_budget_s": "3"}, *scan))
        time.sleep(1.0)
        for worker in before:
            worker.kill()
        assert_images(answer.result(TIMEOUT_S))
        assert_images(send(service, stream(QUICK, *scan)))


def failing(error: Exception, data: KSpace, config: Config, device: str, seconds: float) -> Reconstruction:
    """A worker's task whose fits fail."""

    def fit(*_: object, **__: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("untrained_recon.recon.run.fit", fit)
        return reconstruct_on(data, config, device, seconds)


def named_after_its_device(data: KSpace, config: Config, device: str, seconds: float) -> Reconstruction:
    """A worker's task for devices that are not there."""
    time.sleep(0.2)
    recon = reconstruct_on(data, config, "cpu", 0.0)
    return dataclasses.replace(recon, account=dataclasses.replace(recon.account, device=device))


def deadly(data: KSpace, config: Config, device: str, seconds: float) -> Reconstruction:
    """A worker's task that kills the worker, as a fault in a driver does, unless nothing is to be fitted."""
    if seconds > 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return reconstruct_on(data, config, device, seconds)


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("out of memory"), FitError("the loss became nan")])
def test_fits_that_fail_become_conventional_images(error: Exception, scan: Scan) -> None:
    with running(task=functools.partial(failing, error)) as service:
        answer = send(service, stream(QUICK, *scan))
    assert_images(answer)
    for image in answer.images:
        assert image.meta["untrained_recon_fallback_reason"] == f"{type(error).__name__}: {error}"


def test_an_image_that_kills_every_worker_becomes_a_conventional_one(scan: Scan) -> None:
    with running(task=deadly) as service:
        answer = send(service, stream(QUICK, scan[0], [a for a in scan[1] if a.idx.slice == 0]))
    assert (answer.errors, len(answer.images)) == ([], 1)
    assert answer.images[0].meta["untrained_recon_method"] == "cg-sense"


@pytest.mark.needs("prometheus_client")
def test_metrics_and_the_log_tell_what_happened(scan: Scan, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with caplog.at_level(logging.INFO), running(metrics=PrometheusMetrics("127.0.0.1", port)) as service:
        assert_images(send(service, stream(QUICK, *scan)))
        assert send(service, stream({"config": "none"}, *scan)).errors
        wait_until(lambda: status(service)["served"] == 2)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            text = page.read().decode()
    for line in (
        'scans_total{outcome="ok"} 1.0',
        'scans_total{outcome="ConfigError"} 1.0',
        "images_total 2.0",
        "fallbacks_total 0.0",
    ):
        assert f"untrained_recon_{line}" in text
    reports = [r.fields for r in caplog.records if r.name == "gadgets.service" and hasattr(r, "fields")]
    assert (reports[0]["images"], reports[0]["iterations"], reports[0]["outcome"]) == (2, 6, "ok")
    assert reports[0]["bytes"] == len(stream(QUICK, *scan))
    assert reports[0]["fit_seconds"] > 0
    assert reports[1]["outcome"].startswith("ConfigError")


def test_stopping_ends_waiting_and_running_scans_in_an_error(scan: Scan) -> None:
    with running(grace_s=0.5) as service, ThreadPoolExecutor(3) as clients:
        answers = [clients.submit(send, service, stream(SLOW, *scan)) for _ in range(3)]
        wait_until(lambda: status(service)["scans"] == 3)
        service.stop()
        for answer in answers:
            found = answer.result(TIMEOUT_S)
            assert found.closed
            assert len(found.errors) == 1
            assert found.errors[0].startswith("ServiceStoppedError")


def test_an_image_that_comes_after_the_end_is_an_error_at_once(scan: Scan) -> None:
    (data,) = assemble([[a for a in scan[1] if a.idx.slice == 0]], parse_header(scan[0]), ScanConfig())
    pool = FitPool([], threads=1)
    pool.close(0.0)
    assert isinstance(pool.submit("late", data, Config(), 1.0).exception(TIMEOUT_S), ServiceStoppedError)


def test_a_scanner_that_takes_its_time_is_waited_for(service: Service, scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gadgets.service.HEALTH_TIMEOUT_S", 0.1)
    with connect(service) as sock:
        time.sleep(0.5)
        sock.sendall(stream(QUICK, *scan))
        answer = Answer()
        _receive_all(sock, answer)
    assert_images(answer)


@pytest.mark.slow
def test_nothing_leaks_over_many_scans(service: Service, scan: Scan) -> None:
    process = psutil.Process()
    one_slice = [a for a in scan[1] if a.idx.slice == 0]
    data = stream({**QUICK, "fit.iterations": "1"}, scan[0], one_slice)

    def batch(n: int) -> tuple[int, int, int]:
        with ThreadPoolExecutor(4) as clients:
            for answer in clients.map(lambda _: send(service, data), range(n)):
                assert len(answer.images) == 1
        wait_until(lambda: status(service)["scans"] == 0)
        return process.num_threads(), process.num_fds(), process.memory_info().rss

    batch(20)
    threads, files, memory = batch(20)
    after = batch(200)
    assert after[0] <= threads + 1
    assert after[1] <= files + 1
    assert after[2] <= memory + (50 << 20)


@contextlib.contextmanager
def serving(*options: str) -> Iterator[tuple["subprocess.Popen[str]", Any]]:
    """The command in a process of its own, and where it listens."""
    command = [
        sys.executable,
        "-m",
        "untrained_recon.cli",
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--device",
        "cpu",
        *options,
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = int(process.stderr.readline().split("127.0.0.1', ")[1].split(")")[0])
        yield process, type("Address", (), {"addresses": [("127.0.0.1", port)]})


def end(process: "subprocess.Popen[str]") -> str:
    """SIGTERM, and the log that it leaves."""
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    return log


def test_the_command_serves_until_sigterm(scan: Scan) -> None:
    with serving() as (process, address):
        assert_images(send(address, stream(QUICK, *scan)))
        log = end(process)
    assert '"outcome": "ok"' in log


def test_sigterm_under_load_ends_every_scan_in_an_error(scan: Scan) -> None:
    with serving("--grace", "0.5") as (process, address), ThreadPoolExecutor(3) as clients:
        answers = [clients.submit(send, address, stream(SLOW, *scan)) for _ in range(3)]
        wait_until(lambda: status(address)["scans"] == 3)
        log = end(process)
        for answer in answers:
            (message,) = answer.result(TIMEOUT_S).errors
            assert message.startswith("ServiceStoppedError")
    assert log.count('"outcome": "ServiceStoppedError') == 3


def test_images_are_spread_over_all_devices(scan: Scan) -> None:
    (data,) = assemble([[a for a in scan[1] if a.idx.slice == 0]], parse_header(scan[0]), ScanConfig())
    pool = FitPool(["cuda:0", "cuda:1"], threads=1, task=named_after_its_device)
    try:
        waiting = [pool.submit(f"scan {n % 2}", data, Config(), 1.0) for n in range(6)]
        made = [future.result(TIMEOUT_S) for future in waiting]
    finally:
        pool.close(1.0)
    assert {recon.account.device for recon in made} == {"cuda:0", "cuda:1"}
