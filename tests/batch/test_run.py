"""Batches as a whole: what is made, what is not made again, what becomes of what cannot be made."""

import csv
import dataclasses
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from untrained_recon.batch.folder import BatchFolder
from untrained_recon.batch.make import failed, make
from untrained_recon.batch.record import Record
from untrained_recon.batch.run import Progress, reconstruct_files
from untrained_recon.batch.scans import Scan
from untrained_recon.batch.task import Made, Task
from untrained_recon.config import Config, load_config
from untrained_recon.errors import ConfigError, RawFileError, WorkerError
from untrained_recon.files.convert import convert
from untrained_recon.files.images import read_images
from untrained_recon.serving.session import Session
from untrained_recon.workers.share import Submit

QUICK = {"fit.iterations": "2", "refine.iterations": "1", "network.channels": "8", "device": "cpu"}


@contextmanager
def here() -> Iterator[Submit]:
    """An engine of this process."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda do, item: pool.submit(do, item, "")


@pytest.fixture
def config() -> Config:
    return load_config("fast", QUICK)


@pytest.fixture
def data(tmp_path: Path, small_scan: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.h5").write_bytes(small_scan.read_bytes())
    return folder


def run(data: Path, config: Config, force: bool = False, exports: tuple[str, ...] = ()) -> tuple[list[Record], list[Progress]]:
    seen: list[Progress] = []
    return reconstruct_files([data], data.parent / "out", config, here, exports=exports, force=force, follow=seen.append), seen


def made(seen: list[Progress]) -> list[str]:
    return [progress.record.name for progress in seen if progress.fresh]


def failures(out: Path) -> list[dict[str, str]]:
    with (out / "failures.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_scan_has_images_a_log_and_a_record(data: Path, config: Config) -> None:
    records, seen = run(data, config)
    out = data.parent / "out"
    assert [(record.name, record.outcome, len(record.images)) for record in records] == [("a", "done", 2), ("b", "done", 2)]
    assert [(progress.done, progress.total) for progress in seen] == [(1, 2), (2, 2)]
    assert seen[-1].seconds_left == 0
    assert failures(out) == []
    first = records[0]
    assert BatchFolder(out).read("a") == first
    assert first.images[1]["image"] == "slice 1"
    assert first.images[1]["account"]["iterations"] == 2
    assert (first.inputs[0].path, first.fallbacks, first.error) == (str(data / "a.h5"), 0, "")
    assert [image.slice for image in read_images(out / "images" / "a.h5", 0)] == [0, 1]
    log = (out / "logs" / "a.log").read_text()
    assert "slice 1" in log or log == ""  # as far as the process logs
    assert "[b]" not in log


def test_what_is_done_is_not_done_again(data: Path, config: Config, small_scan: Path) -> None:
    run(data, config)
    out = data.parent / "out"
    before = (out / "images" / "a.h5").stat().st_mtime_ns
    records, seen = run(data, config.model_copy(update={"name": "renamed", "device": "auto"}))
    assert made(seen) == []
    assert [record.outcome for record in records] == ["done", "done"]
    assert (out / "images" / "a.h5").stat().st_mtime_ns == before

    np.save(data / "a.mask.npy", np.ones(64, bool))
    assert made(run(data, config)[1]) == ["a"]
    (out / "images" / "b.h5").unlink()
    assert made(run(data, config)[1]) == ["b"]
    (data / "c.h5").write_bytes(small_scan.read_bytes())
    assert made(run(data, config)[1]) == ["c"]
    (out / "records" / "c.json").write_text("{")
    assert made(run(data, config)[1]) == ["c"]
    assert made(run(data, config.model_copy(update={"seed": 1}))[1]) == ["a", "b", "c"]
    assert made(run(data, config.model_copy(update={"seed": 1}), force=True)[1]) == ["a", "b", "c"]


def test_other_formats_are_added_to_images_that_are_there(data: Path, config: Config) -> None:
    run(data, config)
    out = data.parent / "out"
    before = (out / "images" / "a.h5").stat().st_mtime_ns
    records, seen = run(data, config, exports=("npy", "cfl"))
    assert made(seen) == ["a", "b"]
    assert [record.exports for record in records] == [("cfl", "npy")] * 2
    assert list((out / "npy" / "a").glob("*.npy"))
    assert list((out / "cfl" / "b").glob("*.cfl"))
    assert (out / "images" / "a.h5").stat().st_mtime_ns == before
    assert made(run(data, config, exports=("cfl",))[1]) == []
    assert made(run(data, config, force=True)[1]) == ["a", "b"]
    assert not (out / "npy" / "a").exists()  # of the images before


def test_an_export_that_fails_is_a_failure_with_images(data: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise RawFileError("no room")

    monkeypatch.setattr("untrained_recon.batch.make.export", full)
    records, _ = run(data, config, exports=("npy",))
    assert [(record.outcome, record.error) for record in records] == [("failed", "--npy: RawFileError: no room")] * 2
    assert (data.parent / "out" / "images" / "a.h5").exists()


def test_a_damaged_file_is_named_and_costs_no_other(data: Path, config: Config, small_scan: Path) -> None:
    whole = (data / "a.h5").read_bytes()
    (data / "a.h5").write_bytes(whole[:3000])
    records, _ = run(data, config)
    assert [record.outcome for record in records] == ["failed", "done"]
    out = data.parent / "out"
    (row,) = failures(out)
    assert (row["scan"], row["outcome"], row["file"]) == ("a", "failed", str(data / "a.h5"))
    assert "RawFileError" in row["error"]
    assert not (out / "images" / "a.h5").exists()
    assert "RawFileError" in (out / "logs" / "a.log").read_text()

    (data / "a.h5").write_bytes(whole)
    _, seen = run(data, config)
    assert made(seen) == ["a"]
    assert failures(out) == []


def test_images_of_before_do_not_stay_beside_a_failure(data: Path, config: Config) -> None:
    """They are of other data."""
    run(data, config, exports=("npy",))
    (data / "a.h5").write_bytes(b"no longer")
    records, _ = run(data, config)
    out = data.parent / "out"
    assert not (out / "images" / "a.h5").exists()
    assert not (out / "npy" / "a").exists()
    assert records[0].kept == ""


@pytest.mark.parametrize("whole", [True, False])
def test_images_of_the_same_data_stay_until_new_ones_are_complete(
    data: Path, config: Config, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Whatever goes wrong: before the first image, or before the last."""

    def images(self: Session, *args: Any) -> Iterator[Any]:
        if not whole:
            yield next(make_images(self, *args))
        raise RawFileError("no more")

    out, make_images = data.parent / "out", Session.images
    (first, _), _ = run(data, config, exports=("npy",))
    before = (out / "images" / "a.h5").stat().st_ino
    monkeypatch.setattr(Session, "images", images)
    for changed in (config.model_copy(update={"seed": 1}), config):
        records, _ = run(data, changed, force=changed is config, exports=("npy",))
        assert (records[0].outcome, records[0].kept) == ("failed", first.started)
        assert failures(out)[0]["error"] == f"RawFileError: no more; the images are still those of {first.started}"
        assert (records[0].images, records[0].exports) == (first.images, first.exports)
        assert (out / "images" / "a.h5").stat().st_ino == before
        assert list((out / "npy" / "a").iterdir())
        assert "no more" in (out / "logs" / "a.log").read_text()
        assert [path.name for path in sorted((out / "images").iterdir())] == ["a.h5", "b.h5"]

    monkeypatch.undo()
    records, seen = run(data, config)
    assert (made(seen), records[0].outcome, records[0].kept) == (["a", "b"], "done", "")
    assert (out / "images" / "a.h5").stat().st_ino != before
    assert not (out / "npy" / "a").exists()
    assert failures(out) == []


