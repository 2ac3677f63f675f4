"""NIfTI volumes in scanner coordinates, with a JSON file as BIDS has it beside each.

The planes of a stack are one volume, repetitions (or, where there is one, phases) the fourth axis; contrasts are files of their
own, as are stacks of other directions. NIfTI's axes point to the patient's right, front and head (RAS).
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np

from untrained_recon.files.export import Product
from untrained_recon.files.export.geometry import Stack, stacks_of
from untrained_recon.files.export.series import Scan, Series
from untrained_recon.files.export.sidecar import describe, write_json

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class _Volume(NamedTuple):
    name: str
    stacks: tuple[Stack, ...]


def products(scan: Scan) -> Iterator[Product]:
    """The volumes of a file."""
    for series in scan.parts:
        for volume in _volumes(series):
            save = partial(_save, scan, series, volume)
            name = f"{scan.path.stem}_{volume.name}"
            yield Product(name, save, ".nii.gz", (".json",), main=series.kind == "magnitude")


def _volumes(series: Series) -> Iterator[_Volume]:
    """The stacks of a series that fit onto each other, one after the other in time."""
    indices = [picture.index for picture in series.pictures]
    varies = {name: len({getattr(index, name) for index in indices}) > 1 for name in ("contrast", "phase", "repetition")}
    time = "repetition" if varies["repetition"] else "phase"
    words = {"contrast": "echo", "phase": "phase", "repetition": "repetition"}
    fitting: dict[tuple[object, ...], list[Stack]] = {}
    for stack in stacks_of(series):
        index = stack.planes[0].picture.index
        name = "".join(f"_{word}-{getattr(index, key) + 1}" for key, word in words.items() if varies[key] and key != time)
        fitting.setdefault((name, stack.pixels.shape, *(stack.affine.round(3) + 0.0).ravel().tolist()), []).append(stack)
    names = [str(key[0]) for key in fitting]
    for number, (name, stacks) in enumerate(zip(names, fitting.values(), strict=True)):
        again = f"_stack-{names[: number + 1].count(name)}" if names.count(name) > 1 else ""
        yield _Volume(series.name + name + again, tuple(stacks))


def _save(scan: Scan, series: Series, volume: _Volume, path: Path) -> None:
    first = volume.stacks[0]
    data = np.stack([stack.pixels for stack in volume.stacks], axis=-1)  # (z, y, x, t)
    image = nibabel.Nifti1Image(np.transpose(data, (2, 1, 0, 3))[..., 0 if data.shape[-1] == 1 else slice(None)], None)
    affine = TO_RAS @ first.affine
    image.set_sform(affine, "scanner")
    image.set_qform(affine, "scanner")
    image.header.set_xyzt_units("mm", "sec")
    if data.shape[-1] > 1:
        image.header.set_zooms((*image.header.get_zooms()[:3], 0.0))  # the header does not say how far apart they are
    low, high = series.window
    image.header["cal_min"], image.header["cal_max"] = low, high
    image.header["descrip"] = series.description.encode("ascii", "replace")[:79]
    nibabel.save(image, path)
    planes = [plane for stack in volume.stacks for plane in stack.planes]
    content = describe(scan, series, dict.fromkeys(plane.picture for plane in planes))
    spacing = float(np.linalg.norm(first.step))
    content |= {"SliceThickness": first.planes[0].spacing[0], "SpacingBetweenSlices": spacing} if len(first.planes) > 1 else {}
    write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), content)
