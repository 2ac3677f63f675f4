"""A service with its page: a scan is seen while it is fitted, and afterwards."""

import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the page needs the extra 'web'")

from gadgets.metrics import PrometheusMetrics
from gadgets.service import Service
from tests.doubles.helpers import TIMEOUT_S, read_raw, stream
from tests.gadgets.test_service import QUICK, SLOW, assert_images, connect, send, wait_until
from tests.web.test_web import ask
from untrained_recon.serving.pool import FitPool
from untrained_recon.web import Web


def test_a_scan_is_seen_while_it_is_fitted_and_afterwards(small_scan: Path) -> None:
    scan = read_raw(small_scan)
    web, metrics = Web("127.0.0.1", 0), PrometheusMetrics("127.0.0.1", None)
    pool = FitPool(["cpu"], threads=1, show=web.history.glimpse)
    service = Service(["127.0.0.1"], 0, pool, 4, metrics, history=web.history)
    web.start(service.status, lambda: pool.places, metrics.pages)
    base = f"http://127.0.0.1:{web.address[1]}"
    thread = threading.Thread(target=service.run, args=(0.0,))
    thread.start()
    try:
        with contextlib.ExitStack() as stack:  # browsers that hang, and one that asks and never takes the answer
            idle = [stack.enter_context(socket.create_connection(web.address, TIMEOUT_S)) for _ in range(40)]
            idle[0].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
            assert_images(send(service, stream(QUICK, *scan)))
        wait_until(lambda: "READY" in ask(base).text)
        with connect(service) as sock:
            sock.sendall(stream(SLOW, *scan))
            wait_until(lambda: "of at most 1000000" in ask(base).text and "data:image/png" in ask(base).text)
            assert "<td>busy</td>" in ask(base).text
            (running,) = [entry for entry in web.history.scans() if entry.running]
            image = next(iter(running.images.values()))
            assert image.glimpse is not None
            assert image.glimpse.picture is not None
            assert image.glimpse.picture.pixels.shape == (64, 48)
        wait_until(lambda: not [entry for entry in web.history.scans() if entry.running])
        gone, good = web.history.scans()
        assert gone.outcome.startswith("HostGoneError")
        assert (good.outcome, good.done, good.waiting) == ("ok", 2, 0)
        time.sleep(1.0)
        assert "HostGoneError" in ask(base).text
        assert ask(base, f"/scans/{good.name}/0/magnitude.png").status == 200
        assert 'untrained_recon_scans_total{outcome="ok"} 1.0' in ask(base, "/metrics").text
        assert ask(base, "/readyz").status == 200
    finally:
        service.stop()
        thread.join(TIMEOUT_S)
        web.close()
    assert not thread.is_alive()
