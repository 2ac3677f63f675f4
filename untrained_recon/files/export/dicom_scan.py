"""What all DICOM files of a scan have in common: whose images they are, which scanner and sequence made them.

It comes from the MRD header, or from a DICOM file of the same scan, which then alone says who the patient is. What neither says
stays empty: nothing is invented but the UIDs, which follow from the images.
"""

import hashlib
import logging
import re
import uuid
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import RE_VALID_UID
from pydicom.valuerep import DSfloat, PersonName

from untrained_recon import __version__
from untrained_recon.errors import RawFileError
from untrained_recon.files.export.series import Scan
from untrained_recon.text.printable import printable

logger = logging.getLogger(__name__)

SHORT, LONG = 16, 64  # characters of SH and LO

WHO = {
    "PatientName": "subjectInformation.patientName",
    "PatientID": "subjectInformation.patientID",
    "PatientBirthDate": "subjectInformation.patientBirthdate",
    "PatientSex": "subjectInformation.patientGender",
    "StudyDate": "studyInformation.studyDate",
    "StudyTime": "studyInformation.studyTime",
    "StudyID": "studyInformation.studyID",
    "AccessionNumber": "studyInformation.accessionNumber",
    "ReferringPhysicianName": "studyInformation.referringPhysicianName",
}
"""What every image has, be it empty, and where MRD's header says it."""

MORE = {
    "PatientWeight": "subjectInformation.patientWeight_kg",
    "PatientSize": "subjectInformation.patientHeight_m",
    "StudyDescription": "studyInformation.studyDescription",
}
WHOSE = ("PatientAge", "OtherPatientIDs", "IssuerOfPatientID", "PatientComments", "PositionReferenceIndicator")

HOW = {
    "SeriesDate": "measurementInformation.seriesDate",
    "SeriesTime": "measurementInformation.seriesTime",
    "PatientPosition": "measurementInformation.patientPosition",
    "ProtocolName": "measurementInformation.protocolName",
    "SequenceName": "measurementInformation.sequenceName",
    "BodyPartExamined": "studyInformation.bodyPartExamined",
    "Manufacturer": "acquisitionSystemInformation.systemVendor",
    "ManufacturerModelName": "acquisitionSystemInformation.systemModel",
    "MagneticFieldStrength": "acquisitionSystemInformation.systemFieldStrength_T",
    "InstitutionName": "acquisitionSystemInformation.institutionName",
    "StationName": "acquisitionSystemInformation.stationName",
    "DeviceSerialNumber": "acquisitionSystemInformation.deviceSerialNumber",
}
SEQUENCE = (
    "Laterality",
    "ScanningSequence",
    "SequenceVariant",
    "ScanOptions",
    "ImagingFrequency",
    "ImagedNucleus",
    "PixelBandwidth",
    "RepetitionTime",
    "FlipAngle",
    "SoftwareVersions",
)
"""What only a DICOM file says of it."""

PAIRED = (
    "",
    "ANKLE",
    "ARM",
    "BREAST",
    "EXTREMITY",
    "EYE",
    "ELBOW",
    "FOOT",
    "HAND",
    "HIP",
    "KNEE",
    "LEG",
    "ORBIT",
    "SHOULDER",
    "WRIST",
)
"""Parts of the body of which there is a left and a right one, or may be: whose laterality is stated, unknown though it is."""

TIME = re.compile(r"^(\d\d):(\d\d):(\d\d)(\.\d{1,6})?")
SEXES = ("M", "F", "O")


def common(scan: Scan) -> Dataset:
    """Patient, study, frame of reference and equipment.

    Raises:
        RawFileError: ``scan.like`` is no DICOM file, or has no study.
    """
    like = None if scan.like is None else _read(scan.like)
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 192"
    if like is None:
        for name, path in WHO.items():
            setattr(found, name, _text(name, scan.value(path)))
        for name, path in MORE.items():
            _state(found, name, scan.value(path))
        found.StudyInstanceUID = _valid(scan.value("studyInformation.studyInstanceUID")) or uid("study", *_when(scan))
        frame = _valid(scan.value("measurementInformation.frameOfReferenceUID"))
    else:
        for name in (*WHO, *MORE, *WHOSE):
            _copy(like, found, name, empty=name in WHO)
        theirs = scan.value(WHO["PatientID"])
        if theirs and str(like.get("PatientID", "")) not in ("", str(theirs)):
            logger.warning("%s is of another patient's ID than the header of %s", scan.like, scan.path)
        found.StudyInstanceUID = like.StudyInstanceUID
        frame = like.get("FrameOfReferenceUID")
    found.FrameOfReferenceUID = frame or uid("frame", found.StudyInstanceUID)
    found.setdefault("PositionReferenceIndicator", "")
    _state_equipment(scan, like, found)
    return found


