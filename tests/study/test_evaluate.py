"""An evaluation of two small files with two methods: rows, resuming, failures, tables, page."""

import dataclasses
from datetime import date
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
import torch
from click.testing import CliRunner, Result

from untrained_recon import __version__
from untrained_recon.cli.main import cli
from untrained_recon.config import Config, load_config
from untrained_recon.errors import EvaluationError, MissingExtraError, RawFileError
from untrained_recon.files.open import open_volume
from untrained_recon.masks import Sampling
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import fft2, rss_image
from untrained_recon.recon.plane import reconstruct
from untrained_recon.study.evaluate import Plan, earlier, evaluate
from untrained_recon.study.origin import Origin
from untrained_recon.study.page import write_report
from untrained_recon.study.resolution import LowResolution
from untrained_recon.study.results import FOREGROUND, RESULTS, SCORES, ResultsFile, Row
from untrained_recon.study.summary import FEWEST, bootstrapped, frame, paired, summarise, volume_scores
from untrained_recon.study.trace import load_trace
from untrained_recon.types import KSpace, Reconstruction

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


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.study.page.PANELS", 0)


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
    scored = rows[-1].scores
    assert points[-1] == pytest.approx((rows[-1].seconds, scored["ours: psnr"], scored[f"{FOREGROUND}: psnr"]))
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


def test_results_of_an_earlier_version_get_the_scores_that_they_lack(files: Path, tmp_path: Path) -> None:
    rows = evaluate(plan(files), tmp_path, CPU)
    path = tmp_path / RESULTS
    older = pandas.read_csv(path)
    older.drop(columns=[score for score in SCORES if score.startswith(FOREGROUND)]).to_csv(path, index=False)
    (tmp_path / rows[0].key.image_path).unlink()
    done: list[Row] = []
    again = evaluate(plan(files), tmp_path, CPU, done.append)
    assert [row.key for row in done] == [rows[0].key]  # the image that is gone is made again
    for row, before in zip(again, rows, strict=True):
        assert row.scores == pytest.approx(before.scores, nan_ok=True)
    assert [row.scores.keys() for row in ResultsFile(path).rows()] == [set(SCORES)] * len(rows)


def test_results_of_a_later_version_are_left_alone(files: Path, tmp_path: Path) -> None:
    evaluate(plan(files), tmp_path, CPU)
    later = pandas.read_csv(tmp_path / RESULTS)
    later.insert(5, "sharpness", 1.0)
    later.to_csv(tmp_path / RESULTS, index=False)
    before = (tmp_path / RESULTS).read_bytes()
    with pytest.raises(RawFileError, match="has 'sharpness', which this version does not know"):
        evaluate(plan(files), tmp_path, CPU)
    assert (tmp_path / RESULTS).read_bytes() == before


def scored(values: list[float], method: str = "x") -> pandas.DataFrame:
    return pandas.DataFrame({"volume": map(str, range(len(values))), "item": 0, "sampling": "s", "method": method, "psnr": values})


def test_means_differences_and_how_many_images_they_are_of() -> None:
    table = pandas.concat([scored([30.0, 32.0, 34.0]), scored([31.0, 33.0, 36.0], "y")])
    x = summarise(table, ["psnr"]).iloc[0]
    assert (x["mean"], x["images"]) == (32.0, 3)
    difference = paired(table, "x", ["psnr"]).iloc[0]
    assert (difference["method"], difference["mean"]) == ("y", pytest.approx(4 / 3))


def test_few_images_or_infinite_scores_have_no_interval() -> None:
    values = [30.0, 31.0, 33.0, 36.0, 32.0]
    assert summarise(scored(values[: FEWEST - 1]), ["psnr"])["low"].isna().all()
    assert summarise(scored([*values, np.inf]), ["psnr"])["low"].isna().all()
    assert summarise(scored([*values, np.nan]), ["psnr"])["low"].notna().all()
    constant = summarise(scored([3.0] * 6), ["psnr"]).iloc[0]
    assert (constant["low"], constant["high"]) == (3.0, 3.0)


def test_intervals_hold_the_mean_as_often_as_they_say_and_are_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    for samples, mean in ((rng.normal(size=(150, 6)), 0.0), (rng.exponential(size=(150, 20)), 1.0)):
        found = [bootstrapped(values) for values in samples]
        assert 0.88 <= np.mean([low <= mean <= high for low, high in found]) <= 0.99
    values = rng.exponential(size=12)
    assert bootstrapped(values) == bootstrapped(values)
    low, high = bootstrapped(values)
    assert high - values.mean() > values.mean() - low  # it knows of the skewness