@pytest.mark.parametrize(
    "text",
    ["{", '{"name": "a", "of a later version": 1}', 100_000 * "[", '{"inputs": []}'],
    ids=["broken", "other", "deep", "of no file"],
)
def test_what_was_made_before_is_set_aside_where_no_record_can_tell_what_it_is(data: Path, config: Config, text: str) -> None:
    """It may be of another file, and what comes now may fail."""
    run(data, config, exports=("npy",))
    out, scan = data.parent / "out", data / "a.h5"
    before, content = (out / "images" / "a.h5").read_bytes(), scan.read_bytes()
    for number in (1, 2):
        (out / "records" / "a.json").write_text(text)
        scan.write_bytes(b"no longer" if number == 1 else content)
        (record, _), seen = run(data, config)
        assert (made(seen), record.outcome, record.kept) == (["a"], "failed" if number == 1 else "done", "")
        assert (out / "images" / "a.h5").exists() == (number == 2)
    aside = out / "unreadable" / "a.1"
    assert (aside / "images" / "a.h5").read_bytes() == before
    assert (aside / "records" / "a.json").read_text() == text
    assert list((aside / "npy" / "a").iterdir())
    assert [path.name for path in (out / "unreadable" / "a.2").iterdir()] == ["records"]
    task = a_task(data, config)[1]
    (out / "records" / "a.json").write_text(text)
    assert failed(task, RuntimeError("killed")).record.outcome == "failed"
    assert (out / "unreadable" / "a.3" / "images" / "a.h5").exists()


