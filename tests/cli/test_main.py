"""The command line as a user meets it, in processes of its own."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from rich.console import Console

from tests.doubles.helpers import read_raw
from untrained_recon.files.images import read_images
from untrained_recon.host.monitor import Monitor
from untrained_recon.metrics import nrmse

QUICK = (
    "--config",
    "fast",
    "--set",
    "fit.iterations=3",
    "--set",
    "network.channels=8",
    "--set",
    "refine.iterations=2",
    "--device",
    "cpu",
)


def untrained_recon(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "untrained_recon.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "COLUMNS": "200"})


def copy_raw(source: Path, target: Path, change: Callable[[h5py.Group], None]) -> Path:
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as f:
        change(f["dataset"])
    return target


def replace_row(group: h5py.Group, n: int, change: Callable[[ismrmrd.hdf5.np.void], None]) -> None:
    row = group["data"][n]
    change(row)
    group["data"][n] = row


@pytest.mark.slow
@pytest.mark.needs("matplotlib")
def test_replay_writes_a_complete_image_file_with_pictures(small_scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    settings = (
        "--set",
        "fit.iterations=120",
        "--set",
        "fit.discrepancy=0",
        "--set",
        "network.channels=32",
        "--set",
        "output.complex=true",
    )
    done = untrained_recon("replay", small_scan, "-o", out, *QUICK, *settings, "--seed", 3, "--png", tmp_path / "png")
    assert done.returncode == 0, done.stderr
    assert "slice 1: maps, 120 iterations" in done.stderr
    dataset = ismrmrd.Dataset(str(out), "dataset", create_if_needed=False)
    truth = np.load(small_scan.with_suffix(".truth_white.npy"))
    for n in range(2):
        image = dataset.read_image("image_0", n)
        assert (image.slice, image.data.dtype, image.data.shape) == (n, np.float32, (1, 1, 64, 48))
        assert image.meta["untrained_recon_seed"] == "3"
        assert nrmse(image.data[0, 0], truth[n]) < 0.2
        assert dataset.read_image("image_1", n).data.dtype == np.complex64
    assert dataset.number_of_images("image_0") == 2
    assert dataset.read_xml_header() == read_raw(small_scan)[0]
    dataset.close()
    pictures = ["phase_slice0.png", "phase_slice1.png", "slice0.png", "slice1.png"]
    assert sorted(p.name for p in (tmp_path / "png").iterdir()) == pictures
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.h5", "png"]

    compared = untrained_recon("compare", small_scan, out, "--png", tmp_path / "panel.png")
    assert compared.returncode == 0, compared.stderr
    assert compared.stdout.count("zero-filled") >= 2
    assert (tmp_path / "panel.png").stat().st_size > 10_000


@pytest.mark.slow
def test_replay_twice_gives_the_same_bits(small_scan: Path, tmp_path: Path) -> None:
    pixels = []
    for n in range(2):
        assert untrained_recon("replay", small_scan, "-o", tmp_path / f"{n}.h5", *QUICK).returncode == 0
        with h5py.File(tmp_path / f"{n}.h5") as f:
            pixels.append(f["dataset/image_0/data"][:])
    np.testing.assert_array_equal(pixels[0], pixels[1])


def set_nan(row: np.void) -> None:
    row["data"][5] = np.nan


def beyond_matrix(row: np.void) -> None:
    row["head"]["idx"]["kspace_encode_step_1"] = 64


def fewer_coils(row: np.void) -> None:
    row["head"]["active_channels"] = 3
    row["data"] = row["data"][: 3 * 2 * row["head"]["number_of_samples"]]


def drop_imaging(group: h5py.Group) -> None:
    group["data"].resize(1, axis=0)


def break_header(group: h5py.Group) -> None:
    group["xml"][0] = group["xml"][0][:200]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_imaging, "NoImagingDataError: the scan ended without imaging readouts"),
        (break_header, "HeaderError: the ISMRMRD header cannot be parsed"),
        (lambda g: g.file.move("dataset/data", "other"), "RawFileError"),
    ],
    ids=["no imaging", "header", "group"],
)
def test_bad_scans_end_in_one_line_and_leave_nothing_behind(
    change: Callable[[h5py.Group], None], message: str, small_scan: Path, tmp_path: Path
) -> None:
    raw = copy_raw(small_scan, tmp_path / "bad.h5", change)
    done = untrained_recon("replay", raw, "-o", tmp_path / "out.h5", *QUICK)
    assert done.returncode == 1
    reason = done.stderr.strip().splitlines()[-1]
    assert reason.startswith("error: ")
    assert message in reason
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["bad.h5"]


@pytest.mark.parametrize(
    ("change", "message"),
    [(set_nan, "NonFiniteError"), (beyond_matrix, "EncodingError"), (fewer_coils, "ChannelCountError")],
)
def test_a_bad_image_costs_the_others_nothing(
    change: Callable[[np.void], None], message: str, small_scan: Path, tmp_path: Path
) -> None:
    raw = copy_raw(small_scan, tmp_path / "bad.h5", lambda g: replace_row(g, -1, change))
    done = untrained_recon("replay", raw, "-o", tmp_path / "out.h5", *QUICK)
    assert done.returncode == 1
    reason = done.stderr.strip().splitlines()[-1]
    assert reason.startswith("error: ReplayError: ")
    assert message in reason
    assert reason.endswith(f"; 1 of 2 images are in {tmp_path / 'out.h5'}")
    assert [image.slice for image in read_images(tmp_path / "out.h5", 0)] == [0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "fit.iteratons=3"), "ConfigError: configuration 'fast': fit.iteratons: unknown key"),
        (("--set", "fit.lr"), "ConfigError: --set 'fit.lr' is not of the form key.path=value"),
        (("--config", "none"), "ConfigError: configuration 'none' is neither a preset"),
        (("--device", "cuda:77"), "ConfigError: device: 'cuda:77' is not available"),
        (("--seed", "-1"), "ConfigError: configuration 'fast': seed"),
        (("-o", "nowhere/out.h5"), "RawFileError: nowhere/out.h5: the folder nowhere does not exist"),
    ],
)
def test_bad_arguments_end_in_one_line_before_anything_starts(
    arguments: tuple[str, ...], message: str, small_scan: Path, tmp_path: Path
) -> None:
    done = untrained_recon("replay", small_scan, "-o", tmp_path / "out.h5", *QUICK, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_raw_files(tmp_path: Path) -> None:
    raw = tmp_path / "text.h5"
    raw.write_text("text")
    for command in (("replay", raw, "-o", tmp_path / "out.h5"), ("inspect", raw)):
        done = untrained_recon(*command)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "text.h5: it is not an HDF5 file" in done.stderr


def test_simulate_and_inspect(tmp_path: Path) -> None:
    raw = tmp_path / "scan.h5"
    arguments = ("--shape", "48x40", "--coils", 3, "--accel", 3, "--acs", 12, "--pattern", "equispaced", "--slices", 2, "--seed", 5)
    assert untrained_recon("simulate", "-o", raw, *arguments).returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.h5", "scan.mask.npy", "scan.truth.npy", "scan.truth_white.npy"]
    done = untrained_recon("inspect", raw)
    assert done.returncode == 0, done.stderr
    for text in (
        "3 coils x 80 samples",
        "2048 samples",
        "2 slice",
        "80 x 48 (x, y), readout oversampling 2",
        "ACS 1",
        "embedded",
        "GiB",
    ):
        assert text in done.stdout
    bad = untrained_recon("simulate", "-o", raw, "--shape", "48")
    assert bad.returncode == 2
    assert "not of the form 256x256" in bad.stderr


def test_inspect_names_problems_and_fails(small_scan: Path, tmp_path: Path) -> None:
    raw = copy_raw(small_scan, tmp_path / "bad.h5", lambda g: replace_row(g, -1, beyond_matrix))
    done = untrained_recon("inspect", raw)
    assert done.returncode == 1
    assert "EncodingError: 1 image could not be made" in done.stdout
    assert "cannot be reconstructed" in done.stderr


def test_a_gadget_that_dies_is_reported(small_scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys, os\nif 'gadgets.launch' in ' '.join(sys.orig_argv): os._exit(7)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = untrained_recon("replay", small_scan, "-o", tmp_path / "out.h5", *QUICK)
    assert done.returncode == 1
    assert "error: ReplayError: the gadget ended with exit status 7 before it connected back" in done.stderr


def test_monitor_turns_the_gadgets_log_into_ours(caplog: pytest.LogCaptureFixture) -> None:
    record = {"level": "WARNING", "logger": "x", "message": "no noise", "fields": {}}
    fields = {"image": "slice 0", "iteration": 5, "iterations": 10, "loss": 0.5, "seconds_left": 3.0}
    with caplog.at_level(logging.INFO), Monitor(Console(file=io.StringIO(), force_terminal=True)) as terminal:
        for line in ("a library's words", json.dumps(record), json.dumps({**record, "fields": fields})):
            terminal.log(line)
        assert "slice 0, loss 0.5, 3 s left" in str(terminal._bar.tasks[1].fields) if terminal._bar else False
    assert [r.message for r in caplog.records] == ["a library's words", "no noise"]


@pytest.mark.slow
@pytest.mark.needs("torchmetrics", "skimage")
@pytest.mark.parametrize("name", ["brain16_gre_r3_2rep"])
def test_real_data_come_out_much_better_than_zero_filled(name: str, shared: Callable[[str], Path], tmp_path: Path) -> None:
    raw = shared(f"raw/{name}.h5")
    assert untrained_recon("replay", raw, "-o", tmp_path / "out.h5", "--config", "fast", "--device", "cpu").returncode == 0
    done = untrained_recon("compare", raw, tmp_path / "out.h5")
    ratios = [float(line.split("│")[-2]) for line in done.stdout.splitlines() if "ours" in line]
    assert len(ratios) == 2
    assert max(ratios) < 0.75