def series_number(scan: Scan, n: int) -> int:
    """A number for the n-th series, from 1: hundreds are the scanner's series, where it is known."""
    first = scan.value("measurementInformation.initialSeriesNumber") or 0
    if scan.like is not None:
        first = _read(scan.like).get("SeriesNumber") or 0
    return 100 * int(first) + n


def uid(*parts: object) -> str:
    """A UID that is the same for the same parts (a UUID as DICOM has it)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(map(str, parts))).int}"


def digest(*parts: bytes) -> str:
    """What tells contents apart."""
    found = hashlib.sha256()
    for part in parts:
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()


def decimal(value: float) -> DSfloat:
    """A number as DICOM's text of 16 characters."""
    return DSfloat(float(value), auto_format=True)


def _state_equipment(scan: Scan, like: Dataset | None, found: Dataset) -> None:
    for name, path in HOW.items():
        _state(found, name, scan.value(path))
    hertz = scan.value("experimentalConditions.H1resonanceFrequency_Hz")
    if hertz:
        found.ImagingFrequency = decimal(hertz / 1e6)
    if like is not None:
        for name in (*HOW, *SEQUENCE):
            _copy(like, found, name)
    for name in ("Manufacturer", "PatientPosition", "ScanOptions"):
        found.setdefault(name, "")
    if found.get("BodyPartExamined", "") in PAIRED:
        found.setdefault("Laterality", "")
    found.setdefault("ScanningSequence", "RM")  # "research mode": the header does not say
    found.setdefault("SequenceVariant", "NONE")
    equipment = Dataset()
    equipment.Manufacturer = equipment.ManufacturerModelName = "untrained-recon"
    equipment.SoftwareVersions = __version__
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109102", "DCM", "Processing Equipment"
    equipment.PurposeOfReferenceCodeSequence = [purpose]
    found.ContributingEquipmentSequence = [equipment]


def _valid(given: str | None) -> str:
    """A UID of the header; empty where it is none, as after some anonymisations."""
    return str(given) if given and len(given) <= LONG and re.fullmatch(RE_VALID_UID, given) else ""


def _read(path: Path) -> Dataset:
    try:
        like = pydicom.dcmread(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError, ValueError, KeyError, NotImplementedError) as error:
        raise RawFileError(f"{path}: cannot be read as a DICOM file ({error})") from error
    if not like.get("StudyInstanceUID"):
        raise RawFileError(f"{path}: the DICOM file says no study (StudyInstanceUID); name an image of the scanner")
    return like


def _when(scan: Scan) -> list[object]:
    """What a scan has of its own, however its images were made: its header, which images when and where."""
    heads = {
        (*picture.index, picture.head.acquisition_time_stamp, *picture.head.position)
        for series in scan.series
        for picture in series.pictures
    }
    return [digest(scan.xml), sorted(heads)]


def _state(found: Dataset, name: str, value: Any) -> None:
    if text := _text(name, value):
        setattr(found, name, text)


def _text(name: str, value: Any) -> Any:
    """A value of MRD's header as DICOM has it; empty where there is none."""
    if value is None or value == "":
        return ""
    if isinstance(value, float):
        return decimal(value)
    text = printable(str(value)).replace("\\", "/").strip()
    if name.endswith("Date"):
        return text.replace("-", "")[:8]
    if name.endswith("Time"):
        return "".join(part or "" for found in TIME.findall(text)[:1] for part in found)
    if name == "PatientSex":
        return text.upper() if text.upper() in SEXES else ""
    if name in ("BodyPartExamined", "PatientPosition"):
        return re.sub("[^A-Z0-9_]", " ", text.upper())[:SHORT].strip()
    return text[: SHORT if name in ("StudyID", "AccessionNumber", "SequenceName", "StationName") else LONG]


def _copy(like: Dataset, found: Dataset, name: str, empty: bool = False) -> None:
    value = like.get(name)
    if value not in (None, ""):
        setattr(found, name, str(value) if isinstance(value, PersonName) else value)
    elif empty:
        setattr(found, name, "")
