"""DICOM: MR Image Storage, one file for each plane; maps as Parametric Maps beside them.

Pixels have 16 bits and a slope and an intercept, the same within a series, that give back the values of the image. Of small values
they give a power of ten times as much: many viewers make whole numbers of them. The real world value mapping is always exact.
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import DSfloat

from untrained_recon import __version__
from untrained_recon.errors import RawFileError
from untrained_recon.files.export import Product
from untrained_recon.files.export.dicom_maps import parametric_map
from untrained_recon.files.export.dicom_scan import LONG, common, decimal, digest, series_number, uid
from untrained_recon.files.export.geometry import Plane, Stack, stacks_of
from untrained_recon.files.export.series import Pixels, Scan, Series
from untrained_recon.files.export.sidecar import sequence_value
from untrained_recon.text.printable import printable

TOP = 65535
GREYS = 100  # whole numbers that a window must span
LONGEST_COMMENT = 10240
IMPLEMENTATION = uid("untrained-recon")
KINDS = {"magnitude": ["OTHER", "M"], "phase": ["PHASE MAP", "P"], "real": ["OTHER", "R"], "imaginary": ["OTHER", "I"]}


class _Scale(NamedTuple):
    """Factor · value = slope · stored + intercept."""

    slope: float
    intercept: float
    factor: float

    def stored(self, pixels: Pixels) -> Pixels:
        return np.clip(np.rint((self.factor * pixels.astype(np.float64) - self.intercept) / self.slope), 0, TOP).astype("<u2")


def products(scan: Scan) -> Iterator[Product]:
    """Every file: the planes of each series in a folder of its own, and the maps.

    Raises:
        RawFileError: The geometry of an image is unknown, ``scan.like`` cannot be read, or a map has no magnitude image.
    """
    head = common(scan)
    made: dict[tuple[object, ...], Dataset] = {}
    for n, series in enumerate((series for series in scan.parts if not series.is_map), 1):
        about = _series(scan, series, head, n)
        folder = f"{about.SeriesNumber:03d}_{series.name}"
        stacks, scale = list(stacks_of(series)), _scale(series)
        planes = [(stack, plane) for stack in stacks for plane in stack.planes]
        for number, (stack, plane) in enumerate(planes, 1):
            image = _image(scan, series, about, stack, plane)
            image.WindowCenter, image.WindowWidth = _window(series, scale)
            image.InstanceNumber = number
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid(about.SeriesInstanceUID, number)
            made.setdefault(_key(series, plane), image)
            save = partial(_save, image, plane.pixels, scale, _mapping(series, scale))
            yield Product(f"{folder}/{number:04d}_{image.SOPInstanceUID}", save, ".dcm")
    maps = [series for series in scan.parts if series.is_map]
    for n, series in enumerate(maps, 1 + len(scan.parts) - len(maps)):
        about = _series(scan, series, head, n)
        for number, stack in enumerate(stacks_of(series), 1):
            sources = [_source(made, series, plane, scan) for plane in stack.planes]
            name = uid(about.SeriesInstanceUID, number)
            save = partial(parametric_map, series, stack, sources, about, name, number)
            yield Product(f"{about.SeriesNumber:03d}_{series.name}/{number:04d}_{name}", save, ".dcm")


def _source(made: Mapping[tuple[object, ...], Dataset], series: Series, plane: Plane, scan: Scan) -> Dataset:
    try:
        return made[_key(series, plane)]
    except KeyError as error:
        raise RawFileError(f"{scan.path}: {plane.picture.index} has a {series.kind} map but no image") from error


def _key(series: Series, plane: Plane) -> tuple[object, ...]:
    return (plane.picture.index, plane.z, plane.pixels.shape)


def _series(scan: Scan, series: Series, head: Dataset, n: int) -> Dataset:
    """What all images of a series have in common."""
    about = Dataset()
    about.update(head)
    about.Modality = "MR"
    contents = (part for picture in series.pictures for part in (picture.pixels.tobytes(), bytes(picture.head)))
    about.SeriesInstanceUID = uid(head.StudyInstanceUID, series.name, digest(*contents))
    about.SeriesNumber = series_number(scan, n)
    kind = "" if series.kind == "magnitude" or series.is_map else series.name.upper()
    protocol = str(scan.value("measurementInformation.protocolName") or "")
    about.SeriesDescription = printable(" ".join(filter(None, (protocol, series.description, kind))))[:LONG].replace("\\", "/")
    return about


def _image(scan: Scan, series: Series, about: Dataset, stack: Stack, plane: Plane) -> Dataset:
    """One plane, without its pixels and its number."""
    index = plane.picture.index
    image = Dataset()
    image.update(about)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.ImplementationClassUID = IMPLEMENTATION
    image.file_meta.ImplementationVersionName = f"UNTRAINED_{__version__}"[:16]
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = MRImageStorage
    image.ImageType = ["DERIVED", "PRIMARY", *KINDS[series.kind]]
    image.ImageComments = plane.picture.comment[:LONGEST_COMMENT]
    image.DerivationDescription = _derivation(plane)
    image.AcquisitionNumber = index.repetition + 1
    image.ContentDate, image.ContentTime = about.get("SeriesDate", ""), about.get("SeriesTime", "")
    _sequence(scan, image, plane)
    thickness, y, x = plane.spacing
    image.SliceThickness = decimal(thickness) if thickness else None
    if len(stack.planes) > 1:
        image.SpacingBetweenSlices = decimal(abs(float(stack.step @ plane.normal)))
    image.PixelSpacing = [decimal(y), decimal(x)]
    image.ImagePositionPatient = [decimal(value) for value in plane.corner]
    image.ImageOrientationPatient = [decimal(value) for value in (*plane.row, *plane.column)]
    image.SliceLocation = decimal(plane.location)
    image.VOILUTFunction = "LINEAR_EXACT"
    return image


def _sequence(scan: Scan, image: Dataset, plane: Plane) -> None:
    index = plane.picture.index
    image.MRAcquisitionType = "3D" if len(plane.picture.pixels) > 1 else "2D"
    for name, parameter in {"RepetitionTime": "TR", "EchoTime": "TE", "InversionTime": "TI", "FlipAngle": "flipAngle_deg"}.items():
        value = sequence_value(scan, parameter, index.contrast)
        if value is not None:
            setattr(image, name, decimal(value))
        elif name in ("RepetitionTime", "EchoTime"):
            image.setdefault(name, None)
    image.EchoTrainLength = None
    image.EchoNumbers = index.contrast + 1
    image.InPlanePhaseEncodingDirection = "COL"
    if len(scan.moments) > 1:
        image.TemporalPositionIdentifier = 1 + scan.moments.index((index.repetition, index.phase))
        image.NumberOfTemporalPositions = len(scan.moments)


def _derivation(plane: Plane) -> str:
    meta = plane.picture.meta
    parts = {name: meta.get(f"untrained_recon_{name}") for name in ("config", "config_hash", "method", "acceleration")}
    return "; ".join([f"untrained-recon {__version__}", *(f"{name} {value}" for name, value in parts.items() if value)])


def _scale(series: Series) -> _Scale:
    low, high = series.low_high
    if all(picture.pixels.dtype.kind in "iu" for picture in series.pictures) and 0 <= low <= high <= TOP:
        return _Scale(1.0, 0.0, 1.0)
    width = series.window[1] - series.window[0]
    factor = 1.0 if width >= GREYS else 10.0 ** math.ceil(math.log10(10 * GREYS / width))
    low, high = (-np.pi, np.pi) if series.in_radians else (min(0.0, low), high)
    intercept = float(decimal(factor * low))
    return _Scale(float(decimal((factor * high - intercept) / TOP)) or 1.0, intercept, factor)


def _window(series: Series, scale: _Scale) -> tuple[DSfloat, DSfloat]:
    low, high = (scale.factor * value for value in series.window)
    return decimal((low + high) / 2), decimal(high - low)


def _mapping(series: Series, scale: _Scale) -> Dataset:
    """From what is stored to the values of the image."""
    unit, mapping = Dataset(), Dataset()
    code, meaning = ("rad", "radian") if series.in_radians else ("1", "no units")
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = code, "UCUM", meaning
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, TOP
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = scale.slope / scale.factor, scale.intercept / scale.factor
    mapping.LUTLabel, mapping.LUTExplanation = series.kind.upper()[:16], "values of the image that was exported"
    mapping.MeasurementUnitsCodeSequence = [unit]
    return mapping


def _save(image: Dataset, pixels: Pixels, scale: _Scale, mapping: Dataset, path: Path) -> None:
    stored = scale.stored(pixels)
    image, image.file_meta = Dataset(image), image.file_meta
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = stored.shape
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.SmallestImagePixelValue, image.LargestImagePixelValue = int(stored.min()), int(stored.max())
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = decimal(scale.intercept), decimal(scale.slope), "US"
    image.RealWorldValueMappingSequence = [mapping]
    image.PixelData = stored.tobytes()
    image["PixelData"].VR = "OW"
    image.save_as(path, enforce_file_format=True)
