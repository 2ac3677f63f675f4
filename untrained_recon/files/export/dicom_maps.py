"""Maps that are evidence for the reader of an image, as DICOM's Parametric Maps of real numbers."""

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from untrained_recon import __version__
from untrained_recon.files.export.dicom_scan import LONG
from untrained_recon.files.export.geometry import Stack
from untrained_recon.files.export.series import Series

NAME = "untrained-recon"


def parametric_map(
    series: Series, stack: Stack, sources: Sequence[Dataset], about: Dataset, name: str, number: int, path: Path
) -> None:
    """Write the maps of a stack, one frame for each plane.

    Args:
        series: The maps.
        stack: The planes to write.
        sources: The image of each plane that they are maps of.
        about: What all files of the series have in common.
        name: UID of the file.
        number: Its number in the series.
        path: The file.
    """
    pixels = stack.pixels.astype(np.float32)
    low, high = series.window
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=series.kind.upper()[:16],
        lut_explanation=f"{series.kind} in units of the image's pixels"[:LONG],
        unit=codes.UCUM.NoUnits,
        value_range=(float(pixels.min()), float(pixels.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.SCT.StandardDeviation,
    )
    made = hd.pm.ParametricMap(
        source_images=list(sources),
        pixel_array=pixels,
        series_instance_uid=about.SeriesInstanceUID,
        series_number=about.SeriesNumber,
        sop_instance_uid=name,
        instance_number=number,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number=str(about.get("DeviceSerialNumber") or "unknown"),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation((low + high) / 2, high - low, voi_lut_function="LINEAR_EXACT")],
        content_label=series.kind.upper()[:16],
        content_description=series.pictures[0].comment[:LONG],
    )
    for element in ("SeriesDescription", "ProtocolName", "BodyPartExamined", "Laterality", "ContributingEquipmentSequence"):
        if element in about:
            setattr(made, element, about[element].value)
    made.ImageComments = stack.planes[0].picture.comment
    made.save_as(path, enforce_file_format=True)
