"""The integration test finds what is wrong, and tells apart what a site must tell apart."""

import shutil
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import ismrmrd
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from gadgets.service import Service
from tests.doubles.helpers import Server
from tests.gadgets.test_service import running
from untrained_recon.cli.main import cli
from untrained_recon.errors import ConfigError, ReplayError
from untrained_recon.host.exchange import exchange
from untrained_recon.site.acceptance import NO_SUCH_PRESET, Outcome, Target, check, play
from untrained_recon.site.cases import EDITS, Case, CaseFile, load_cases
from untrained_recon.wire import CLOSE, ERROR, IMAGE

SHIPPED = Path(__file__).parents[2] / "docker" / "cases"
SCAN = {"shape": [24, 16], "coils": 2, "accel": 1, "acs": 8, "pattern": "equispaced", "slices": 1, "noise": 0.01, "seed": 0}
OURS = struct.pack("<HQ", ERROR, 40) + f"ConfigError: {NO_SUCH_PRESET}".encode().ljust(40) + struct.pack("<H", CLOSE)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running() as made:
        yield made


def write_case(folder: Path, name: str = "one", **entries: Any) -> Path:
    path = folder / "cases" / name / "case.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    case = {"description": "a case", "simulate": SCAN, "config": {"config": "fast"}, "expect": {"images": 1}, **entries}
    path.write_text(yaml.safe_dump(case), encoding="utf-8")
    return folder / "cases"


def run(cases: Path, *options: str) -> Result:
    return CliRunner().invoke(
        cli, ["integration-test", "--cases", str(cases), "--junit", str(cases.parent / "junit.xml"), *options]
    )


def to(service: Service) -> tuple[str, str]:
    return "--service", f"127.0.0.1:{service.addresses[0][1]}"


def junit(cases: Path) -> ElementTree.Element:
    return ElementTree.parse(cases.parent / "junit.xml").getroot()


@pytest.mark.slow
def test_the_shipped_cases_pass(service: Service, tmp_path: Path) -> None:
    cases = shutil.copytree(SHIPPED, tmp_path / "cases")
    result = run(cases, *to(service))
    assert result.exit_code == 0, result.output
    suite = junit(cases)
    assert int(suite.attrib["tests"]) == len(load_cases(SHIPPED)) >= 12
    assert (suite.attrib["failures"], suite.attrib["errors"]) == ("0", "0")
    assert all(path.stat().st_size < 50_000 for path in SHIPPED.rglob("reference.npy"))


def test_a_wrong_image_is_found_and_only_update_makes_it_the_reference(service: Service, tmp_path: Path) -> None:
    cases = write_case(tmp_path)
    reference = cases / "one" / "reference.npy"
    np.save(reference, np.ones((1, 24, 16), np.float16))
    before = reference.read_bytes()
    result = run(cases, *to(service))
    assert result.exit_code == 1
    assert "wrong image: ‖out - ref‖/‖ref‖ is" in result.output
    assert junit(cases).find("testcase/failure").attrib["type"] == "wrong image"  # type: ignore[union-attr]
    assert reference.read_bytes() == before
    assert "reference rewritten" in run(cases, *to(service), "--update").output
    assert run(cases, *to(service)).exit_code == 0


def test_header_meta_and_expected_errors_are_compared(service: Service, tmp_path: Path) -> None:
    cases = write_case(tmp_path, "header", expect={"images": 1, "header": {"slice": 4}})
    write_case(tmp_path, "meta", expect={"images": 1, "meta": {"untrained_recon_method": "maps"}})
    write_case(tmp_path, "error", expect={"error": "FitError"})
    write_case(tmp_path, "silent", config={"config": "none"})
    write_case(tmp_path, "server", input="buffers")
    output = run(cases, *to(service)).output
    for line in (
        "FAIL error",
        "missing error: expected 'FitError', got no error",
        "stray output: 1 images came, 0 were due",
        "wrong header: slice is [0], expected 4",
        "wrong meta: untrained_recon_method is ['direct'], expected maps",
        "unexpected error: ConfigError",
        "missing image: 0 of 1 images came",
        "skip server: not for a service",
        "0 passed, 4 failed, 1 skipped",
    ):
        assert line in output


def test_an_unreachable_server_and_a_missing_gadget_are_told_apart(tmp_path: Path) -> None:
    cases = write_case(tmp_path)
    gone = run(cases, "--server", "localhost:1")
    assert gone.exit_code == 3
    assert "server unreachable: no server answers at localhost:1" in gone.output
    assert junit(cases).find("testcase/error").attrib["type"] == "UnreachableError"  # type: ignore[union-attr]
    with Server(lambda _: struct.pack("<H", CLOSE)) as server:
        missing = run(cases, "--server", server.address)
    assert missing.exit_code == 4
    assert "gadget missing" in missing.output
    assert "silence" in missing.output


def test_a_server_gets_a_chain_that_connects_where_it_is_told(tmp_path: Path) -> None:
    chains: list[bytes] = []

    def answer(data: bytes) -> bytes:
        chains.append(data)
        return OURS

    with Server(answer) as server:
        result = run(write_case(tmp_path, targets=["service"]), "--server", server.address, "--connect", "recon:9100")
    assert "skip one: not for a server" in result.output
    assert b'<connect address="recon" port="9100"' in chains[0]


