"""Parts of Gadgetron 4.7.2 that a chain around our gadget is made of: their names, what passes between them, remarks on them."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

Element = ElementTree.Element

READERS = {
    "gadgetron_core_readers": (
        "AcquisitionReader",
        "WaveformReader",
        "ImageReader",
        "IsmrmrdImageArrayReader",
        "AcquisitionBucketReader",
        "BufferReader",
        "TextReader",
    ),
    "gadgetron_mricore": ("GadgetIsmrmrdAcquisitionMessageReader", "GadgetIsmrmrdWaveformMessageReader", "MRIImageReader"),
}
WRITERS = {
    "gadgetron_core_writers": (
        "AcquisitionWriter",
        "WaveformWriter",
        "ImageWriter",
        "IsmrmrdImageArrayWriter",
        "AcquisitionBucketWriter",
        "BufferWriter",
        "TextWriter",
    ),
    "gadgetron_mricore": (
        "GadgetIsmrmrdAcquisitionMessageWriter",
        "GadgetIsmrmrdWaveformMessageWriter",
        "MRIImageWriter",
        "DependencyQueryWriter",
    ),
    "gadgetron_dicom": ("DicomImageWriter",),
}
ACQUISITION_READERS = ("AcquisitionReader", "GadgetIsmrmrdAcquisitionMessageReader")
IMAGE_WRITERS = ("ImageWriter", "MRIImageWriter", "DicomImageWriter")
TAKES = {"acquisitions": "AcquisitionWriter", "buckets": "AcquisitionBucketWriter", "buffers": "BufferWriter"}
"""Writers inside ``<external>`` without which its gadget does not get its input."""

ANSWERS = {"images": "ImageReader", "arrays": "IsmrmrdImageArrayReader"}
"""Readers inside ``<external>`` without which its answer is refused."""

NODES = ("gadget", "external", "parallel", "distributed", "parallelprocess", "puredistributed")

GENERIC = frozenset({"debug_folder", "perform_timing", "verbose", "time_tick"})
PROPERTIES = {
    "NoiseAdjustGadget": frozenset(
        {
            "noise_dependency_prefix",
            "noise_dependency_folder",
            "perform_noise_adjust",
            "pass_nonconformant_data",
            "noise_dwell_time_us_preset",
            "scale_only_channels_by_name",
        }
    ),
    "AsymmetricEchoAdjustROGadget": frozenset[str](),
    "RemoveROOversamplingGadget": frozenset[str](),
    "AcquisitionAccumulateTriggerGadget": frozenset(
        {
            "trigger_dimension",
            "sorting_dimension",
            "n_acquisitions_before_trigger",
            "n_acquisitions_before_ongoing_trigger",
        }
    ),
    "BucketToBufferGadget": frozenset({"N_dimension", "S_dimension", "split_slices", "ignore_segment", "verbose"}),
    "GenericReconFieldOfViewAdjustmentGadget": GENERIC,
    "GenericReconPartialFourierHandlingFilterGadget": GENERIC
    | {
        "skip_processing_meta_field",
        "partial_fourier_filter_RO_width",
        "partial_fourier_filter_E1_width",
        "partial_fourier_filter_E2_width",
        "partial_fourier_filter_densityComp",
    },
    "GenericReconImageArrayScalingGadget": GENERIC
    | {
        "use_constant_scalingFactor",
        "scalingFactor",
        "min_intensity_value",
        "max_intensity_value",
        "auto_scaling_only_once",
        "use_dedicated_scalingFactor_meta_field",
        "scalingFactor_dedicated",
        "scalingFactor_gfactor_map",
        "scalingFactor_snr_map",
        "scalingFactor_snr_std_map",
    },
    "AutoScaleGadget": frozenset({"max_value", "histogram_bins"}),
    "ImageArraySplitGadget": frozenset[str](),
    "ComplexToFloatGadget": frozenset[str](),
    "ImageFinishGadget": frozenset[str](),
    **{
        f"FloatTo{kind}Gadget": frozenset({"max_intensity", "min_intensity", "intensity_offset"})
        for kind in ("UShort", "Short", "Int", "UInt")
    },
}
"""Gadgets of chains around ours and their properties; Gadgetron ignores others silently."""

GADGETS = (
    *PROPERTIES,
    "AugmentImageMetadataGadget",
    "ExtractGadget",
    "FlagTriggerGadget",
    "GenericReconCartesianReferencePrepGadget",
    "GenericReconEigenChannelGadget",
    "GenericReconKSpaceFilteringGadget",
    "GenericReconPartialFourierHandlingPOCSGadget",
    "ImageSortGadget",
    "IsmrmrdDumpGadget",
    "PCACoilGadget",
    "CoilReductionGadget",
    "ScaleGadget",
    "PhysioInterpolationGadget",
    "DicomFinishGadget",
)
TO_BUCKETS, TO_BUFFERS, SPLIT = "AcquisitionAccumulateTriggerGadget", "BucketToBufferGadget", "ImageArraySplitGadget"
ARRAYS_ONLY = (
    "GenericReconPartialFourierHandlingFilterGadget",
    "GenericReconPartialFourierHandlingPOCSGadget",
    "GenericReconKSpaceFilteringGadget",
    "GenericReconFieldOfViewAdjustmentGadget",
    "GenericReconImageArrayScalingGadget",
)
DIMENSIONS = (
    "",
    "none",
    "average",
    "contrast",
    "phase",
    "repetition",
    "set",
    "segment",
    "slice",
    "kspace_encode_step_1",
    "kspace_encode_step_2",
)
"""Values of the ``…_dimension`` properties."""


@dataclass(frozen=True)
class Remark:
    """Something about a chain.

    Attributes:
        text: What it is and what to do.
        fault: Whether scans would fail or come out wrong; else it is good to know.
    """

    text: str
    fault: bool = True


def known_classes(elements: Iterable[Element], kind: str, known: dict[str, tuple[str, ...]]) -> Iterator[Remark]:
    """Remarks on readers or writers whose names are misspelt or that are looked for in a wrong library."""
    homes = {name: dll for dll, names in known.items() for name in names}
    for element in elements:
        dll, name = element.findtext("dll", ""), element.findtext("classname", "")
        if not name or not dll:
            yield Remark(f"{kind} {name or dll or '?'}: needs both <dll> and <classname>")
        elif name not in homes and (like := near(name, homes)):
            yield Remark(f"{kind} {name}: unknown (did you mean {like}?)")
        elif dll != homes.get(name, dll):
            yield Remark(f"{kind} {name} is in {homes[name]}, not in {dll}")


def property_of(element: Element) -> tuple[str | None, str | None]:
    """Name and value of a ``<property>``, as attributes or in the old form as elements."""
    return element.get("name", element.findtext("name")), element.get("value", element.findtext("value"))


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like a misspelt one."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)), None)
