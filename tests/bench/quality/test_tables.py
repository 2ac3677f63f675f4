"""The tables as they are shown: every figure below its name, foreground before whole image."""

import pandas
import pytest

from untrained_recon.bench.quality.contenders import NETWORK, OURS, OURS_BEST
from untrained_recon.bench.quality.contest import gains
from untrained_recon.bench.quality.oracles import PARTS, SCORES
from untrained_recon.bench.quality.tables import each_image, our_gains
from untrained_recon.study.sheets import Cell, Sheet


def judged(volume: str, seed: int, method: str, **scores: float) -> dict[str, object]:
    lamdas = {label: float("nan") if method in (OURS, OURS_BEST, NETWORK) else 0.1 for part in PARTS for label in part.labels[:1]}
    edges = {part.labels[1]: False for part in PARTS}
    key = {"volume": volume, "item": 0, "sampling": f"random-4x-acs0.08-seed{seed}", "method": method}
    return key | lamdas | edges | dict.fromkeys(SCORES, 0.5) | scores


def scored(psnr: float, ssim: float, whole: float) -> dict[str, float]:
    return {"ours, foreground: psnr": psnr, "ours, foreground: ssim": ssim, "ours, whole: psnr": whole}


def shown(cell: str | Cell) -> str:
    return cell if isinstance(cell, str) else f"{cell.text} {cell.note}".strip()


def cells(sheet: Sheet) -> list[dict[str, str]]:
    return [dict(zip(sheet.header, map(shown, row), strict=True)) for row in sheet.rows]


@pytest.fixture
def images() -> pandas.DataFrame:
    found = []
    for seed in (0, 1):
        found += [
            judged("brain8_pd", seed, "tv", **scored(30.0, 0.80, 28.0)),
            judged("brain8_pd", seed, OURS, **scored(32.0 + 2 * seed, 0.90, 29.0)),
            judged("brain8_pd", seed, NETWORK, **scored(29.0, 0.75, 27.0)),
            judged("brain8_pd-folded0.75", seed, "tv", **scored(20.0, 0.80, 28.0)),
            judged("brain8_pd-folded0.75", seed, OURS, **scored(20.5, 0.90, 29.0)),
        ]
    return pandas.DataFrame(found)


def test_every_image_has_a_row_for_each_kind_with_means_over_masks(images: pandas.DataFrame) -> None:
    sheet = each_image(images)
    assert sheet.header.index("SSIM") < sheet.header.index("whole: PSNR")
    whole, folded = cells(sheet)
    assert (whole["image"], whole["kind"], whole["masks"]) == ("brain8_pd, 0", "random-4x-acs0.08", "2")
    assert (whole["ours"], whole["best oracle"], whole[""]) == ("33.00", "30.00", "tv, λ 0.1")
    assert whole["PSNR"] == "+3.00"  # too few for an interval
    assert (whole["SSIM"].split()[0], whole["whole: PSNR"].split()[0]) == ("+0.100", "+1.00")
    assert (folded["kind"], folded["PSNR"]) == ("random-4x-acs0.08, folded 0.75", "+0.50")


def test_gains_stand_beside_what_is_to_be_reached(images: pandas.DataFrame) -> None:
    found = {(row["kind"], row["method"], row["files"]): row for row in cells(our_gains(gains(images)))}
    ours = found["random-4x-acs0.08", OURS, "chosen"]
    assert (ours["PSNR"], ours["to reach"], ours["SSIM"], ours["images"]) == ("+3.00", "+3", "+0.100", "2")
    assert found["random-4x-acs0.08", NETWORK, "all"]["to reach"] == "0"
    eight = images.assign(sampling=images["sampling"].str.replace("4x", "8x"))
    methods = {row["method"]: row["to reach"] for row in cells(our_gains(gains(eight)))}
    assert methods == {OURS: "+2", NETWORK: "–"}


def test_enough_images_have_an_interval(images: pandas.DataFrame) -> None:
    whole = images[images["volume"] == "brain8_pd"]
    several = pandas.concat([whole.assign(volume=f"brain{n}") for n in range(5)])
    found = {(row["method"], row["files"]): row for row in cells(our_gains(gains(several)))}
    assert (found[OURS, "all"]["PSNR"], found[OURS, "all"]["images"]) == ("+3.00 +3.00 … +3.00", "5")
