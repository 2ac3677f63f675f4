"""What is said beside an image in JSON: BIDS' names for the scanner and the sequence, and how the image came about.

Nothing in it tells who the patient is.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from untrained_recon import __version__
from untrained_recon.errors import RawFileError
from untrained_recon.files.export.geometry import planes_of
from untrained_recon.files.export.series import Picture, Scan, Series
from untrained_recon.text.printable import legible

OURS = "untrained_recon_"

FROM_HEADER = {
    "Manufacturer": "acquisitionSystemInformation.systemVendor",
    "ManufacturersModelName": "acquisitionSystemInformation.systemModel",
    "MagneticFieldStrength": "acquisitionSystemInformation.systemFieldStrength_T",
    "StationName": "acquisitionSystemInformation.stationName",
    "InstitutionName": "acquisitionSystemInformation.institutionName",
    "BodyPartExamined": "studyInformation.bodyPartExamined",
    "PatientPosition": "measurementInformation.patientPosition",
    "ProtocolName": "measurementInformation.protocolName",
    "PulseSequenceName": "measurementInformation.sequenceName",
}
TIMES = {"RepetitionTime": "TR", "EchoTime": "TE", "InversionTime": "TI", "FlipAngle": "flipAngle_deg"}


def sequence_value(scan: Scan, name: str, contrast: int) -> float | None:
    """A number of ``sequenceParameters`` for a contrast: its own, or the only one."""
    values = scan.value(f"sequenceParameters.{name}") or []
    return values[contrast] if contrast < len(values) else values[0] if len(values) == 1 else None


def describe(scan: Scan, series: Series, pictures: Iterable[Picture]) -> dict[str, Any]:
    """The JSON of some images of a series; where they differ, a list."""
    pictures = list(pictures)
    contrasts = {picture.index.contrast for picture in pictures}
    found: dict[str, Any] = {name: scan.value(path) for name, path in FROM_HEADER.items()}
    for name, parameter in TIMES.items():
        values = {sequence_value(scan, parameter, contrast) for contrast in contrasts}
        scale = 1.0 if name == "FlipAngle" else 1e-3  # BIDS has seconds
        found[name] = _one([round(value * scale, 9) for value in sorted(value for value in values if value is not None)])
    hertz = scan.value("experimentalConditions.H1resonanceFrequency_Hz")
    found["ImagingFrequency"] = hertz / 1e6 if hertz else None
    ours = {key.removeprefix(OURS): None for picture in pictures for key in picture.meta if key.startswith(OURS)}
    found |= {
        "SeriesDescription": series.description,
        "ImageType": ["DERIVED", "PRIMARY", series.kind.upper()],
        "Units": "rad" if series.in_radians else "arbitrary",
        "ImageComments": _one(list(dict.fromkeys(picture.comment for picture in pictures))),
        "ConversionSoftware": "untrained-recon",
        "ConversionSoftwareVersion": __version__,
        "UntrainedRecon": {key: _one(_distinct(picture.meta.get(OURS + key) for picture in pictures)) for key in ours},
    }
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}


def list_images(pictures: Iterable[Picture]) -> list[dict[str, Any]]:
    """Counters of images, and where they are as far as that is known, for formats that have no place for it."""
    return [{**picture.index._asdict(), **_geometry(picture)} for picture in pictures]


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people and programs."""
    path.write_text(legible(json.dumps(content, indent=2, ensure_ascii=False)) + "\n", encoding="utf-8")


def _geometry(picture: Picture) -> dict[str, Any]:
    try:
        plane = planes_of(picture)[0]
    except RawFileError:
        return {}
    numbers: dict[str, Any] = {"first_pixel": plane.corner, "row": plane.row, "column": plane.column, "spacing_zyx": plane.spacing}
    return {name: [round(float(value), 6) for value in values] for name, values in numbers.items()}


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value is not None and value not in found:
            found.append(value)
    return found


def _one(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
