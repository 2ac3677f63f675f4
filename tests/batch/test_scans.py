from pathlib import Path

import numpy as np
import pytest

from untrained_recon.batch.scans import FileState, find_scans, inputs_of
from untrained_recon.errors import ConfigError, RawFileError


@pytest.fixture
def data(tmp_path: Path, small_scan: Path) -> Path:
    """A folder with scans of several kinds, what lies beside them, and what is none."""
    folder = tmp_path / "data"
    (folder / "deeper").mkdir(parents=True)
    (folder / "raw.h5").write_bytes(small_scan.read_bytes())
    (folder / "damaged.h5").write_bytes(small_scan.read_bytes()[:3000])
    np.save(folder / "deeper" / "array.npy", np.ones((2, 8, 8), np.complex64))
    np.save(folder / "deeper" / "array.mask.npy", np.ones(8, bool))
    np.save(folder / "truth.npy", np.ones((8, 8), np.float32))
    (folder / "broken.npy").write_bytes(b"\x93NUMPY")
    (folder / "bart.cfl").write_bytes(b"")
    (folder / "bart.hdr").write_text("# Dimensions\n1\n")
    (folder / "notes.txt").write_text("of the day")
    return folder


def names(data: list[object]) -> list[str]:
    return [scan.name for scan in find_scans(map(str, data))]


def test_a_folder_gives_what_holds_kspace_and_what_cannot_be_told(data: Path) -> None:
    assert names([data]) == ["bart", "broken", "damaged", "array", "raw"]


def test_files_patterns_and_folders_go_together_and_count_once(data: Path) -> None:
    assert names([data / "raw.h5", data / "*.h5", data / "deeper"]) == ["damaged", "array", "raw"]
    assert names([f"{data}/**/*.npy"]) == ["broken", "array"]
    assert names([data / "deeper" / "array.npy", data / "deeper" / "array.mask.npy"]) == ["array"]  # as a shell expands array*.npy
    assert names([data / "notes.txt"]) == ["notes"]  # what is named is told of, not left out


def test_results_are_no_scans(data: Path, small_scan: Path) -> None:
    (data / "out").mkdir()
    (data / "out" / "x.h5").write_bytes(small_scan.read_bytes())
    assert "x" not in [scan.name for scan in find_scans([data], data / "out")]


@pytest.mark.parametrize("given", ["absent.h5", "absent/*.h5", "empty"])
def test_what_is_not_there_is_named(tmp_path: Path, given: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RawFileError, match=given.replace("*", r"\*")):
        find_scans([tmp_path / given])


def test_files_of_the_same_name_are_told_apart_by_their_folders(data: Path, small_scan: Path) -> None:
    for name in ("a", "b"):
        (data / name).mkdir()
        (data / name / "kspace.h5").write_bytes(small_scan.read_bytes())
    assert names([data / "a", data / "b", data / "raw.h5"]) == ["a_kspace.h5", "b_kspace.h5", "raw"]
    (data / "a_kspace.h5.h5").write_bytes(small_scan.read_bytes())
    with pytest.raises(ConfigError, match=r"a_kspace\.h5"):
        names([data])


def test_a_scan_is_made_of_what_lies_beside_it(data: Path) -> None:
    assert [path.name for path in inputs_of(data / "deeper" / "array.npy")] == ["array.npy", "array.mask.npy"]
    assert [path.name for path in inputs_of(data / "bart.cfl")] == ["bart.cfl", "bart.hdr"]
    assert [path.name for path in inputs_of(data / "raw.h5")] == ["raw.h5"]


def test_a_file_is_the_same_where_its_content_is(tmp_path: Path) -> None:
    path, moved = tmp_path / "a", tmp_path / "deeper" / "a"
    path.write_bytes(b"content")
    moved.parent.mkdir()
    state = FileState.of(path)
    assert state.still(path)
    moved.write_bytes(b"content")
    assert state.still(moved)
    moved.write_bytes(b"CONTENT")
    assert not state.still(moved)
    path.write_bytes(b"other")
    assert not state.still(path)
    path.unlink()
    assert not state.still(path)
