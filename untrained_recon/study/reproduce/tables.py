"""Tables 1 to 6 and 8: scores of methods on undersampled scans."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas

from untrained_recon.config import Config
from untrained_recon.files.open import find_volumes, open_volume
from untrained_recon.recon.conventional import bart
from untrained_recon.study.reproduce import paper
from untrained_recon.study.reproduce.context import Context
from untrained_recon.study.reproduce.outcome import Outcome, long_table, mean_of
from untrained_recon.study.reproduce.trained import unet, unet_note
from untrained_recon.study.results import Row
from untrained_recon.study.summary import frame, volume_scores

MEASURES = {"VIF": "paper: vif", "MS-SSIM": "paper: ms_ssim", "SSIM": "paper: ssim", "PSNR": "paper: psnr"}
"""Columns of most tables, and the scores of an evaluation that they show."""

KNEE = {"ConvDecoder": "knee-4x"}

NORMALISATIONS = {
    "no norm": "paper, no norm",
    "min-max": "paper, min-max",
    "mean-std (both)": "paper, mean-std (both)",
    "mean-std (gt)": "paper",
}
CONVENTION = (
    "Scores of each image with the truth moved to its mean and standard deviation, VIF with the mean of the truth as noise "
    "variance (the paper's conventions); MS-SSIM needs 176 pixels along both axes."
)
TV_NOTE = (
    "TV: isotropic, with ESPIRiT maps and this program's default weight, through sigpy, and in a row of its own through BART where "
    "it is installed. The paper's TV is BART's with the weight 0.01 on BART's scale."
)


def table1(context: Context) -> Outcome:
    """Scores of whole volumes and of their images."""
    paths = sorted(find_volumes(context.data), key=_images, reverse=True)[: 1 if context.reduction else 20]
    rows = context.evaluate("table1", {path: _with_baselines(context, path, "knee-4x", 4) for path in paths}, 4, "all")
    good = frame(rows)
    volumes = volume_scores(good, context.output / "table1")
    columns = {
        "volume SSIM": (volumes, "paper, volume-based: ssim"),
        "volume PSNR": (volumes, "paper, volume-based: psnr"),
        "image SSIM": (good, "paper: ssim"),
        "image PSNR": (good, "paper: psnr"),
    }
    notes = [
        context.data_note("20 volumes (640 images) of fastMRI's multi-coil knee validation set", paths),
        "Here the files with the most images; scores of volumes are means over the volumes.",
    ]
    if all(_images(path) == 1 for path in paths):
        notes.append("The files hold one image each: the scores of volumes and of images are the same.")
    return _outcome(context, "Table 1: volume- and image-based scores, 4x", paper.VOLUME_AND_IMAGE, columns, rows, notes, KNEE)


def table2(context: Context) -> Outcome:
    """ConvDecoder, Deep Image Prior and Deep Decoder on knees."""
    presets = {"ConvDecoder": "knee-4x", "DIP": "knee-4x-dip", "DD": "knee-4x-dd"}
    return _networks(context, "table2", "Table 2: un-trained networks, knees, 4x", paper.KNEE_NETWORKS, presets, "knee")


def table3(context: Context) -> Outcome:
    """ConvDecoder, U-net and TV on knees at fourfold acceleration."""
    return _mid_slices(context, "table3", "Table 3: ConvDecoder, U-net and TV, knees, 4x", paper.KNEE_4X, MEASURES, "knee-4x", 4)


def table4(context: Context) -> Outcome:
    """ConvDecoder, U-net and TV on knees at eightfold acceleration."""
    return _mid_slices(context, "table4", "Table 4: ConvDecoder, U-net and TV, knees, 8x", paper.KNEE_8X, MEASURES, "knee-8x", 8)


def table5(context: Context) -> Outcome:
    """ConvDecoder, Deep Image Prior and Deep Decoder on brains."""
    presets = {"ConvDecoder": "brain-4x", "DIP": "brain-4x-dip", "DD": "brain-4x-dd"}
    return _networks(context, "table5", "Table 5: un-trained networks, brains, 4x", paper.BRAIN_NETWORKS, presets, "brain")


def table6(context: Context) -> Outcome:
    """ConvDecoder without and with sensitivity maps, U-net and TV on brains."""
    paths = context.paths(100)
    maps = {"ConvDecoder-SM": context.config("brain-4x")}
    without = {"ConvDecoder": context.config("brain-4x", {"recon.mode": "coils"})}
    methods = {path: without | maps | _baselines(context, path, "brain-4x", 4) for path in paths}
    rows = context.evaluate("table6", methods, 4)
    notes = [context.data_note("mid-slice images of 100 brain volumes of fastMRI's validation set", paths)]
    columns = {column: (frame(rows), score) for column, score in MEASURES.items()}
    presets = {"ConvDecoder": "brain-4x", "ConvDecoder-SM": "brain-4x"}
    return _outcome(context, "Table 6: without and with maps (SM), brains, 4x", paper.BRAIN_MAPS, columns, rows, notes, presets)


def table8(context: Context) -> Outcome:
    """The images of Table 3 under the four normalisations."""
    title = "Table 8: ConvDecoder, U-net and TV under four normalisations, knees, 4x"
    columns = {
        f"{measure}, {label}": f"{convention}: {measure.lower()}"
        for label, convention in NORMALISATIONS.items()
        for measure in ("SSIM", "PSNR")
    }
    return _mid_slices(context, "table3", title, paper.NORMALISED, columns, "knee-4x", 4)


def _mid_slices(
    context: Context, target: str, title: str, numbers: paper.Numbers, columns: Mapping[str, str], preset: str, accel: int
) -> Outcome:
    paths = context.paths(200)
    rows = context.evaluate(target, {path: _with_baselines(context, path, preset, accel) for path in paths}, accel)
    good = frame(rows)
    notes = [context.data_note("mid-slice images of 200 knee volumes of fastMRI's validation set", paths)]
    found = {column: (good, score) for column, score in columns.items()}
    return _outcome(context, title, numbers, found, rows, notes, {"ConvDecoder": preset})


def _networks(
    context: Context, target: str, title: str, numbers: paper.Numbers, presets: Mapping[str, str], anatomy: str
) -> Outcome:
    paths = context.paths(20)
    methods = {method: context.config(preset) for method, preset in presets.items()}
    rows = context.evaluate(target, dict.fromkeys(paths, methods), 4)
    notes = [context.data_note(f"mid-slice images of 20 {anatomy} volumes of fastMRI's validation set", paths)]
    columns = {column: (frame(rows), score) for column, score in MEASURES.items()}
    return _outcome(context, title, numbers, columns, rows, notes, presets)


def _with_baselines(context: Context, path: Path, preset: str, accel: int) -> dict[str, Config]:
    return {"ConvDecoder": context.config(preset)} | _baselines(context, path, preset, accel)


def _baselines(context: Context, path: Path, preset: str, accel: int) -> dict[str, Config]:
    tv = {"TV": context.config(preset, {"recon.method": "tv"})}
    if bart.available():
        tv["TV (BART)"] = context.config(preset, {"recon.method": "bart-tv"})
    return unet(context, path, accel) | tv


def _outcome(
    context: Context,
    title: str,
    numbers: paper.Numbers,
    columns: Mapping[str, tuple[pandas.DataFrame, str]],
    rows: Sequence[Row],
    notes: Sequence[str],
    presets: Mapping[str, str],
) -> Outcome:
    """A table of scores: for each column the rows of an evaluation to average, and the score."""
    cells = []
    methods = dict.fromkeys([*numbers, *(row.key.method for row in rows if row.key.method)])
    for method in methods:
        published = numbers.get(method, [math.nan] * len(columns))
        for n, (column, (found, score)) in enumerate(columns.items()):
            values = list(found[found["method"] == method][score]) if len(found) else []
            cells.append((method, column, published[n], mean_of(values), len(values)))
    remarks = [*notes, CONVENTION, *context.reductions(presets)]
    if "U-net" in numbers:
        remarks += [unet_note(context), TV_NOTE]
    remarks += [f"Failed: {row.key.volume}, image {row.key.item}, {row.key.method}: {row.error}" for row in rows if row.error]
    return Outcome(title, long_table(cells), remarks, ranked=list(columns))


def _images(path: Path) -> int:
    with open_volume(path) as volume:
        return len(volume)
