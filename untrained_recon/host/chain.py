"""Gadgetron chains for a site: stock gadgets around ours, in Gadgetron's ``<version>2</version>`` form."""

from collections.abc import Mapping
from typing import Literal
from xml.etree import ElementTree

from untrained_recon.wire import require_text

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
READER = ("gadgetron_mricore", "GadgetIsmrmrdAcquisitionMessageReader")
"""Takes what the client sends compressed (-P, -T) too; the core's AcquisitionReader loses its place there."""

HOW_TO = """
    File: on the server $GADGETRON_HOME/share/gadgetron/config/NAME.xml; the client names it with -c:
        gadgetron_ismrmrd_client -a SERVER -p 9002 -f RAW.h5 -o IMAGES.h5 -c NAME.xml
    or sends its own copy with -C NAME.xml instead.
    Version: the element version must be there and say 2. Gadgetron refuses a chain of this form without it, and in its old form
        (gadgetronStreamConfiguration) it ignores external gadgets: no image, no message.
    Python: {python}
"""
EXECUTED = """the first of python, python3 on the PATH of the server that is 3.6 or newer is started for every scan; the package
        must be installed there."""
CONNECTED = """none is started; untrained-recon serve must listen at {address}."""


def chain_xml(source: Input, output: Output, properties: Mapping[str, str], connect: tuple[str, int] | None = None) -> str:
    """A complete chain, with a comment that says where it goes and what it needs.

    Args:
        source: Kind of input, and with it the gadgets before ours.
        output: Pixels that leave the chain; the gadgets after ours scale and convert.
        properties: Settings of the reconstruction.
        connect: Host and port of a listening gadget; without, Gadgetron starts one for every scan.

    Returns:
        The XML document.

    Raises:
        ConfigError: A value is no text, as the name of a file that is not UTF-8.
    """
    require_text(properties)
    root = ElementTree.Element("configuration")
    ElementTree.SubElement(root, "version").text = "2"
    _component(ElementTree.SubElement(root, "readers"), "reader", *READER)
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
    python = EXECUTED if connect is None else CONNECTED.format(address=_comment_text("{}:{}".format(*connect)))
    how_to = f"<!--{HOW_TO.format(python=python)}-->\n"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{how_to}{ElementTree.tostring(root, encoding="unicode")}\n'


def _comment_text(text: str) -> str:
    return text.replace("--", "- -")  # two hyphens would end the comment


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