def test_the_page_holds_tables_pictures_and_failures_in_itself(
    files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = evaluate(plan(files, paths=[files / "three.npy", files / "none.npy"]), tmp_path, CPU)
    origin = Origin("untrained-recon evaluate 'a b.npy'", methods(), CPU)
    text = write_report(rows, tmp_path, origin).read_text()
    assert text.count("data:image/png;base64,") == 3 * (1 + 2)  # the truth and two methods
    assert "none.npy" in text
    assert "http" not in text
    for part in (
        "untrained-recon evaluate &#39;a b.npy&#39;",
        f"untrained-recon {__version__}",
        date.today().isoformat(),
        "s; 1 failed",
        "recon.method=&#34;cg-sense&#34;",
        methods()["cg"].hash,
        rows[0].key.image_path,
        'href="#picture-0"',
        'id="picture-2"',
        'href="results.csv"',
    ):
        assert part in text, part
    assert text.index('colspan="3" scope="colgroup">foreground<') < text.index('scope="colgroup">whole image<')
    volumes = volume_scores(frame(rows), tmp_path)
    assert list(volumes["images"]) == [3, 3]
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "volumes.csv"), volumes, check_dtype=False)
    assert set(pandas.read_csv(tmp_path / "summary.csv")["score"]) == set(SCORES)


def test_a_page_of_failures_only_is_a_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = evaluate(Plan([tmp_path / "none.npy"], methods(), [Sampling("random", 3, 12)]), tmp_path, CPU)
    assert "none.npy" in write_report(rows, tmp_path).read_text()


def test_one_method_or_all_others_failed_makes_tables_without_differences(
    files: Path, tmp_path: Path, no_pictures: None, caplog: pytest.LogCaptureFixture
) -> None:
    broken = load_config("fast", {"recon.method": "unet", "unet.weights": str(tmp_path / "none.pt")})
    zero = {"zero": methods()["zero"]}
    for name, settings, base in (("one", zero, ""), ("others", zero | {"u": broken}, ""), ("first", {"u": broken} | zero, "u")):
        rows = evaluate(plan(files, methods=settings), tmp_path / name, CPU)
        text = write_report(rows, tmp_path / name).read_text()
        assert "Differences to" not in text, base
        assert pandas.read_csv(tmp_path / name / "paired.csv").empty
        summary = pandas.read_csv(tmp_path / name / "summary.csv")
        assert set(summary["method"]) == {"zero"}
        assert list(summary.columns) == list(pandas.read_csv(tmp_path / name / "paired.csv").columns)


def test_differences_are_to_the_first_method_though_its_first_image_failed(files: Path, tmp_path: Path, no_pictures: None) -> None:
    rows = evaluate(plan(files), tmp_path, CPU)
    assert rows[0].key.method == "cg"
    write_report([dataclasses.replace(rows[0], error="failed"), *rows[1:]], tmp_path)
    assert set(pandas.read_csv(tmp_path / "paired.csv")["method"]) == {"zero"}


def test_tables_keep_what_earlier_runs_did(files: Path, tmp_path: Path, no_pictures: None) -> None:
    def run(**changes: object) -> tuple[set[tuple[str, str]], int]:
        asked = plan(files, slices="middle", **changes)
        rows = evaluate(asked, tmp_path, CPU)
        write_report([*rows, *earlier(rows, tmp_path)], tmp_path)
        volumes = pandas.read_csv(tmp_path / "volumes.csv")
        return set(zip(volumes["volume"], volumes["method"], strict=True)), len(volumes)

    everything = {(volume, method) for volume in ("one", "three") for method in ("cg", "zero")}
    assert run() == (everything, 4)
    assert run(paths=[files / "one.npy"]) == (everything, 4)
    assert run(paths=[files / "three.npy"], methods={"zero": methods()["zero"]}) == (everything, 4)
    assert run(samplings=[Sampling("random", 2, 12)]) == (everything, 8)
    anew = {"cg": load_config("fast", {"recon.method": "cg-sense", "seed": "1"})}  # what it was before is left out
    assert run(paths=[files / "one.npy"], methods=anew) == (everything - {("three", "cg")}, 5)