def test_stray_output_is_found() -> None:
    image = ismrmrd.Image.from_array(np.ones((4, 4), np.float32), transpose=False)
    file = CaseFile.model_validate({"description": "", "raw": "x.h5", "expect": {"images": 1}})
    outcome = Outcome(images=[image, image], others=1, stray="7 bytes came after CLOSE")
    found = [f.text for f in check(Case(Path(), file), outcome, waveforms=0)]
    assert found == ["2 images came, 1 were due", "1 waveforms came back, 0 were sent", "7 bytes came after CLOSE"]


def test_a_window_of_other_pixels_is_found() -> None:
    image = ismrmrd.Image.from_array(np.arange(256, dtype=np.uint16).reshape(16, 16), transpose=False)
    file = CaseFile.model_validate({"description": "", "raw": "x.h5", "expect": {"images": 1}})
    for centre, findings in ((128, []), (32, ["wrong window"]), (2000, ["wrong window"])):
        image.meta = {"GADGETRON_WindowCenter": str(centre), "GADGETRON_WindowWidth": str(2 * centre)}
        assert [f.kind for f in check(Case(Path(), file), Outcome(images=[image]), waveforms=0)] == findings
    image.meta = {}
    assert not list(check(Case(Path(), file), Outcome(images=[image]), waveforms=0))


def slowly(acq: ismrmrd.Acquisition) -> Iterator[ismrmrd.Acquisition]:
    for _ in range(5):
        time.sleep(0.1)
        yield acq


def test_an_error_that_comes_while_the_scan_is_sent_is_found() -> None:
    file = CaseFile.model_validate({"description": "", "raw": "x.h5", "expect": {"error": "ConfigError"}})
    acq = ismrmrd.Acquisition.from_array(np.ones((1, 8), np.complex64))
    for hasty in (True, False):
        ours, theirs = socket.socketpair()
        with theirs, ThreadPoolExecutor(1) as pool, ours:

            def answer(hasty: bool = hasty, theirs: socket.socket = theirs) -> None:
                while not hasty and not theirs.recv(1 << 16).endswith(struct.pack("<H", CLOSE)):
                    pass
                theirs.sendall(OURS)

            pool.submit(answer)
            outcome = Outcome()
            try:
                list(exchange(ours, b"<a/>", b"<b/>", slowly(acq)))
            except ReplayError as error:
                outcome.error = str(error)
        assert [f.kind for f in check(Case(Path(), file), outcome, waveforms=0)] == (["early error"] if hasty else [])


def test_a_server_gets_the_output_pace_and_compression_of_a_case(tmp_path: Path) -> None:
    sent: list[bytes] = []

    def answer(data: bytes) -> bytes:
        sent.append(data)
        return OURS

    cases = write_case(tmp_path, output="uint16", precision=12, repeat=2, expect={"error": "ConfigError"})
    with Server(answer, clients=3) as server:
        result = run(cases, "--server", server.address)
    assert result.exit_code == 0, result.output
    assert len(sent) == 3  # the probe, and the scan twice
    assert b"FloatToUShortGadget" in sent[1]
    (start,) = struct.unpack_from("<I", sent[1], 2)
    (length,) = struct.unpack_from("<I", sent[1], 8 + start)
    head = ismrmrd.AcquisitionHeader.from_buffer_copy(sent[1], 14 + start + length)
    assert head.is_flag_set(ismrmrd.ACQ_COMPRESSION2)


def test_something_after_close_is_stray(tmp_path: Path) -> None:
    image = ismrmrd.Image.from_array(np.ones((4, 4), np.float32), transpose=False)
    message = struct.pack("<H", IMAGE) + bytes(image.to_bytes())
    with Server(lambda _: message + struct.pack("<H", CLOSE) + message) as server:
        host, port = server.address.split(":")
        outcome = play(Target("server", (host, int(port)), None, 10.0), b"<a/>", b"<b/>", [])
    assert len(outcome.images) == 1
    assert "after CLOSE" in outcome.stray


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"edits": ["nothing"]}, "unknown nothing"),
        ({"raw": "scan.h5"}, "either raw or simulate"),
        ({"expect": {"image": 1}}, "Extra inputs"),
    ],
)
def test_cases_that_are_not_of_the_form_are_refused(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_cases(write_case(tmp_path, **entries))


def test_a_folder_without_cases_and_options_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert "no cases" in str(run(tmp_path / "none", "--service", "localhost:1").exception)
    cases = write_case(tmp_path)
    assert run(cases).exit_code == 2
    assert run(cases, "--service", "localhost:1", "--connect", "localhost:2").exit_code == 2


def test_every_edit_is_used_by_a_shipped_case() -> None:
    assert {edit for case in load_cases(SHIPPED) for edit in case.file.edits} == set(EDITS)


def test_health_is_asked_on_the_command_line(service: Service) -> None:
    address = f"127.0.0.1:{service.addresses[0][1]}"
    assert '"version"' in CliRunner().invoke(cli, ["health", address]).output
    assert "no server answers" in str(CliRunner().invoke(cli, ["health", "localhost:1"]).exception)
    with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: other.accept()[0].close())
        asked = CliRunner().invoke(cli, ["health", f"127.0.0.1:{other.getsockname()[1]}"])
    assert "does not answer a health query" in str(asked.exception)
