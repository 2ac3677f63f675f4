"""The benchmark of image quality: prewhitening, the oracle, paired differences, and all of it on a tiny volume."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from click.testing import CliRunner

from untrained_recon.bench.quality.contenders import BEST, FACTORS, HIGHEST, NETWORK, OURS, lamda_grid
from untrained_recon.bench.quality.contest import compared
from untrained_recon.bench.quality.groups import ALL, group_of
from untrained_recon.bench.quality.margins import VIEWS
from untrained_recon.bench.quality.notes import NOTES
from untrained_recon.bench.quality.oracles import (
    CHOSEN,
    FLOOR_CHOSEN,
    FLOORED,
    PARTS,
    SCORES,
    SSIM,
    WHOLE_CHOSEN,
    best_oracles,
    choose,
    highest_oracles,
    judge,
)
from untrained_recon.cli.main import cli
from untrained_recon.config import Config, load_config
from untrained_recon.errors import EvaluationError, MissingExtraError, NoiseError
from untrained_recon.files.open import open_volume
from untrained_recon.metrics import OURS as CONVENTION
from untrained_recon.metrics import Region, quality
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import fft2, rss_image
from untrained_recon.scan.noise import covariance
from untrained_recon.study.results import ResultsFile
from untrained_recon.study.whiten import Prewhitened, corner_samples

PSNR = SCORES[0]
MIXING = np.array([[1.0, 0, 0, 0], [0.5, 0.8, 0, 0], [0.2j, -0.3, 0.7, 0], [0, 0.4, 0.1j, 0.9]])


@pytest.fixture(autouse=True)
def one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.bench.quality.page.PANELS", 1)


def noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Standard deviation 1 in the real and in the imaginary part, mixed over the coils."""
    rng = np.random.default_rng(seed)
    return np.tensordot(MIXING, rng.normal(size=shape) + 1j * rng.normal(size=shape), 1)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images with correlated noise."""
    path = tmp_path_factory.mktemp("kspace") / "head.npy"
    imgs = [coil_maps((64, 48), 4) * head((64, 48), 0.0, n) for n in range(2)]
    ksp = [fft2(torch.from_numpy(img)).numpy() + 1e-3 * noise((4, 64, 48), n) for n, img in enumerate(imgs)]
    np.save(path, np.stack(ksp).astype(np.complex64))
    return path


def test_prewhitening_gives_noise_of_unit_standard_deviation_in_both_parts(tmp_path: Path) -> None:
    path = tmp_path / "noise.npy"
    np.save(path, (37.0 * noise((4, 128, 96), 0)).astype(np.complex64)[None])
    with open_volume(path) as raw:
        white = Prewhitened(raw)[0]
        assert white.shape == raw[0].shape
    np.testing.assert_allclose(covariance(corner_samples(white)), 2 * np.eye(4), atol=1e-5)  # by construction
    np.testing.assert_allclose(covariance(white.reshape(4, -1)), 2 * np.eye(4), atol=0.3)  # what was not looked at
    assert white.real.std() == pytest.approx(1, rel=0.05)
    assert white.imag.std() == pytest.approx(1, rel=0.05)


def test_corners_are_beyond_0_42_on_both_axes_and_zeros_there_are_no_noise() -> None:
    ksp = np.ones((2, 100, 50), np.complex64)
    assert corner_samples(ksp).shape == (2, 15 * 7)  # -50 … -43 and 43 … 49; -25 … -22 and 22 … 24
    ksp[:, 0] = 0
    assert corner_samples(ksp).shape == (2, 14 * 7)


def test_empty_corners_are_a_named_error(tmp_path: Path) -> None:
    np.save(tmp_path / "padded.npy", np.pad(np.ones((1, 2, 40, 40), np.complex64), ((0, 0), (0, 0), (12, 12), (12, 12))))
    with open_volume(tmp_path / "padded.npy") as raw, pytest.raises(NoiseError, match="0 samples"):
        Prewhitened(raw)[0]


def test_prewhitening_keeps_the_object(volume: Path) -> None:
    with open_volume(volume) as raw:
        white = Prewhitened(raw)
        assert len(white) == len(raw) == 2
        before, after = rss_image(raw[0], raw.encoding), rss_image(white[0], white.encoding)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9


def evaluated(method: str, psnr: float, item: int = 0) -> dict[str, object]:
    return {"volume": "a", "item": item, "sampling": "s-seed0", "method": method, "ours: psnr": psnr, "seconds": 1.5}


def test_the_oracle_takes_the_lamda_with_the_best_psnr_of_each_image() -> None:
    values = {"tv@0.1": (30.0, 20.0), "tv@0.2": (33.0, 21.0), "tv@0.4": (31.0, 25.0), "ours": (32.0, 24.0)}
    table = pandas.DataFrame([evaluated(name, psnr[item], item) for item in (0, 1) for name, psnr in values.items()])
    found = choose(table, "ours: psnr").set_index(["item", "method"])
    assert len(found) == 4
    assert dict(found.loc[(0, "tv"), ["lamda", "at_edge", "grid_seconds"]]) == {"lamda": 0.2, "at_edge": False, "grid_seconds": 4.5}
    assert dict(found.loc[(1, "tv"), ["lamda", "at_edge"]]) == {"lamda": 0.4, "at_edge": True}
    assert np.isnan(found.loc[(0, "ours"), "lamda"])
    assert not found.loc[(0, "ours"), "at_edge"]


def judged(volume: str, sampling: str, method: str, psnr: float, **scores: float) -> dict[str, object]:
    """A row of `judge` with scores of 0.5 but for those given."""
    lamda = dict.fromkeys([part.labels[0] for part in PARTS], np.nan if method == OURS else 0.1)
    row = {"volume": volume, "item": 0, "sampling": sampling, "method": method, "seconds": 1.0}
    row |= dict.fromkeys([part.labels[1] for part in PARTS], False)
    return row | lamda | dict.fromkeys(SCORES, 0.5) | {PSNR: psnr} | scores


def test_each_set_of_scores_has_its_own_best_method_and_each_score_its_own_highest() -> None:
    images = pandas.DataFrame(
        [
            judged("a", "s", "tv", 30.0, **{SSIM: 0.8, FLOOR_CHOSEN: 31.0, FLOORED[1]: 0.70}),
            judged("a", "s", "cg-sense", 29.0, **{SSIM: 0.9, FLOOR_CHOSEN: 32.0, FLOORED[1]: 0.60}),
            judged("a", "s", OURS, 40.0, **{SSIM: 1.0, FLOOR_CHOSEN: 40.0, FLOORED[1]: 1.0}),
        ]
    )
    best = best_oracles(images).iloc[0]
    assert (best["method"], best[PSNR], best[SSIM]) == ("tv", 30.0, 0.8)
    assert (best["method_floor"], best[FLOOR_CHOSEN], best[FLOORED[1]]) == ("cg-sense", 32.0, 0.6)
    highest = highest_oracles(images).iloc[0]
    assert list(highest[[PSNR, SSIM, FLOOR_CHOSEN, FLOORED[1]]]) == [30.0, 0.9, 32.0, 0.7]


def test_foreground_and_whole_image_have_their_own_best_method_and_foreground_scores_come_first() -> None:
    assert SCORES[0] == CHOSEN == "ours, foreground: psnr"
    assert SCORES.index("ours, foreground: ssim") < SCORES.index(WHOLE_CHOSEN)
    images = pandas.DataFrame(
        [
            judged("a", "s", "tv", 30.0, **{WHOLE_CHOSEN: 20.0, "ours, whole: ssim": 0.6}),
            judged("a", "s", "cg-sense", 29.0, **{WHOLE_CHOSEN: 22.0, "ours, whole: ssim": 0.4}),
        ]
    )
    best = best_oracles(images).iloc[0]
    assert (best["method"], best[CHOSEN], best["method_whole"], best[WHOLE_CHOSEN]) == ("tv", 30.0, "cg-sense", 22.0)
    assert best["ours, whole: ssim"] == 0.4


def test_lamda_is_chosen_anew_for_the_foreground_and_for_the_whole_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((64, 64), np.float32)
    truth[20:44, 20:44] = rng.uniform(0.5, 1, (24, 24))
    np.save(tmp_path / "truth.npy", truth)
    rows = []
    for lamda, within, outside in ((0.1, 0.02, 0.1), (0.2, 0.1, 0.0)):  # noise inside and outside
        img = truth + rng.normal(size=truth.shape) * np.where(truth > 0, within, outside)
        np.save(tmp_path / f"{lamda}.npy", img.astype(np.float32))
        paths = {"image_path": f"{lamda}.npy", "truth_path": "truth.npy"}
        rows.append(evaluated(f"tv@{lamda}", 0.0) | paths | {"acceleration": 4.0, "iterations": 1})
    found = judge(pandas.DataFrame(rows), tmp_path, {("a", 0, "s-seed0"): 0.0}).iloc[0]
    assert (found["lamda"], found["lamda_whole"], found["image_path"]) == (0.1, 0.2, "0.1.npy")
    regions: tuple[tuple[float, Region], ...] = (0.1, "foreground"), (0.2, "whole")
    for lamda, region in regions:
        exact = quality(np.load(tmp_path / f"{lamda}.npy"), truth, CONVENTION, region)
        assert found[f"ours, {region}: psnr"] == pytest.approx(exact.psnr)
        assert found[f"ours, {region}: ssim"] == pytest.approx(exact.ssim)


def test_a_seed_that_one_method_lacks_is_left_out_of_its_differences() -> None:
    images = pandas.DataFrame(
        [
            judged("a", f"random-4x-seed{seed}", method, psnr)
            for seed in (0, 1)
            for method, psnr in (("tv", 30.0), (OURS, 31 + 9 * seed))
        ]
    )
    _, differences = compared(images.drop(index=2))  # tv with seed 1
    found = differences[(differences["method"] == "tv") & (differences["score"] == PSNR)].iloc[0]
    assert (found["mean"], found["images"]) == (1.0, 1)


def test_differences_are_ours_minus_the_others_over_images_after_the_mean_over_seeds() -> None:
    psnr = {  # volume: (seed 0, seed 1)
        "tv": {"a": (30.0, 32.0), "b": (28.0, 28.0)},
        "cg-sense": {"a": (29.0, 33.0), "b": (20.0, 20.0)},
        OURS: {"a": (33.0, 35.0), "b": (30.0, 32.0)},
    }
    images = pandas.DataFrame(
        judged(name, f"random-4x-seed{seed}", method, value)
        for method, volumes in psnr.items()
        for name, values in volumes.items()
        for seed, value in enumerate(values)
    )
    means, differences = compared(images)
    found = differences[differences["score"] == PSNR].set_index("method")
    assert set(found["sampling"]) == {"random-4x"}
    assert dict(found["mean"]) == pytest.approx({"tv": 3.0, "cg-sense": 7.0, BEST: 2.75, HIGHEST: 2.75})
    assert set(found["images"]) == {2}
    # tv: 3 and 3; best: tv then cg-sense on a (3 and 2), tv on b (2 and 4): 2.5 and 3
    assert found["low"].isna().all()  # of two images
    several = pandas.concat([images.assign(volume=images["volume"] + str(n)) for n in range(3)])
    found = compared(several)[1].query("score == @PSNR").set_index("method")
    assert found.loc["tv", "low"] == found.loc["tv", "high"] == pytest.approx(3.0)
    assert 2.5 < found.loc[BEST, "low"] < 2.75 < found.loc[BEST, "high"] < 3.1
    ours = means[(means["score"] == PSNR) & (means["method"] == OURS)]
    assert float(ours["mean"].iloc[0]) == pytest.approx(32.5)


def few(*_: object) -> dict[str, Config]:
    quick = {"network.channels": "8", "fit.iterations": "20", "refine.iterations": "2"}
    grid = dict(list(lamda_grid("cg-sense").items())[3:6])
    return {"zero-filled": load_config("fast", {"recon.method": "zero-filled"}), **grid, OURS: load_config("fast", quick)}


def test_the_command_leaves_tables_and_resumes(volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.bench.quality.contenders.contenders", few)
    arguments = ["bench", "quality", str(volume), "-o", str(tmp_path), "--accel", "3", "--pattern", "random", "--acs", "14"]
    arguments += ["--slices", "all", "--device", "cpu"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for title in ("convention paper: ours minus each", "convention noise floor: means", "Seconds to the quality", "Targets: ours"):
        assert title in result.output
    heads = [line for line in result.output.splitlines() if "PSNR" in line and "whole: PSNR" in line]
    assert heads
    assert all(line.index("PSNR") < line.index("whole: PSNR") for line in heads)  # foreground first
    assert "This oracle flatters them" in " ".join(result.output.split())
    table = pandas.read_csv(tmp_path / "quality.csv")
    assert list(table["method"]) == ["zero-filled", "cg-sense", OURS] * 2
    assert np.isfinite(table[SCORES]).all(axis=None)
    found = json.loads((tmp_path / "quality.json").read_text())
    assert (found["notes"], found["failures"]) == (list(NOTES), [])
    methods = {row["method"] for row in found["differences"]}
    assert methods == {"zero-filled", "cg-sense", BEST, HIGHEST}
    assert {(row["method"], row["peer"]) for row in found["times"]} == {(OURS, "zero-filled"), (OURS, "cg-sense")}
    assert {(row["acceleration"], row["view"], row["images"]) for row in found["targets"]} == {(3, view, 2) for view in VIEWS}
    zero, cg = (table[table["method"] == name].set_index("item")[PSNR] for name in ("zero-filled", "cg-sense"))
    assert (cg > zero).all()
    again = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert "cg-sense@" not in again.output  # no row was computed again
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "quality.csv"), table)
    assert json.loads((tmp_path / "quality.json").read_text()) == found


def test_folded_cases_masks_and_seeds(volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def remembered(*how: object) -> dict[str, Config]:
        asked.append(how)
        return few() | {NETWORK: load_config("fast", {"network.channels": "8", "fit.iterations": "5", "refine.iterations": "0"})}

    monkeypatch.setattr("untrained_recon.bench.quality.contenders.contenders", remembered)
    arguments = ["bench", "quality", str(volume), "-o", str(tmp_path), "--accel", "3", "--pattern", "random", "--acs", "14"]
    arguments += ["--mask-seed", "0", "--mask-seed", "1", "--fold", "0.75", "--network-only", "--quick", "--device", "cpu"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False, env={"COLUMNS": "250"})
    assert asked == [(None, True, FACTORS[::2])]
    table = pandas.read_csv(tmp_path / "quality.csv")
    names, group = ["head", "head-folded0.75"], group_of("head")
    assert table.groupby(["volume", "sampling"]).ngroups == 4
    assert (sorted(set(table["volume"])), set(table["group"])) == (names, {group})
    assert [np.load(tmp_path / "images" / name / "001_truth.npy").shape for name in names] == [(64, 48), (48, 48)]
    found = json.loads((tmp_path / "quality.json").read_text())
    gains = {(row["sampling"], row["method"], row["group"]): row for row in found["gains"] if row["score"] == CHOSEN}
    kinds = [f"random-3x-acs14{folded}" for folded in ("", ", folded 0.75")]
    assert set(gains) == {(kind, method, g) for kind in kinds for method in (OURS, NETWORK) for g in (ALL, group)}
    assert all(row["images"] == 2 and row["low"] is None for row in gains.values())  # over two masks
    rows = [row.key for row in ResultsFile(tmp_path / "results.csv").rows() if row.key.method == OURS]
    assert {key.sampling[-1] for key in rows} == {"0", "1"}
    assert len({key.config_hash for key in rows}) == 2  # the seed of the mask is the method's
    page = (tmp_path / "quality.html").read_text()
    assert all(what in page for what in ("folded 0.75", "kept aside", "data:image/png"))
    assert page.index("foreground: psnr") < page.index("whole: PSNR")
    assert "quality.html" in "".join(result.output.split())


def test_a_file_that_fails_is_named_after_the_tables_of_the_others(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("untrained_recon.bench.quality.contenders.contenders", few)
    np.save(tmp_path / "empty.npy", np.zeros((1, 2, 32, 32), np.complex64))
    arguments = ["bench", "quality", str(volume), str(tmp_path / "empty.npy"), "-o", str(tmp_path / "out"), "--accel", "3"]
    result = CliRunner().invoke(cli, [*arguments, "--pattern", "random", "--acs", "14", "--device", "cpu"])
    assert "1 images failed" in str(result.exception)
    failures = json.loads((tmp_path / "out" / "quality.json").read_text())["failures"]
    assert [(row["volume"], row["error"].split(":")[0]) for row in failures] == [("empty", "NoiseError")]


@pytest.mark.parametrize("failing", [OURS, "cg-sense@0.01"])
def test_tables_of_one_side_only_are_tables(
    failing: str, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick = {"network.channels": "4", "fit.iterations": "2", "refine.iterations": "1"}
    found = {"cg-sense@0.01": load_config("fast", {"recon.method": "cg-sense"}), OURS: load_config("fast", quick)}
    found[failing] = load_config("fast", {"recon.method": "unet", "unet.weights": str(tmp_path / "none.pt")})
    monkeypatch.setattr("untrained_recon.bench.quality.contenders.contenders", lambda *_: found)
    arguments = ["bench", "quality", str(volume), "-o", str(tmp_path / "out"), "--accel", "3", "--pattern", "random"]
    result = CliRunner().invoke(cli, [*arguments, "--acs", "14", "--device", "cpu"])
    assert "1 images failed" in str(result.exception)
    written = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert ([row["method"] for row in written["failures"]], written["differences"]) == ([failing], [])


def test_tables_do_not_shrink(volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zero = {"zero-filled": load_config("fast", {"recon.method": "zero-filled"})}
    monkeypatch.setattr("untrained_recon.bench.quality.contenders.contenders", lambda *_: zero)
    other = tmp_path / "other.npy"
    other.write_bytes(volume.read_bytes())
    arguments = [
        "bench",
        "quality",
        str(volume),
        "-o",
        str(tmp_path / "out"),
        "--pattern",
        "random",
        "--acs",
        "6",
        "--device",
        "cpu",
    ]
    assert CliRunner().invoke(cli, [*arguments, str(other)]).exit_code == 0
    before = (tmp_path / "out" / "quality.json").read_bytes()
    for fewer, what in (([], "other"), ([str(other), "--accel", "4"], "random-8x-acs6-seed0")):
        result = CliRunner().invoke(cli, [*arguments, *fewer])
        assert isinstance(result.exception, EvaluationError)
        assert f"holds results of {what} too" in str(result.exception)
    assert (tmp_path / "out" / "quality.json").read_bytes() == before


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.cli.quality.NEEDED", ("a_module_that_is_nowhere",))
    result = CliRunner().invoke(cli, ["bench", "quality", str(tmp_path), "-o", str(tmp_path / "out")])
    assert isinstance(result.exception, MissingExtraError)
    assert "untrained-recon[bench]" in str(result.exception)