def test_a_folder_is_of_the_same_data_treated_in_the_same_way(files: Path, tmp_path: Path) -> None:
    one = tmp_path / "data" / "one.npy"
    one.parent.mkdir()
    one.write_bytes((files / "one.npy").read_bytes())
    asked = plan(files, paths=[files / "one.npy"])
    evaluate(asked, tmp_path / "out", CPU)
    evaluate(dataclasses.replace(asked, paths=[one, tmp_path / "absent.npy"]), tmp_path / "out", CPU)
    np.save(one, 2 * np.load(one))
    for changes, message in (
        ({"paths": [one]}, "its results of one are of other files; name another folder"),
        ({"resolution": 32}, "were made with .*'resolution': 0.*, now it is .*'resolution': 32"),
        ({"prewhiten": True}, "'prewhiten': True"),
    ):
        with pytest.raises(EvaluationError, match=message):
            evaluate(dataclasses.replace(asked, **changes), tmp_path / "out", CPU)
    (tmp_path / "out" / "data.json").write_text("[]")
    with pytest.raises(EvaluationError, match=r"data\.json: cannot be read"):
        evaluate(asked, tmp_path / "out", CPU)


def test_a_library_that_gives_up_costs_one_image(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_once(data: KSpace, config: Config, device: torch.device) -> Reconstruction:
        if data.index.slice == 1:
            raise RuntimeError("inconsistent configuration")
        return reconstruct(data, config, device)

    monkeypatch.setattr("untrained_recon.study.case.reconstruct", fail_once)
    rows = evaluate(plan(files, paths=[files / "three.npy"]), tmp_path, CPU)
    assert [row.key.item for row in rows if row.error] == [1, 1]
    assert rows[2].error == "RuntimeError: inconsistent configuration"


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"a,b\n1,2\n", bytes(range(256))])
def test_results_that_are_none_are_named(content: bytes, files: Path, tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_bytes(content)
    with pytest.raises(RawFileError, match=r"results\.csv: line \d is not a row of results"):
        evaluate(plan(files), tmp_path, CPU)


def test_the_command_names_what_is_missing_before_it_begins(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*methods: str) -> Result:
        options = [option for method in methods for option in ("--method", method)]
        return CliRunner().invoke(cli, ["evaluate", str(files / "one.npy"), "-o", str(tmp_path / "out"), *options])

    for methods, message in (
        (("a=fast", "a=brain-4x"), "there is a method 'a' already"),
        (("a/b=fast",), "'a/b' cannot be part of a file's name"),
        (("=fast",), "'' cannot be part of a file's name"),
    ):
        assert message in str(command(*methods).exception)
    monkeypatch.setattr("untrained_recon.cli.study.REPORT", ("a_module_that_is_nowhere", "numpy"))
    error = command("fast").exception
    assert isinstance(error, MissingExtraError)
    assert str(error) == "evaluate needs a_module_that_is_nowhere: pip install 'untrained-recon[report]'"
    assert not (tmp_path / "out").exists()


def test_the_command_says_how_much_was_there_before(files: Path, tmp_path: Path) -> None:
    options = ["-o", str(tmp_path / "out"), "--method", "zero=fast,recon.method=zero-filled", "--acs", "8", "--device", "cpu"]
    for name, more in (("one", ""), ("three", ", with 1 images of earlier runs")):
        result = CliRunner().invoke(cli, ["evaluate", str(files / f"{name}.npy"), *options])
        assert result.exit_code == 0, result.exception
        assert result.output.endswith(f"report in {tmp_path / 'out' / 'report.html'}{more}\n")


def test_low_resolution_knows_which_lines_are_missing(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_volume(files / "one.npy") as full:
        acquired = np.arange(64) >= 20
        monkeypatch.setattr(type(full), "lines", lambda self, item: acquired)
        np.testing.assert_array_equal(LowResolution(full, 32).lines(0), acquired[16:48])


def test_low_resolution_keeps_the_field_of_view(files: Path) -> None:
    with open_volume(files / "one.npy") as full:
        low = LowResolution(full, 32)
        assert (low.shape, low.recon_shape) == ((4, 32, 32), (32, 32))
        fine, coarse = rss_image(full[0], full.encoding), rss_image(low[0], low.encoding)
        # the same object at the same place: its profile along y, sampled half as densely
        assert np.corrcoef(fine[::2].sum(1), coarse.sum(1))[0, 1] > 0.97
        assert LowResolution(full, 1000).shape == full.shape