def test_results_on_another_file_system_are_set_aside_too(data: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    run(data, config)
    out, rename = data.parent / "out", os.rename
    before = (out / "images" / "a.h5").read_bytes()
    (out / "records" / "a.json").write_text("{")

    def within_one(src: Path, dst: Path) -> None:
        if Path(src).parent.name == "images" and "unreadable" in str(dst):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(src, dst)

    monkeypatch.setattr(os, "rename", within_one)
    (record, _), _ = run(data, config)
    assert record.outcome == "done"
    assert (out / "unreadable" / "a.1" / "images" / "a.h5").read_bytes() == before


def test_a_worker_that_dies_of_a_scan_leaves_its_images_of_before(data: Path, config: Config) -> None:
    (first, _), _ = run(data, config)
    _, task = a_task(data, config)
    assert failed(task, RuntimeError("killed")).record == first  # by another process, since this task was begun
    assert failed(dataclasses.replace(task, before=first), RuntimeError("killed")).record.kept == first.started
    assert task.image.exists()


def test_of_a_scan_that_breaks_off_the_whole_images_are_kept(data: Path, config: Config) -> None:
    with h5py.File(data / "a.h5", "r+") as file:
        rows = file["dataset/data"]
        last = rows[len(rows) - 1]
        last["data"][:] = np.nan
        rows[len(rows) - 1] = last
    records, _ = run(data, config)
    assert records[0].outcome == "partial"
    assert "NonFinite" in records[0].error
    assert [row["outcome"] for row in failures(data.parent / "out")] == ["partial"]
    assert [image.slice for image in read_images(data.parent / "out" / "images" / "a.h5", 0)] == [0]
    assert made(run(data, config)[1]) == ["a"]


def test_arrays_with_a_mask_and_undersampled_fastmri_files(tmp_path: Path, config: Config) -> None:
    rng = np.random.default_rng(0)
    ksp = rng.standard_normal((2, 4, 32, 32)) + 1j * rng.standard_normal((2, 4, 32, 32))
    mask = np.zeros(32, bool)
    mask[::2] = mask[10:22] = True
    data = tmp_path / "data"
    data.mkdir()
    np.save(data / "array.npy", ksp.astype(np.complex64))
    convert(data / "array.npy", data / "bart.cfl")
    for name in ("array", "bart"):
        np.save(data / f"{name}.mask.npy", mask)
    with h5py.File(data / "challenge.h5", "w") as file:
        file["kspace"] = (ksp * mask[:, None]).swapaxes(2, 3).astype(np.complex64)
        file["mask"] = mask
    records, _ = run(data, config)
    assert [(record.name, record.outcome, len(record.images)) for record in records] == [
        ("array", "done", 2),
        ("bart", "done", 2),
        ("challenge", "done", 2),
    ]
    assert [Path(state.path).name for state in records[0].inputs] == ["array.npy", "array.mask.npy"]


def test_a_folder_with_other_things_is_not_taken(data: Path, config: Config) -> None:
    out = data.parent / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("")
    with pytest.raises(RawFileError, match=r"thesis\.tex.*--force"):
        run(data, config)
    assert list(out.iterdir()) == [out / "thesis.tex"]
    run(data, config, force=True)
    assert made(run(data, config)[1]) == []


def test_what_others_keep_under_a_name_of_ours_is_never_touched(data: Path, config: Config) -> None:
    theirs = data.parent / "out" / "dicom" / "a" / "IM0001.dcm"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("a scanner's")
    with pytest.raises(RawFileError, match="holds dicom, whose content would be replaced"):
        run(data, config, force=True)
    assert theirs.read_text() == "a scanner's"


def test_a_scan_does_not_take_the_place_of_another(data: Path, config: Config, small_scan: Path) -> None:
    run(data, config)
    moved = data.rename(data.parent / "moved")
    assert made(run(moved, config)[1]) == []
    (moved / "a.h5").write_bytes(small_scan.read_bytes() + b"\0")
    with pytest.raises(ConfigError, match=r"a is .*data/a\.h5 there"):
        run(moved, config)


def test_a_worker_that_dies_of_a_scan_costs_no_other(data: Path, config: Config) -> None:
    @contextmanager
    def engine() -> Iterator[Submit]:
        with here() as submit:
            yield lambda do, task: dead() if task.scan.name == "a" else submit(do, task)

    def dead() -> "Future[Made | None]":
        future: Future[Made | None] = Future()
        future.set_exception(RuntimeError("killed thrice"))
        return future

    records = reconstruct_files([data], data.parent / "out", config, engine)
    assert [record.outcome for record in records] == ["failed", "done"]
    assert [row["error"] for row in failures(data.parent / "out")] == ["RuntimeError: killed thrice"]


def test_workers_that_are_gone_end_the_batch_and_keep_what_is_done(data: Path, config: Config) -> None:
    @contextmanager
    def engine() -> Iterator[Submit]:
        with here() as submit:
            yield lambda do, task: gone() if task.scan.name == "b" else wait_for(submit(do, task))

    def gone() -> "Future[Made | None]":
        future: Future[Made | None] = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future

    def wait_for(future: "Future[Made | None]") -> "Future[Made | None]":
        future.result()
        return future

    with pytest.raises(WorkerError, match="again"):
        reconstruct_files([data], data.parent / "out", config, engine)
    assert made(run(data, config)[1]) == ["b"]


def a_task(data: Path, config: Config) -> tuple[BatchFolder, Task]:
    folder = BatchFolder.take(data.parent / "out")
    return folder, Task(Scan("a", data / "a.h5"), folder.path, config)


def test_a_scan_in_work_elsewhere_is_left_alone_then_made(data: Path, config: Config) -> None:
    folder, task = a_task(data, config)
    claim = folder.claims.attempt("a")
    assert claim is not None
    assert make(task) is None

    threading.Timer(1.0, claim.close).start()
    _, seen = run(data, config)
    assert made(seen) == ["b", "a"]


def test_what_the_other_made_meanwhile_counts_even_a_failure(data: Path, config: Config) -> None:
    _, task = a_task(data, config)
    (data / "a.h5").write_bytes(b"damaged")
    first = make(task)
    assert first is not None
    assert first.record.outcome == "failed"
    assert make(task) == Made(first.record, False)

    later = make(replace(task, before=first.record))
    assert later is not None
    assert later.fresh


def test_what_the_other_made_in_fewer_formats_gets_the_others(data: Path, config: Config) -> None:
    _, task = a_task(data, config)
    assert make(task) is not None
    found = make(replace(task, exports=("npy",)))
    assert found is not None
    assert (found.fresh, found.record.exports) == (True, ("npy",))


def test_a_claim_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    folder = BatchFolder.take(tmp_path / "out")
    code = "import sys, time; from pathlib import Path; from untrained_recon.batch.folder import BatchFolder\n"
    code += "claim = BatchFolder(Path(sys.argv[1])).claims.attempt('a'); print('has it', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, folder.path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "has it\n"
        assert folder.claims.attempt("a") is None
        holder.kill()
    claim = folder.claims.attempt("a")
    assert claim is not None
    claim.close()


def test_a_worker_that_does_not_see_the_folder_says_so(data: Path, config: Config, tmp_path: Path) -> None:
    with pytest.raises(RawFileError, match="shared file system"):
        make(Task(Scan("a", data / "a.h5"), tmp_path / "elsewhere", config))
