"""Which image and which encoding space of a scan a readout belongs to."""

from typing import Any

import ismrmrd

from untrained_recon.config import ScanConfig
from untrained_recon.encoding import Encoding, Header, ImageIndex
from untrained_recon.errors import EncodingError
from untrained_recon.readout import describe, is_calibration_only, is_object_line


def image_index(acq: Any, settings: ScanConfig) -> ImageIndex:
    """The image that a readout (or its header) belongs to; segments share one, and averages unless they are kept apart."""
    idx = acq.idx
    average = 0 if settings.average else idx.average
    return ImageIndex(acq.encoding_space_ref, average, idx.slice, idx.contrast, idx.phase, idx.repetition, idx.set)


def is_imaging(acq: ismrmrd.Acquisition, header: Header) -> bool:
    """Whether a readout contributes to an image: a Cartesian line that is not part of a separate calibration scan."""
    if not is_object_line(acq):
        return False
    return not (is_calibration_only(acq) and encoding_of(acq, header).separate_calibration)


def begins_image(acq: ismrmrd.Acquisition, header: Header) -> bool:
    """Whether an image is due once a readout came: where there are several encoding spaces, one that holds nothing but
    calibration lines is a reference scan for the others.
    """
    return is_imaging(acq, header) and not (len(header.encodings) > 1 and is_calibration_only(acq))


def encoding_of(acq: ismrmrd.Acquisition, header: Header) -> Encoding:
    """The encoding space of a readout. Raises EncodingError when the header has no such space, its refusal where it has one."""
    number, count = acq.encoding_space_ref, len(header.encodings)
    if number >= count:
        raise EncodingError(f"{describe(acq)} refers to encoding space {number}; the header has {count}")
    if (refusal := header.encodings[number].refusal) is not None:
        raise refusal
    return header.encodings[number]
