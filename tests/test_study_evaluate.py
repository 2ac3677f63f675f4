"""An evaluation of two small files with two methods: rows, resuming, failures, tables, page."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
import torch

from untrained_recon.config import Config, load_config
from untrained_recon.errors import EvaluationError, RawFileError
from untrained_recon.masks import Sampling
from untrained_recon.operators import fft2
from untrained_recon.phantom import coil_maps, head
from untrained_recon.study.evaluate import RESULTS, Plan, evaluate
from untrained_recon.study.files import open_volume
from untrained_recon.study.page import write_report
from untrained_recon.study.resolution import LowResolution
from untrained_recon.study.results import SCORES, ResultsFile, Row
from untrained_recon.study.sampling import truth
from untrained_recon.study.summary import frame, paired, summarise, volume_scores
from untrained_recon.study.trace import load_trace

CPU = torch.device("cpu")


def methods() -> dict[str, Config]:
    return {"cg": load_config("fast", {"recon.method": "cg-sense"}), "zero": load_config("fast", {"recon.method": "zero-filled"})}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kspace")
    for name, slices in (("one", 1), ("three", 3)):
        ksp = np.stack(
            [fft2(torch.from_numpy(coil_maps((64, 48), 4) * head((64, 48), 0.0, n))).numpy() for n in range(slices)]
        ).astype(np.complex64)
        np.save(folder / f"{name}.npy", ksp)
    return folder


def plan(files: Path, **changes: object) -> Plan:
    made = Plan([files / "one.npy", files / "three.npy"], methods(), [Sampling("random", 3, 12)], slices="all")
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def test_every_image_gets_a_row_and_cg_sense_beats_zero_filling(files: Path, tmp_path: Path) -> None:
    rows = evaluate(plan(files), tmp_path, CPU)
    assert [(r.key.volume, r.key.item, r.key.method) for r in rows] == [
        (volume, item, method) for volume, items in (("one", 1), ("three", 3)) for item in range(items) for method in ("cg", "zero")
    ]
    for cg, zero in zip(rows[::2], rows[1::2], strict=True):
        assert cg.scores["ours: nrmse"] < 0.8 * zero.scores["ours: nrmse"]
        assert cg.scores["ours: psnr"] > zero.scores["ours: psnr"]
        assert cg.acceleration == zero.acceleration > 1.5
    assert list(ResultsFile(tmp_path / RESULTS).rows()) == rows or np.isnan(rows[0].scores["ours: ms_ssim"])


def test_what_is_done_is_not_done_again_and_what_failed_is(files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = methods() | {"unet": load_config("fast", {"recon.method": "unet", "unet.weights": str(tmp_path / "none.pt")})}
    done: list[str] = []
    first = evaluate(plan(files, methods=settings, slices="middle"), tmp_path, CPU, lambda row: done.append(row.key.method))
    assert [bool(row.error) for row in first] == [False, False, True] * 2
    assert "none.pt" in first[2].error
    assert len(done) == 6
    done.clear()
    evaluate(plan(files, methods=settings, slices="middle"), tmp_path, CPU, lambda row: done.append(row.key.method))
    assert done == ["unet"] * 2
    changed = methods() | {"cg": load_config("fast", {"recon.method": "cg-sense", "seed": "1"})}  # other settings, another row
    done.clear()
    evaluate(plan(files, methods=changed, slices="middle"), tmp_path, CPU, lambda row: done.append(row.key.method))
    assert done == ["cg"] * 2


def test_a_file_that_cannot_be_read_is_reported_and_the_others_go_on(
    files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = evaluate(plan(files, paths=[tmp_path / "absent.npy", files / "one.npy"]), tmp_path, CPU)
    assert [bool(row.error) for row in rows] == [True, False, False]
    assert "absent.npy" in rows[0].error


def test_damaged_files_of_every_format_end_nothing(files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ksp = np.load(files / "three.npy")
    ksp[0, :, 3] = np.nan
    np.save(tmp_path / "nan.npy", ksp)
    (tmp_path / "cut.npy").write_bytes((files / "three.npy").read_bytes()[:5000])
    with h5py.File(tmp_path / "empty.h5", "w") as f:
        f.create_dataset("kspace", data=np.zeros((0, 4, 32, 32), np.complex64))
    with h5py.File(tmp_path / "header.h5", "w") as f:
        f.create_dataset("kspace", data=ksp)
        f["ismrmrd_header"] = "<ismrmrdHeader"  # not needed
    with h5py.File(tmp_path / "scan.h5", "w") as f:
        f.create_dataset("dataset/xml", data=[b"<ismrmrdHeader/>"])
    (tmp_path / "text.h5").write_text("no HDF5")
    paths = [*sorted(tmp_path.iterdir()), files / "one.npy"]
    rows = evaluate(plan(files, paths=paths), tmp_path / "out", CPU)
    failed = [(row.key.volume, row.key.item) for row in rows if row.error]
    assert failed == [("cut", -1), ("empty", -1), ("header", 0), ("nan", 0), ("scan", -1), ("text", -1)]
    made = {(row.key.volume, row.key.item) for row in rows if not row.error}
    assert made == {("header", 1), ("header", 2), ("nan", 1), ("nan", 2), ("one", 0)}


def test_an_image_without_scores_is_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.save(tmp_path / "zero.npy", np.zeros((4, 64, 48), np.complex64))
    rows = evaluate(Plan([tmp_path / "zero.npy"], methods(), [Sampling("random", 3, 12)]), tmp_path, CPU)
    assert [row.error.split(":")[0] for row in rows] == ["ValueError"] * 2


def test_files_of_the_same_name_are_refused_before_anything_is_done(files: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="several are named one; rename"):
        evaluate(plan(files, paths=[files / "one.npy", tmp_path / "one.npy"]), tmp_path / "out", CPU)
    assert not (tmp_path / "out").exists()


def test_traces_are_part_of_what_is_resumed(files: Path, tmp_path: Path) -> None:
    quick = {"network.channels": "8", "fit.iterations": "5", "refine.iterations": "1"}
    asked = plan(files, paths=[files / "one.npy"], methods=methods() | {"ours": load_config("fast", quick)})
    done: list[str] = []

    def run(trace: bool) -> list[Row]:
        done.clear()
        return evaluate(dataclasses.replace(asked, trace=trace), tmp_path, CPU, lambda row: done.append(row.key.method))

    run(trace=False)
    assert not list(tmp_path.rglob("*.trace.csv"))
    rows = run(trace=True)
    assert done == ["ours"]
    points = load_trace(tmp_path / rows[-1].key.trace_path)
    assert points[-1] == pytest.approx((rows[-1].seconds, rows[-1].scores["ours: psnr"]))
    run(trace=True)
    assert done == []


def test_a_mask_that_asks_for_too_much_is_a_failure_of_its_rows(
    files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = evaluate(plan(files, paths=[files / "one.npy"], samplings=[Sampling("random", 8, 32)]), tmp_path, CPU)
    assert all(row.error.startswith("ConfigError: 32 ACS lines are 64/8 lines or more") for row in rows)


def test_a_damaged_results_file_is_named_with_its_line(files: Path, tmp_path: Path) -> None:
    evaluate(plan(files, slices="middle"), tmp_path, CPU)
    with (tmp_path / RESULTS).open("a") as f:
        f.write("three,1,rand")
    with pytest.raises(RawFileError, match=r"results\.csv: line 6 is not a row of results"):
        evaluate(plan(files), tmp_path, CPU)


def test_means_and_intervals_are_those_of_student() -> None:
    table = pandas.DataFrame(
        {
            "volume": ["a", "b", "c"] * 2,
            "item": 0,
            "sampling": "s",
            "method": ["x"] * 3 + ["y"] * 3,
            "ours: psnr": [30.0, 32.0, 34.0, 31.0, 33.0, 36.0],
        }
    )
    x = summarise(table, ["ours: psnr"]).iloc[0]
    assert (x["mean"], x["images"]) == (32.0, 3)
    assert x["high"] - x["mean"] == pytest.approx(4.302653 * 2 / 3**0.5, rel=1e-5)
    difference = paired(table, "x", ["ours: psnr"]).iloc[0]
    assert (difference["method"], difference["mean"]) == ("y", pytest.approx(4 / 3))
    single = summarise(table[table["volume"] == "a"], ["ours: psnr"])
    assert single["low"].isna().all()


def test_the_page_holds_tables_pictures_and_failures_in_itself(
    files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = evaluate(plan(files, paths=[files / "three.npy", files / "none.npy"]), tmp_path, CPU)
    text = write_report(rows, tmp_path).read_text()
    assert text.count("data:image/png;base64,") == 3
    assert "none.npy" in text
    assert "http" not in text
    volumes = volume_scores(frame(rows), tmp_path)
    assert list(volumes["images"]) == [3, 3]
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "volumes.csv"), volumes, check_dtype=False)
    assert set(pandas.read_csv(tmp_path / "summary.csv")["score"]) == set(SCORES)


def test_a_page_of_failures_only_is_a_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = evaluate(Plan([tmp_path / "none.npy"], methods(), [Sampling("random", 3, 12)]), tmp_path, CPU)
    assert "none.npy" in write_report(rows, tmp_path).read_text()


def test_low_resolution_knows_which_lines_are_missing(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_volume(files / "one.npy") as full:
        acquired = np.arange(64) >= 20
        monkeypatch.setattr(type(full), "lines", lambda self, item: acquired)
        np.testing.assert_array_equal(LowResolution(full, 32).lines(0), acquired[16:48])


def test_low_resolution_keeps_the_field_of_view(files: Path) -> None:
    with open_volume(files / "one.npy") as full:
        low = LowResolution(full, 32)
        assert (low.shape, low.recon_shape) == ((4, 32, 32), (32, 32))
        fine, coarse = truth(full[0], full.encoding), truth(low[0], low.encoding)
        # the same object at the same place: its profile along y, sampled half as densely
        assert np.corrcoef(fine[::2].sum(1), coarse.sum(1))[0, 1] > 0.97
        assert LowResolution(full, 1000).shape == full.shape
