"""The tables of a comparison, for a terminal and for a page: foreground first."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas

from untrained_recon.bench.quality.contenders import HIGHEST, NETWORK, OURS
from untrained_recon.bench.quality.groups import CHOSEN_ON, KEPT_ASIDE, cases, group_of, intervals
from untrained_recon.bench.quality.margins import mean_margin
from untrained_recon.bench.quality.oracles import CHOSEN, FLOOR, FLOOR_CHOSEN, SSIM, WHOLE_CHOSEN, best_oracles, highest_oracles
from untrained_recon.metrics import OURS as CONVENTION
from untrained_recon.metrics import PAPER
from untrained_recon.study.sheets import Cell, Sheet
from untrained_recon.study.summary import IMAGE

if TYPE_CHECKING:
    from untrained_recon.bench.quality.contest import Comparison

WHOLE_SSIM = f"{CONVENTION.name}, whole: ssim"


def sheets(found: "Comparison") -> Iterator[Sheet]:
    """All tables of a comparison."""
    yield each_image(found.images)
    yield our_gains(found.gains)
    for sampling, means in found.means.groupby("sampling", sort=False):
        differences = found.differences[found.differences["sampling"] == sampling]
        for convention in (CONVENTION.name, PAPER.name, FLOOR):
            yield _methods(f"{sampling}, convention {convention}: means", means, convention)
            yield _methods(f"{sampling}, convention {convention}: ours minus each", differences, convention, signed=True)
    yield _medians(found.medians)
    yield _targets(found.targets)
    yield _groups(found.images)


def each_image(images: pandas.DataFrame) -> Sheet:
    """Every image: ours beside the best oracle, and differences to the highest scores of all oracles; means over masks."""
    shown = [CHOSEN, SSIM, WHOLE_CHOSEN, WHOLE_SSIM, FLOOR_CHOSEN]
    header = ["image", "kind", "ours", "best oracle", "", "PSNR", "SSIM", "whole: PSNR", "whole: SSIM", "with floor: PSNR", "masks"]
    ours, best, highest = (
        rows.set_index(IMAGE) for rows in (images[images["method"] == OURS], best_oracles(images), highest_oracles(images))
    )
    both = ours.index.intersection(highest.index, sort=False)
    gain = (ours.loc[both, shown] - highest.loc[both, shown]).reset_index()
    rows: list[list[str | Cell]] = []
    kinds = cases(gain).to_numpy()
    for (volume, item, kind), group in gain.groupby(["volume", "item", kinds], sort=False):
        masks = [(volume, item, sampling) for sampling in group["sampling"]]
        names = " / ".join(dict.fromkeys(f"{m}, λ {v:g}" for m, v in best.loc[masks, ["method", "lamda"]].itertuples(index=False)))
        found = intervals(group.assign(method=OURS), shown).set_index("score").to_dict("index")
        cells = [_cell(score, found[score], signed=True) for score in shown]
        psnrs = [f"{rows_.loc[masks, CHOSEN].mean():.2f}" for rows_ in (ours, best)]
        rows.append([f"{volume}, {item}", str(kind), *psnrs, names, *cells, str(len(group))])
    return Sheet(f"PSNR in dB ({CHOSEN}), and ours minus the {HIGHEST}, foreground first", header, rows)


def our_gains(gains: pandas.DataFrame) -> Sheet:
    """Means of the differences to the highest oracle, of all volumes and of each group."""
    shown = [CHOSEN, SSIM, WHOLE_CHOSEN, WHOLE_SSIM, FLOOR_CHOSEN]
    header = ["kind", "method", "files", "PSNR", "to reach", "SSIM", "whole: PSNR", "whole: SSIM", "with floor: PSNR", "images"]
    rows: list[list[str | Cell]] = []
    for (kind, method, group), part in gains.groupby(["sampling", "method", "group"], sort=False):
        found = part.set_index("score").to_dict("index")
        first, *others = (_cell(score, found[score], signed=True) for score in shown)
        names, wanted = (str(kind), str(method), str(group)), _wanted(str(kind), str(method))
        rows.append([*names, first, wanted, *others, str(found[CHOSEN]["images"])])
    return Sheet(f"Each of ours minus the {HIGHEST}, foreground first: means", header, sorted(rows, key=lambda row: str(row[0])))


def _wanted(kind: str, method: str) -> str:
    pattern, _, accel = kind.partition("x-")[0].rpartition("-")
    if method == NETWORK:
        return "0" if int(accel) <= 4 else "–"
    return f"{mean_margin(pattern, int(accel)):+g}"


def _methods(title: str, figures: pandas.DataFrame, convention: str, signed: bool = False) -> Sheet:
    """A row for every method, a column for every score of a convention and for the seconds."""
    scores = [score for score in figures["score"].unique() if score == "seconds" or score.startswith(f"{convention}, ")]
    cells = {(row["method"], row["score"]): _cell(str(row["score"]), row, signed) for row in figures.to_dict("records")}
    methods = [str(method) for method in figures["method"].unique()]
    rows: list[list[str | Cell]] = [[method, *(cells[method, score] for score in scores)] for method in methods]
    return Sheet(title, ["method", *(score.removeprefix(f"{convention}, ") for score in scores)], rows)


def _medians(medians: pandas.DataFrame) -> Sheet:
    header = ["sampling", "method", "to the quality of", "seconds", "its seconds", "reached"]
    rows = []
    for row in medians.to_dict("records"):
        seconds = f"{row['seconds']:.1f}" if math.isfinite(row["seconds"]) else "never"
        reached = f"{row['reached']} of {row['images']}"
        rows.append([row["sampling"], row["method"], row["peer"], seconds, f"{row['peer_seconds']:.1f}", reached])
    return Sheet("Seconds to the quality at which each other method ends, medians", header, rows)


def _targets(targets: pandas.DataFrame) -> Sheet:
    header = ["R", "view", "PSNR", "met", "SSIM no lower", "both", "worst PSNR", "of", "worst SSIM", "of"]
    rows = []
    for row in targets.to_dict("records"):
        counts = (f"{row[name]} of {row['images']}" for name in ("psnr_met", "ssim_met", "both_met"))
        worst = f"{row['worst_psnr']:+.2f}", row["worst_psnr_at"], f"{row['worst_ssim']:+.3f}", row["worst_ssim_at"]
        rows.append([str(row["acceleration"]), row["view"], f"≥ {row['margin']:g} dB", *counts, *worst])
    return Sheet("Targets: ours above the highest of the oracles, images and masks", header, rows)


def _groups(images: pandas.DataFrame) -> Sheet:
    files = dict.fromkeys(name.partition("-folded")[0] for name in images["volume"])
    named = [[group, ", ".join(name for name in files if group_of(name) == group) or "–"] for group in (CHOSEN_ON, KEPT_ASIDE)]
    return Sheet("Constants are chosen on the first group only", ["group", "files"], named)


def _cell(score: str, row: Any, signed: bool = False) -> Cell:
    digits = 2 if score.endswith("psnr") else 1 if score == "seconds" else 3
    if math.isnan(row["mean"]):
        return Cell("–")
    mean, low, high = (f"{row[name]:{'+' if signed else ''}.{digits}f}" for name in ("mean", "low", "high"))
    return Cell(mean, "" if math.isnan(row["low"]) else f"{low} … {high}")
