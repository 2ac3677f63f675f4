"""Replay as the client of a running server, played here by a stand-in."""

import socket
import struct
import subprocess
import sys
from pathlib import Path

import ismrmrd
import numpy as np
import pytest
from click.testing import CliRunner

from tests.doubles.helpers import Server, read_raw
from untrained_recon.cli.main import cli
from untrained_recon.errors import RawFileError, ReconError, ReplayError
from untrained_recon.files.images import read_images
from untrained_recon.wire import CLOSE, CONFIG, ERROR, IMAGE, TEXT

CHAIN = b"<configuration><version>2</version></configuration>"


def image(slice_number: int, series: int) -> bytes:
    made = ismrmrd.Image.from_array(
        np.full((4, 3), series, np.uint16), transpose=False, slice=slice_number, image_series_index=series
    )
    return struct.pack("<H", IMAGE) + bytes(made.to_bytes())


def end(*messages: bytes) -> bytes:
    return b"".join(messages) + struct.pack("<H", CLOSE)


def run(raw: Path, out: Path, answer: bytes) -> tuple[bytes, ReconError | None]:
    """What the server was sent, and how the replay ended."""
    sent: list[bytes] = []

    def note(data: bytes) -> bytes:
        sent.append(data)
        return answer

    (out.parent / "chain.xml").write_bytes(CHAIN)
    with Server(note) as server:
        command = ["replay", str(raw), "-o", str(out), "--server", server.address, "--chain", str(out.parent / "chain.xml")]
        result = CliRunner().invoke(cli, command)
    assert result.exception is None or isinstance(result.exception, ReconError)
    return sent[0], result.exception


def test_the_server_gets_chain_header_and_acquisitions_and_its_images_are_stored(small_scan: Path, tmp_path: Path) -> None:
    answer = end(image(1, 7), image(0, 7), image(0, 1007), image(1, 1007))
    sent, error = run(small_scan, tmp_path / "out.h5", answer)
    assert error is None
    header, acquisitions = read_raw(small_scan)
    assert sent.startswith(struct.pack("<HI", CONFIG, len(CHAIN)) + CHAIN)
    assert header in sent
    assert acquisitions[-1].to_bytes() in sent
    assert [i.slice for i in read_images(tmp_path / "out.h5", 0)] == [1, 0]
    assert [int(i.data[0, 0, 0, 0]) for i in read_images(tmp_path / "out.h5", 1)] == [1007, 1007]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (end(struct.pack("<HQ", ERROR, 9) + b"no gadget"), "no gadget"),
        (end(image(0, 0), image(1, 0), struct.pack("<HI", TEXT, 6) + b"oh no\0"), "oh no"),
        (end(image(0, 0)), "1 of 2 expected images did not come out"),
        (end(), "2 of 2 expected images did not come out"),
        (image(0, 0), "the connection broke: it ended without CLOSE"),
    ],
)
def test_complaints_and_missing_images_leave_nothing_behind(answer: bytes, message: str, small_scan: Path, tmp_path: Path) -> None:
    _, error = run(small_scan, tmp_path / "out.h5", answer)
    assert isinstance(error, ReplayError)
    assert message in str(error)
    assert [p.name for p in tmp_path.iterdir()] == ["chain.xml"]


def test_a_server_that_is_not_there_and_options_that_do_not_fit(small_scan: Path, tmp_path: Path) -> None:
    chain = tmp_path / "chain.xml"
    chain.write_bytes(CHAIN)
    command = ["replay", str(small_scan), "-o", str(tmp_path / "out.h5"), "--server"]
    gone = CliRunner().invoke(cli, [*command, "localhost:1", "--chain", str(chain)])
    assert "no server answers at localhost:1" in str(gone.exception)
    for rest, message in (
        (["localhost:1"], "--server and --chain go together"),
        (["localhost", "--chain", str(chain)], "not of the form HOST:PORT"),
        (["localhost:1", "--chain", str(chain), "--seed", "1"], "the settings are those of the chain"),
    ):
        result = CliRunner().invoke(cli, [*command, *rest])
        assert result.exit_code == 2
        assert message in result.output


def test_the_output_never_replaces_the_raw_data(small_scan: Path) -> None:
    before = small_scan.read_bytes()
    result = CliRunner().invoke(cli, ["replay", str(small_scan), "-o", str(small_scan), "--config", "fast", "--device", "cpu"])
    assert isinstance(result.exception, RawFileError)
    assert "would replace the raw data" in str(result.exception)
    assert small_scan.read_bytes() == before


def test_a_server_that_falls_silent_is_given_up(small_scan: Path, tmp_path: Path) -> None:
    (tmp_path / "chain.xml").write_bytes(CHAIN)
    with socket.create_server(("localhost", 0)) as server:  # takes the connection, and nothing comes of it
        address = f"localhost:{server.getsockname()[1]}"
        command = ["replay", str(small_scan), "-o", str(tmp_path / "out.h5"), "--server", address, "--timeout", "0.3"]
        result = CliRunner().invoke(cli, [*command, "--chain", str(tmp_path / "chain.xml")])
    assert isinstance(result.exception, ReplayError)
    assert str(result.exception) == "nothing came for 0.3 s"
    assert not (tmp_path / "out.h5").exists()


def test_to_a_server_bytes_are_played_without_torch(small_scan: Path, tmp_path: Path) -> None:
    (tmp_path / "chain.xml").write_bytes(CHAIN)
    with Server(lambda data: end(image(1, 7), image(0, 7))) as server:
        words = ["replay", str(small_scan), "-o", str(tmp_path / "out.h5"), "--server", server.address]
        words += ["--chain", str(tmp_path / "chain.xml")]
        code = f"import sys; from untrained_recon.cli.main import cli; cli({words!r}, standalone_mode=False)"
        code += "; sys.exit('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert (done.returncode, "2 images" in done.stdout) == (0, True), done.stderr
