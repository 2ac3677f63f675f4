"""The page as a browser, or what poses as one, gets it over loopback."""

import contextlib
import http.client
import io
import json
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import pytest

from untrained_recon.account import Account
from untrained_recon.cautions import Caution
from untrained_recon.config import load_config
from untrained_recon.encoding import Encoding, ImageIndex
from untrained_recon.errors import ConfigError, FitError
from untrained_recon.extras import WEB
from untrained_recon.scan.person import person_of
from untrained_recon.serving.glimpse import Glimpse, picture_of
from untrained_recon.serving.history import History
from untrained_recon.serving.pool import Place
from untrained_recon.types import EvidenceMap, KSpace, Reconstruction

for module in WEB:
    pytest.importorskip(module, reason="the page needs the extra 'web'")

from untrained_recon.web.app import Sight, make_app  # noqa: E402
from untrained_recon.web.guard import MOST_CONNECTIONS  # noqa: E402
from untrained_recon.web.server import WebServer  # noqa: E402

STATUS = {"alive": True, "ready": True, "scans": 1, "served": 3, "waiting": 2}
PLACES = [Place("cpu", "busy", 1, "running", "slice 0"), Place("cuda:0", "missing", 0, "", "")]
EVIL = "<script>alert(1)</script>\"'&\udce9"  # the last from a name of a file
SHAPE = (96, 72)
HEADER = b"""<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<subjectInformation><patientName>Doe^Jane &lt;b&gt;</patientName><patientID>4711</patientID></subjectInformation>
<measurementInformation><protocolName>t2 tse</protocolName></measurementInformation>
</ismrmrdHeader>"""
MISSING = ["/scans/old", "/scans/good/7/magnitude.png", "/scans/good/0/phase.png", "/?page=2", "/?page=x", "/x"]


class Told(NamedTuple):
    """What a machine is told."""

    code: int
    kind: str
    text: bytes


def index_of(number: int) -> ImageIndex:
    return ImageIndex(0, 0, number, 0, 0, 0, 0)


def data_of(number: int) -> KSpace:
    ksp, mask = np.zeros((4, *SHAPE), np.complex64), np.ones(SHAPE, bool)
    return KSpace(ksp, mask, ksp, mask, index_of(number), Encoding.of(SHAPE), None, False)


def img_of(number: int) -> Any:
    y, x = np.indices(SHAPE) / np.reshape(SHAPE, (2, 1, 1)) - 0.5
    return ((np.hypot(y, 1.3 * x) < 0.4) * (1 + 0.5 * np.cos(20 * x + number))).astype(np.float32)


def recon_of(number: int, doubtful: bool = False) -> Reconstruction:
    img = img_of(number)
    account = Account(method="maps", iterations=50, stop_reason="iterations", loss=0.01, seconds=2.5, device="cpu")
    if doubtful:
        account = Account(method="cg-sense", fallback_reason="the time budget is used up", seconds=0.3, device="cpu")
    noise = EvidenceMap(0.1 * img + 0.05, "8 replicas")
    cautions = (Caution("time-budget", EVIL),) if doubtful else ()
    return Reconstruction(img, img.astype(np.complex64), account, EvidenceMap(None, "one run"), noise, cautions=cautions)


def finish(history: History, scan: str, number: int, result: Reconstruction | Exception) -> None:
    future: Future[Reconstruction] = Future()
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    history.finish(scan, index_of(number), future)


def glimpse(history: History, scan: str, number: int, iteration: int) -> None:
    stage = "fit" if iteration <= 50 else "refine"
    history.glimpse(
        scan, index_of(number), Glimpse(stage, iteration, 100, 2.0 / iteration, float(iteration), picture_of(img_of(number)))
    )


def filled(most: int = 1000, patient_data: bool = False, pixels: bool = False) -> History:
    """A good scan, a doubtful one, a failed one, and one that runs."""
    history = History(most, person_of if patient_data else None, pixels)
    for name in ("good", "doubt", "none", "running"):
        history.begin(name, "127.0.0.1:4000")
        if name != "none":
            history.describe(name, load_config("fast"), HEADER)
        for number in range(0 if name == "none" else 2):
            history.submit(name, data_of(number), 60.0)
            for iteration in range(1, 80 if name == "good" else 40, 4):
                glimpse(history, name, number, iteration)
    for number in range(2):
        finish(history, "good", number, recon_of(number))
        finish(history, "doubt", number, recon_of(number, doubtful=True) if number else FitError(EVIL))
    history.end("good", "ok", 12.5)
    history.end("doubt", "ok", 250.0)
    history.end("none", f"ConfigError: configuration {EVIL} is no preset", 0.1)
    return history


@contextlib.contextmanager
def serving(history: History, port: int = 0, downloads: bool = False, **others: Any) -> Iterator[str]:
    server = WebServer("127.0.0.1", port)
    machines = {"/healthz": lambda: Told(503, "application/json", b"{}\n")}
    server.start(make_app(Sight(history, lambda: STATUS, lambda: PLACES, machines, downloads), **others))
    try:
        yield f"http://127.0.0.1:{server.address[1]}"
    finally:
        server.close()


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()


