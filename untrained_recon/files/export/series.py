"""What an image file holds, sorted into series: the images of one kind that belong side by side."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import numpy.typing as npt

from untrained_recon.encoding import ImageIndex
from untrained_recon.errors import RawFileError
from untrained_recon.files.images import read_series
from untrained_recon.scan.header import parse_document

Pixels = npt.NDArray[Any]

TYPES = {ismrmrd.IMTYPE_PHASE: "phase", ismrmrd.IMTYPE_REAL: "real", ismrmrd.IMTYPE_IMAG: "imaginary"}
PARTS: dict[str, Callable[[Pixels], Pixels]] = {"magnitude": np.abs, "phase": np.angle}  # of complex pixels
MAP = "STD_MAP"  # data role of what is no image of the patient but a value for every pixel of one


@dataclass(frozen=True, eq=False)
class Picture:
    """One image of an image file.

    Attributes:
        index: Which image of the scan it is.
        pixels: Real or complex ``(n_z, n_y, n_x)``.
        head: Its ISMRMRD header.
        meta: Its meta attributes.
    """

    index: ImageIndex
    pixels: Pixels
    head: Any
    meta: dict[str, Any]

    @property
    def comment(self) -> str:
        """What it says of itself: its making, FALLBACK, cautions."""
        return str(self.meta.get("GADGETRON_ImageComment", ""))


@dataclass(frozen=True, eq=False)
class Series:
    """Images of one kind, of one encoding space, average and set; all of one matrix.

    Attributes:
        name: Unlike that of any other series of the file.
        kind: ``magnitude``, ``phase``, ``real``, ``imaginary``, ``complex``, or the name of a map.
        is_map: Whether it has a value of its own for every pixel: a noise map, not a picture of the patient.
        pictures: In the order of their counters.
    """

    name: str
    kind: str
    is_map: bool
    pictures: tuple[Picture, ...]

    @cached_property
    def low_high(self) -> tuple[float, float]:
        """Smallest and largest value of all pixels."""
        return min(float(p.pixels.min()) for p in self.pictures), max(float(p.pixels.max()) for p in self.pictures)

    @cached_property
    def in_radians(self) -> bool:
        """Whether it is a phase from -π to π; those that a host has scaled to whole numbers are not."""
        floats = all(picture.pixels.dtype.kind == "f" for picture in self.pictures)
        return self.kind == "phase" and floats and max(map(abs, self.low_high)) <= np.pi * (1 + 1e-6)

    @cached_property
    def window(self) -> tuple[float, float]:
        """What to show black and white, the same for all images: noise from below, all but the brightest points from above."""
        if self.in_radians:
            return -np.pi, np.pi
        values = np.concatenate([p.pixels.ravel()[:: 1 + p.pixels.size * len(self.pictures) // 4_000_000] for p in self.pictures])
        low, high = (float(value) for value in np.percentile(values, (1, 99.5)))
        low = min(0.0, low) if self.is_map else low
        return low, next(value for value in (high, self.low_high[1], low + max(abs(low), 1.0)) if value > low)

    @property
    def description(self) -> str:
        """What the images call their series; where some are fallbacks, both."""
        names = dict.fromkeys(str(p.meta.get("GADGETRON_SeqDescription", "")).strip("_ ") for p in self.pictures)
        return " ".join(filter(None, names))


@dataclass(frozen=True)
class Scan:
    """An image file.

    Attributes:
        path: The file.
        header: Its ISMRMRD header as a document of ``ismrmrd.xsd``; None where it has none.
        xml: The same as bytes.
        series: Its series.
        like: A DICOM file of the same patient and study, if one was named.
    """

    path: Path
    header: Any
    xml: bytes
    series: tuple[Series, ...]
    like: Path | None = None

    def value(self, path: str) -> Any:
        """A value of the header, ``studyInformation.studyID``; None where it is not there."""
        found = self.header
        for name in path.split("."):
            found = getattr(found, name, None)
        return getattr(found, "value", found)  # of an enumeration its text

    @cached_property
    def moments(self) -> list[tuple[int, int]]:
        """Every repetition and phase of which there is an image, in order."""
        return sorted({(picture.index.repetition, picture.index.phase) for series in self.series for picture in series.pictures})

    @cached_property
    def parts(self) -> tuple[Series, ...]:
        """The series with real pixels only: of complex images the magnitude and the phase, where the file has none of them."""
        found = [series for series in self.series if series.kind != "complex"]
        there = {(series.kind, _place(series)) for series in found}
        for series in self.series:
            if series.kind == "complex":
                missing = [kind for kind in PARTS if (kind, _place(series)) not in there]
                found += [_part(series, kind, found) for kind in missing]
        return tuple(sorted(found, key=lambda series: series.kind != "magnitude"))


def read_scan(path: Path, group: str = "", like: Path | None = None) -> Scan:
    """All that an image file holds.

    Raises:
        RawFileError: It cannot be read, or has images of several channels or with NaN.
        HeaderError: Its header is none of ISMRMRD's.
    """
    xml, groups = read_series(path, group)
    series: list[Series] = []
    for images in groups.values():
        pictures = [(_kind(image), _picture(image, path)) for image in images]
        pictures.sort(key=lambda pair: (pair[0], _outer(pair[1]), pair[1].index))
        for ((kind, is_map), outer), members in groupby(pictures, key=lambda pair: (pair[0], _outer(pair[1]))):
            words = (f"_{word}{value}" for word, value in zip(("encoding", "average", "set"), outer, strict=True) if value)
            name = _unlike(kind + "".join(words), series)
            series.append(Series(name, kind, is_map, tuple(picture for _, picture in members)))
    if not any(one.pictures for one in series):
        raise RawFileError(f"{path}: its series are empty")
    return Scan(path, parse_document(xml) if xml else None, xml, tuple(series), like)


def numbered(series: Series) -> Iterator[tuple[str, Picture]]:
    """The images of a series with the counters that are not 0 as a name, the slice always: ``slice3_repetition2``."""
    inner = ("slice", "contrast", "phase", "repetition")
    for picture in series.pictures:
        counters = ((name, getattr(picture.index, name)) for name in inner)
        yield "_".join(f"{name}{value}" for name, value in counters if value or name == "slice"), picture


def _kind(image: ismrmrd.Image) -> tuple[str, bool]:
    """The name of an image's kind, and whether it is a map."""
    if image.meta.get("GADGETRON_DataRole") == MAP:
        history = image.meta.get("GADGETRON_ImageProcessingHistory", ["map"])
        return str(history if isinstance(history, str) else history[-1]).lower(), True
    if np.iscomplexobj(image.data):
        return "complex", False
    return TYPES.get(image.image_type, "magnitude"), False


