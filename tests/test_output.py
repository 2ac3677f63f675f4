"""What is written is whole or not there, replaces regular files only, and says why it cannot be written."""

import contextlib
import dataclasses
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import ismrmrd
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.conftest import SMALL
from tests.doubles.volumes import random_ksp
from untrained_recon.cli.main import cli
from untrained_recon.errors import ConfigError, RawFileError
from untrained_recon.files.convert import convert
from untrained_recon.files.export import export
from untrained_recon.files.images import image_file
from untrained_recon.output import HDF5Output, make_folder, require_folder, require_place, write_array, write_text, written
from untrained_recon.phantom.simulation import simulate
from untrained_recon.study.results import Key, ResultsFile, Row
from untrained_recon.study.train_unet import Training, train_unet

WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda folder: write_text(folder / "out", "x" * 100_000),
    "array": lambda folder: write_array(folder / "out.npy", np.zeros(20_000)),
    "simulate": lambda folder: simulate(folder / "out.h5", dataclasses.replace(SMALL, slices=3)),
    "raw": lambda folder: convert(array(folder), folder / "out.h5"),
    "fastmri": lambda folder: convert(array(folder), folder / "out.h5", "fastmri"),
    "npy": lambda folder: convert(array(folder), folder / "out.npy"),
    "cfl": lambda folder: convert(array(folder), folder / "out.cfl"),
    "images": lambda folder: write_images(folder / "out.h5"),
    "pictures": lambda folder: pictures(folder),
    "weights": lambda folder: train_unet([pair()], [pair()], folder, Training(1, chans=16, pools=2), torch.device("cpu")),
}


def array(folder: Path) -> Path:
    return folder / "in.npy"


def image(shape: tuple[int, int]) -> ismrmrd.Image:
    pixels = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return ismrmrd.Image.from_array(pixels, transpose=False)


def pictures(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    export(folder / "in.h5", folder, "png", force=True)


def pair() -> tuple[np.ndarray, np.ndarray]:
    return np.ones((32, 32), np.float32), np.ones((32, 32), np.float32)


def write_images(path: Path) -> None:
    with image_file(path, b"<ismrmrdHeader/>") as out:
        for _ in range(20):
            out.append_image(0, image((256, 256)))


@contextlib.contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file can be longer than so many bytes: what a full disk does, without a disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 3000, 40_000])
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_a_named_error_and_leaves_what_was_there(name: str, size: int, tmp_path: Path) -> None:
    np.save(array(tmp_path), random_ksp((3, 2, 64, 48)))
    write_images(tmp_path / "in.h5")
    for old in ("out", "out.h5", "out.npy", "out.cfl", "out.truth.npy", "slice0.png"):
        (tmp_path / old).write_text("older")
    before = sorted(tmp_path.iterdir())
    with small_disk(size), pytest.raises(RawFileError, match="cannot be written: File too large"):
        WRITERS[name](tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    assert {path.read_text() for path in before if path.stem != "in"} == {"older"}


def test_a_row_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "results.csv")
    row = Row(Key("a", 0, "s", "m", "h"), 2.0, 1.0, 0, "", {})
    results.append(row)
    before = results.path.read_bytes()
    with small_disk(len(before) + 10), pytest.raises(RawFileError, match=r"results\.csv: cannot be written: File too large"):
        results.append(dataclasses.replace(row, seconds=3.0))
    assert results.path.read_bytes() == before
    results.append(dataclasses.replace(row, seconds=3.0))
    assert [found.seconds for found in results.rows()] == [3.0]


@pytest.mark.parametrize("size", [1000, 100_000])
def test_the_command_line_survives_a_full_disk(size: int, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "untrained_recon.cli",
        "simulate",
        "-o",
        str(tmp_path / "out.h5"),
        "--shape",
        "64x64",
        "--acs",
        "8",
    ]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr == f"error: RawFileError: {tmp_path}/out.h5: cannot be written: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_hdf5_closes_quietly_after_a_failure_and_the_failure_is_raised(tmp_path: Path) -> None:
    def write() -> None:
        with HDF5Output(tmp_path / "out.h5") as file:
            dataset = ismrmrd.Dataset(file, "dataset")
            dataset.write_xml_header(b"<x/>" * 1000)
            dataset.append_image("image_0", image((64, 64)))
            dataset.close()

    with small_disk(500), pytest.raises(OSError, match="File too large"):
        write()


