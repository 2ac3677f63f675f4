"""What Gadgetron's own reconstructions say of an image in its meta attributes, under the same names and in the same form.

Gadgets downstream, the DICOM writer and sites' own tools look for it. Source: GenericReconGadget and ImageArraySendMixin of
Gadgetron 4.7.2. Its ``gadgetron_sha1`` is the server's to say; what the header leaves empty is left out.
"""

from typing import Any

from untrained_recon.encoding import Header, TimeRanges

Attributes = dict[str, str | list[str]]


def stock_attributes(head: Any, times: TimeRanges, header: Header) -> Attributes:
    """The attributes of one image.

    Args:
        head: Its ISMRMRD image header.
        times: When it was acquired.
        header: The scan's header.
    """
    found: Attributes = {
        "GADGETRON_ImageNumber": str(head.image_index),
        "PatientPosition": _numbers(head.position),
        **{name: _numbers(getattr(head, name)) for name in ("read_dir", "phase_dir", "slice_dir", "patient_table_position")},
        "acquisition_time_stamp": str(head.acquisition_time_stamp),
        "physiology_time_stamp": [str(stamp) for stamp in head.physiology_time_stamp],
        "acquisition_time_range": [str(stamp) for stamp in times.acquisition],
        "physiology_time_range": [str(stamp) for ends in times.physiology for stamp in ends],
        **{f"user_int_{n}": str(value) for n, value in enumerate(head.user_int)},
        **{f"user_float_{n}": f"{value:g}" for n, value in enumerate(head.user_float)},
        "protocolName": header.protocol_name or "Unknown",
        "patient_position": header.measurement.patient_position,
        **_identities(header.measurement.measurement_id),
    }
    return {name: value for name, value in found.items() if value}


def _identities(measurement_id: str) -> dict[str, str]:
    """``DEVICE_PATIENT_STUDY_MEASUREMENT``, as far as an underscore ends each part; the last may hold more of them."""
    parts = measurement_id.split("_", 3)
    needed = {"deviceID": 2, "patientID": 3, "studyID": 4, "measurementNumber": 4}
    found = {name: part for (name, count), part in zip(needed.items(), parts, strict=False) if len(parts) >= count}
    return {"measurementID": measurement_id, **found}


def _numbers(values: Any) -> list[str]:
    return [f"{value:g}" for value in values]