def _picture(image: ismrmrd.Image, path: Path) -> Picture:
    """An image; what encoding space it is of is said in its meta attributes, as hosts renumber series."""
    encoding = str(image.meta.get("encoding", "0"))
    counters = (getattr(image, name) for name in ImageIndex._fields[1:])
    index = ImageIndex(int(encoding) if encoding.isdecimal() else 0, *counters)
    if len(image.data) != 1 or image.data.size == 0:
        raise RawFileError(f"{path}: {index}: an image of {len(image.data)} channels; only combined images are exported")
    if not np.isfinite(image.data).all():
        raise RawFileError(f"{path}: {index}: the image holds NaN or Inf")
    return Picture(index, image.data[0], image.getHead(), dict(image.meta))


def _outer(picture: Picture) -> tuple[int, int, int]:
    return picture.index.encoding, picture.index.average, picture.index.set


def _unlike(name: str, others: list[Series]) -> str:
    """The name, with a number where others have it."""
    taken = sum(other.name == name or other.name.startswith(f"{name}_series") for other in others)
    return f"{name}_series{taken + 1}" if taken else name


def _place(series: Series) -> frozenset[ImageIndex]:
    return frozenset(picture.index for picture in series.pictures)


def _part(series: Series, kind: str, others: list[Series]) -> Series:
    pictures = tuple(replace(picture, pixels=PARTS[kind](picture.pixels)) for picture in series.pictures)
    name = _unlike(series.name.replace("complex", kind, 1), others)
    return replace(series, name=name, kind=kind, pictures=pictures)