def ask(base: str, path: str = "/", method: str = "GET", **headers: str) -> Answer:
    with contextlib.closing(http.client.HTTPConnection(base.removeprefix("http://"), timeout=20)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        found = connection.getresponse()
        return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with serving(filled()) as made:
        yield made


def test_the_list_shows_what_runs_what_ended_and_every_doubt(base: str) -> None:
    text = ask(base).text
    for part in (
        "READY",
        "2 images wait",
        "MISSING",
        "RUNNING",
        "iteration 37 of at most 100",
        "data:image/png;base64,",
        "DELIVERED WITH DOUBTS",
        "FALLBACK</strong> 1 of 1 images",
        "1 NOT MADE",
        "CAUTION time-budget",
        "FAILED",
        "/scans/good/1/magnitude.png",
    ):
        assert part in text, part


def test_a_scan_has_its_pictures_curve_account_and_settings(base: str) -> None:
    text = ask(base, "/scans/good").text
    for part in ("<polyline", "refine", "noise.png", "white 0.2", "one run", "8 replicas", "fit.iterations", "12 s"):
        assert part in text, part
    assert "spread.png" not in text
    assert ask(base, "/scans/good/0/noise.png").content.startswith(b"\x89PNG")
    assert "NOT MADE" in ask(base, "/scans/doubt").text


def test_what_comes_from_outside_is_escaped(base: str) -> None:
    for path in ("/", "/scans/doubt", "/scans/none", "/scans/%3Cscript%3E"):
        assert "<script>alert" not in ask(base, path).text
    assert "&lt;script&gt;alert" in ask(base, "/scans/none").text


@pytest.mark.parametrize("path", ["/", "/scans/good", "/scans/none-such", "/static/page.js", "/healthz", "/scans/good/0/noise.png"])
def test_every_answer_has_the_headers_that_keep_it_to_itself(base: str, path: str) -> None:
    headers = ask(base, path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(base: str, method: str) -> None:
    for path in ("/", "/scans/good", "/healthz"):
        assert ask(base, path, method).status == 405


@pytest.mark.parametrize(
    "path", ["/scans/old", "/scans/good/7/magnitude.png", "/scans/good/0/phase.png", "/?page=2", "/?page=x", "/x"]
)
def test_what_is_not_there_is_said_to_be_missing(base: str, path: str) -> None:
    answer = ask(base, path)
    assert (answer.status, "Not here" in answer.text) == (404, True)


def test_only_known_names_and_addresses_are_answered() -> None:
    with serving(filled(), names=["Recon.example"]) as base:
        for name in ("localhost", "localhost:80", "127.0.0.1:9", "[::1]:9", "10.0.0.7", "recon.example:9180"):
            assert ask(base, "/", host=name).status == 200, name
        for name in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""):
            assert ask(base, "/", host=name).status == 421, name
            assert ask(base, "/healthz", host=name).status == 503, name


def test_patient_data_and_downloads_are_there_only_where_asked_for(base: str) -> None:
    for path in ("/", "/scans/good"):
        assert not [name for name in ("Doe", "4711", "t2 tse", ".npy", ".json") if name in ask(base, path).text]
    assert ask(base, "/scans/good/0/magnitude.npy").status == 404
    assert ask(base, "/scans/good.json").status == 404
    with serving(filled(patient_data=True, pixels=True), downloads=True) as other:
        assert "Doe^Jane &lt;b&gt;" in ask(other).text
        assert "t2 tse" in ask(other, "/scans/good").text
        assert np.array_equal(np.load(io.BytesIO(ask(other, "/scans/good/1/magnitude.npy").content)), img_of(1))
        record = json.loads(ask(other, "/scans/doubt.json").text)
        assert record["images"][1]["account"]["fallback_reason"] == "the time budget is used up"
        assert record["person"]["patient id"] == "4711"


def test_who_has_the_page_gets_it_only_when_it_has_changed() -> None:
    with serving(history := filled()) as base:
        history.end("running", "ok", 1.0)
        first = ask(base)
        assert ask(base, if_none_match=first.headers["etag"]).status == 304
        history.begin("next", "127.0.0.1")
        time.sleep(1.0)
        assert "next" in ask(base, if_none_match=first.headers["etag"]).text


def test_a_thousand_scans_are_kept_and_the_oldest_goes() -> None:
    history = History(1000)
    for n in range(1100):
        history.begin(f"scan{n}", "127.0.0.1")
        history.submit(f"scan{n}", data_of(0), 60.0)
        finish(history, f"scan{n}", 0, recon_of(0))
        history.end(f"scan{n}", "ok", 1.0)
    assert len(history.scans()) == 1000
    with serving(history) as base:
        first = ask(base).text
        assert "page 1 of 20" in first
        assert "scan1099" in first
        assert "scan100<" in ask(base, "/?page=20").text
        assert ask(base, "/scans/scan99").status == 404
        assert len(first) < 100_000


def test_connections_are_bounded() -> None:
    with serving(filled()) as base:
        address = ("127.0.0.1", int(base.rpartition(":")[2]))
        with contextlib.ExitStack() as stack:
            for _ in range(MOST_CONNECTIONS + 20):
                stack.enter_context(socket.create_connection(address, 20))
            with pytest.raises((OSError, http.client.HTTPException)):
                ask(base)


def test_connections_that_do_nothing_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.web.guard.LIFE_S", 0.5)
    with serving(filled()) as base, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", int(base.rpartition(":")[2]))
        idle = [stack.enter_context(socket.create_connection(address, 20)) for _ in range(3)]
        idle[0].sendall(b"GET / HTTP/1.1\r\nHost: local")  # and never the rest
        assert [one.recv(1) for one in idle] == [b"", b"", b""]
        assert ask(base).status == 200


def test_a_port_that_is_taken_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="cannot serve the page"):
        WebServer("127.0.0.1", taken.getsockname()[1])