def device(folder: Path) -> Path:
    return Path(os.devnull)


def link_to_device(folder: Path) -> Path:
    (folder / "link").symlink_to(os.devnull)
    return folder / "link"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def circle(folder: Path) -> Path:
    (folder / "circle").symlink_to("circle")
    return folder / "circle"


def folder_itself(folder: Path) -> Path:
    return folder


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "out"


PLACES = [
    (device, "no regular file"),
    (link_to_device, "no regular file"),
    (pipe, "no regular file"),
    (folder_itself, "no regular file"),
    (circle, "Symlink loop|symbolic links"),
    (below_a_file, "does not exist|Not a directory"),
    (lambda folder: folder / "none" / "out", "does not exist"),
    (lambda folder: folder / ("x" * 300), "name too long"),
]


@pytest.mark.parametrize(("place", "message"), PLACES, ids=range(len(PLACES)))
def test_only_regular_files_and_new_names_are_written(place: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    path = place(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RawFileError, match=message), written(path) as part:
        part.write_text("new")
    assert sorted(tmp_path.iterdir()) == before
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@pytest.mark.parametrize(
    "arguments",
    [
        "simulate --shape 32x32 --coils 2 --acs 4 -o",
        "replay RAW -o",
        "convert ARRAY --format raw",
        "convert ARRAY --format fastmri",
        "evaluate ARRAY --method fast -o",
        "bench speed --iterations 3 -o",
        "bench service -o",
        "bench quality ARRAY -o",
        "integration-test --service localhost:1 --cases FOLDER --junit",
        "train-unet FOLDER FOLDER -o",
        "reproduce table1 --data FOLDER -o",
        "compare RAW RAW --truth ARRAY --png",
        "replay RAW -o OUT --png",
    ],
)
def test_no_command_writes_to_a_device(arguments: str, small_scan: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "ksp.npy", random_ksp((2, 32, 32)))
    (tmp_path / "device.h5").symlink_to(os.devnull)
    places = {"RAW": small_scan, "ARRAY": tmp_path / "ksp.npy", "FOLDER": tmp_path, "OUT": tmp_path / "out.h5"}
    for path in (Path(os.devnull), tmp_path / "device.h5"):
        words = [str(places.get(word, word)) for word in arguments.split()]
        result = CliRunner().invoke(cli, [*words, str(path)])
        assert result.exit_code != 0
        assert isinstance(result.exception, RawFileError | ConfigError | SystemExit), result.exception
        assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
        assert (tmp_path / "device.h5").is_symlink()


def test_links_are_followed_and_files_come_together(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    with written(tmp_path / "link") as part:
        part.write_text("new")
        part.with_name("beside").write_text("too")
        assert not (tmp_path / "real" / "file").exists()
    assert (tmp_path / "link").is_symlink()
    assert {path.name: path.read_text() for path in (tmp_path / "real").iterdir()} == {"file": "new", "beside": "too"}


def test_an_error_while_writing_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("older")

    def write() -> None:
        with written(tmp_path / "out") as part:
            part.write_text("new")
            raise ConnectionError("not the disk's")

    with pytest.raises(ConnectionError):
        write()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_an_input_is_named_before_it_would_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(RawFileError, match="b: the output would replace the truth"):
        require_place(tmp_path / "b", {"the mask": None, "the absent": tmp_path / "c", "the truth": tmp_path / "a"})


def test_folders_for_files(tmp_path: Path) -> None:
    require_folder(tmp_path / "new" / "newer")
    assert list(tmp_path.iterdir()) == []
    make_folder(tmp_path / "new" / "newer")
    assert (tmp_path / "new" / "newer").is_dir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path(os.devnull), tmp_path / ("x" * 300)):
        with pytest.raises(RawFileError, match="cannot be written"):
            make_folder(path)
