"""What a header says of the patient and the study: only for those who may see it."""

from typing import Any

from untrained_recon.scan.header import parse_document
from untrained_recon.text.printable import LONGEST, printable

FIELDS = {
    "patient": ("subjectInformation", "patientName"),
    "patient id": ("subjectInformation", "patientID"),
    "date of birth": ("subjectInformation", "patientBirthdate"),
    "sex": ("subjectInformation", "patientGender"),
    "study": ("studyInformation", "studyDescription"),
    "accession number": ("studyInformation", "accessionNumber"),
    "body part": ("studyInformation", "bodyPartExamined"),
    "protocol": ("measurementInformation", "protocolName"),
    "measurement": ("measurementInformation", "measurementID"),
}


def person_of(header_xml: bytes) -> dict[str, str]:
    """Texts by their labels, those that the header has.

    Args:
        header_xml: The ISMRMRD header.

    Raises:
        HeaderError: It is none.
    """
    document = parse_document(header_xml)
    found = {label: _text(document, *path) for label, path in FIELDS.items()}
    return {label: text for label, text in found.items() if text}


def _text(document: Any, section: str, name: str) -> str:
    value = getattr(getattr(document, section, None), name, None)
    return "" if value is None else printable(str(getattr(value, "value", value)), LONGEST)
