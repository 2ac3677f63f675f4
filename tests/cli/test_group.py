"""What every command has: help for each option, a section, examples that parse; and what exit statuses mean."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from untrained_recon.bench.figures import is_figures, stamped
from untrained_recon.cli.group import EXAMPLES, SECTIONS, STATUSES
from untrained_recon.cli.main import cli
from untrained_recon.cli.options import complete_methods, complete_presets, complete_settings
from untrained_recon.cli.study import parse_method


def commands(command: click.Command = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, f"{path} {name}".strip())
    else:
        yield path, command


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_option_has_help(path: str, command: click.Command) -> None:
    assert command.help, path
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, f"{path} {option.name}"


def test_every_command_stands_in_one_section() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(cli.commands) <= set(listed)
    text = CliRunner().invoke(cli, ["--help"]).output
    for words in (*SECTIONS, *cli.commands, *(f"  {status} " for status in STATUSES)):
        assert words in text


@pytest.mark.parametrize("example", [line for name, lines in EXAMPLES.items() if name in cli.commands for line in lines])
def test_examples_parse_and_are_shown(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, *words = shlex.split(example.partition(" > ")[0])
    monkeypatch.chdir(tmp_path)
    for place in ("volumes", "docker/cases"):
        (tmp_path / place).mkdir(parents=True)
    cli.commands[name].make_context(name, words)
    assert f"untrained-recon {example}" in CliRunner().invoke(cli, [name, "--help"]).output


def test_a_method_of_reconstruction_is_a_method_of_a_study() -> None:
    name, config = parse_method("tv,baseline.iterations=7")
    assert (name, config.recon.method, config.baseline.iterations) == ("tv", "tv", 7)
    assert parse_method("tv=knee-4x")[1].recon.method == "network"


def test_presets_and_settings_complete_in_the_shell() -> None:
    context = click.Context(cli)
    assert complete_presets(context, cli.params[0], "fa") == ["fast"]
    assert "fit.iterations=" in complete_settings(context, cli.params[0], "fit.it")
    assert complete_methods(context, cli.params[0], "t") == ["tv"]


def test_where_nothing_answers_the_status_says_so() -> None:
    done = subprocess.run([sys.executable, "-m", "untrained_recon.cli", "health", "localhost:1"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: UnreachableError: no server answers at localhost:1")


def test_ctrl_c_has_a_status_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "scan.h5"
    words = [sys.executable, "-m", "untrained_recon.cli", "simulate", "-o", str(out), "--slices", "1000", "--shape", "512x512"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.iterdir()) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (130, "ended by Ctrl-C")
    assert not list(tmp_path.iterdir())


REPORT = pytest.mark.needs("pandas", "matplotlib", "skimage", "torchmetrics")
WRITING = [
    "bench speed -o FILE",
    "bench gpu -o FILE",
    "bench service -o FILE",
    "integration-test --service localhost:1 --cases FOLDER --junit FILE",
    "train-unet FOLDER FOLDER -o FOLDER",
    "recon RAW -o FOLDER",
    pytest.param("compare RAW RAW --truth ARRAY --png FILE", marks=REPORT),
    pytest.param("evaluate ARRAY --method zero-filled -o FOLDER", marks=REPORT),
    pytest.param("bench quality ARRAY -o FOLDER", marks=REPORT),
    pytest.param("reproduce table1 --data FOLDER -o FOLDER", marks=REPORT),
    "replay RAW -o OUT --npy FOLDER",
    "replay RAW -o OUT --npy ARRAY",
    pytest.param("replay RAW -o OUT --png FOLDER", marks=REPORT),
]


@pytest.mark.parametrize("line", WRITING)
def test_every_command_refuses_what_is_not_its_own_before_it_begins(line: str, small_scan: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "papers").mkdir()
    (folder / "thesis.json").write_text('{"chapter": 1}')
    np.save(tmp_path / "ksp.npy", np.ones((2, 32, 32), np.complex64))
    places = {"FILE": folder / "thesis.json", "FOLDER": folder, "RAW": small_scan, "ARRAY": tmp_path / "ksp.npy"}
    places["OUT"] = tmp_path / "images.h5"
    (folder / "thesis.txt").write_text("chapter one")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    status, told = run(*(str(places.get(word, word)) for word in line.split()))
    assert (status, "or say --force" in told) == (1, True), told
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_would_come_beside_a_file_replaces_nothing_either(small_scan: Path, tmp_path: Path) -> None:
    for name in ("scan.truth.npy", "out.hdr"):
        (tmp_path / name).write_text("chapter one")
    small = ("--shape", "32x32", "--coils", "2", "--accel", "1", "--acs", "8")
    status, told = run("simulate", "-o", str(tmp_path / "scan.h5"), *small)
    assert (status, "scan.truth.npy: another file is there" in told) == (1, True)
    assert run("simulate", "-o", str(tmp_path / "scan.h5"), *small, "--force")[0] == 0
    status, told = run("convert", str(tmp_path / "scan.h5"), str(tmp_path / "out.cfl"))
    assert (status, "out.hdr: another file is there" in told) == (1, True)


@pytest.mark.parametrize("address", ["nowhere", "host:", ":9100", "host:0", "host:65536", "host:-1", ""])
def test_addresses_that_are_none_are_wrong_usage(address: str) -> None:
    for line in (("health", address), ("chain", "--connect", address)):
        status, told = run(*line)
        assert (status, "is not of the form HOST:PORT" in told, "--server" in told) == (2, True, False), told


def test_what_a_command_wrote_it_replaces(small_scan: Path, tmp_path: Path) -> None:
    (cases := tmp_path / "cases" / "one").mkdir(parents=True)
    (cases / "scan.h5").write_bytes(small_scan.read_bytes())
    (cases / "case.yaml").write_text("description: d\nraw: scan.h5\nexpect: {images: 1}\n")
    line = ("integration-test", "--service", "localhost:1", "--cases", str(cases.parent), "--junit", str(tmp_path / "junit.xml"))
    assert [run(*line)[0] for _ in range(2)] == [3, 3]
    (tmp_path / "speed.json").write_text(json.dumps(stamped({"case": 1})))
    assert is_figures(tmp_path / "speed.json")
    assert not is_figures(tmp_path / "junit.xml")
    assert not is_figures(tmp_path / "nowhere")


@REPORT
def test_a_panel_is_replaced_by_the_next_one(small_scan: Path, tmp_path: Path) -> None:
    images, panel = tmp_path / "images.h5", tmp_path / "panel.png"
    assert run("replay", str(small_scan), "-o", str(images), "--set", "recon.method=zero-filled")[0] == 0
    line = ("compare", str(small_scan), str(images), "--png", str(panel))
    assert [run(*line)[0] for _ in range(2)] == [0, 0]


def test_every_command_that_writes_has_force() -> None:
    for path, command in commands():
        options = {name for parameter in command.params for name in parameter.opts}
        if options & {"-o", "--png", "--junit"} or "target" in {parameter.name for parameter in command.params}:
            assert "--force" in options, path


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(words))
    return result.exit_code, f"{result.output}{result.exception or ''}"


def test_what_somebody_may_miss_is_not_replaced_without_force(small_scan: Path, tmp_path: Path) -> None:
    """Raw data, or anything else that is there, where an image file, a simulated scan or converted data would go."""
    shutil.copy(small_scan, scan := tmp_path / "own.h5")
    (real := tmp_path / "real.h5").write_bytes(scan.read_bytes().replace(b"simulated_phantom", b"measured_headxxxx"))
    (other := tmp_path / "thesis.h5").write_text("chapter one")
    quick = ("--set", "recon.method=zero-filled")
    small = ("--shape", "32x32", "--coils", "2", "--accel", "2", "--acs", "8")
    for place in (real, other):
        before = place.read_bytes()
        made = [("replay", str(scan), "-o", str(place), *quick), ("simulate", "-o", str(place), *small)]
        for words in (*made, ("convert", str(scan), str(place))):
            status, told = run(*words)
            assert (status, place.read_bytes()) == (1, before)
            assert "another file is there; name another output, or say --force" in told
    again = [["replay", str(real), "-o", str(tmp_path / "images.h5"), *quick], ["simulate", "-o", str(scan), *small]]
    for line in again:
        assert [run(*line)[0] for _ in range(2)] == [0, 0]  # what can be made again is replaced
    assert run("simulate", "-o", str(real), *small, "--force")[0] == 0
