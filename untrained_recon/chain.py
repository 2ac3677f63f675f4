"""Gadgetron chains for a site: stock gadgets around ours, in Gadgetron's ``<version>2</version>`` form."""

from collections.abc import Mapping
from typing import Literal
from xml.etree import ElementTree

Input = Literal["acquisitions", "buckets", "buffers"]
Output = Literal["float", "uint16", "complex"]

Gadget = tuple[str, dict[str, str]]

BEFORE: dict[Input, list[Gadget]] = {
    "acquisitions": [],
    "buckets": [
        ("NoiseAdjustGadget", {}),
        ("RemoveROOversamplingGadget", {}),
        ("AcquisitionAccumulateTriggerGadget", {"trigger_dimension": "repetition", "sorting_dimension": "slice"}),
    ],
    "buffers": [
        ("NoiseAdjustGadget", {}),
        ("AsymmetricEchoAdjustROGadget", {}),
        ("RemoveROOversamplingGadget", {}),
        ("AcquisitionAccumulateTriggerGadget", {"trigger_dimension": "repetition"}),
        ("BucketToBufferGadget", {"N_dimension": "contrast", "S_dimension": "average", "split_slices": "false"}),
    ],
}
AFTER: dict[Output, list[Gadget]] = {
    "float": [],
    "uint16": [
        ("GenericReconPartialFourierHandlingFilterGadget", {}),
        ("GenericReconFieldOfViewAdjustmentGadget", {}),
        ("GenericReconImageArrayScalingGadget", {"use_constant_scalingFactor": "false", "auto_scaling_only_once": "true"}),
        ("ImageArraySplitGadget", {}),
        ("ComplexToFloatGadget", {}),
        ("FloatToUShortGadget", {}),
    ],
    "complex": [("ImageArraySplitGadget", {})],
}


def chain_xml(source: Input, output: Output, properties: Mapping[str, str], connect: tuple[str, int] | None = None) -> str:
    """A complete chain.

    Args:
        source: Kind of input, and with it the gadgets before ours.
        output: Pixels that leave the chain; the gadgets after ours scale and convert.
        properties: Settings of the reconstruction.
        connect: Host and port of a listening gadget; without, Gadgetron starts one for every scan.

    Returns:
        The XML document.
    """
    root = ElementTree.Element("configuration")
    ElementTree.SubElement(root, "version").text = "2"
    _component(ElementTree.SubElement(root, "readers"), "reader", "gadgetron_core_readers", "AcquisitionReader")
    _component(root[-1], "reader", "gadgetron_core_readers", "WaveformReader")
    _component(ElementTree.SubElement(root, "writers"), "writer", "gadgetron_core_writers", "ImageWriter")
    stream = ElementTree.SubElement(root, "stream")
    for name, settings in BEFORE[source]:
        _component(stream, "gadget", "gadgetron_mricore", name, settings)
    external = ElementTree.SubElement(stream, "external")
    if connect is None:
        ElementTree.SubElement(external, "execute", name=f"gadgets.{source}", target="reconstruct", type="python")
    else:
        ElementTree.SubElement(external, "connect", address=connect[0], port=str(connect[1]))
    form = "images" if output == "float" else "arrays"
    _properties(ElementTree.SubElement(external, "configuration"), {**properties, "output.form": form})
    for name, settings in AFTER[output]:
        _component(stream, "gadget", "gadgetron_mricore", name, settings)
    ElementTree.indent(root, "    ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _component(
    parent: ElementTree.Element, tag: str, dll: str, classname: str, properties: Mapping[str, str] | None = None
) -> None:
    element = ElementTree.SubElement(parent, tag)
    ElementTree.SubElement(element, "dll").text = dll
    ElementTree.SubElement(element, "classname").text = classname
    _properties(element, properties or {})


def _properties(parent: ElementTree.Element, properties: Mapping[str, str]) -> None:
    for name, value in properties.items():
        ElementTree.SubElement(parent, "property", name=name, value=value)
