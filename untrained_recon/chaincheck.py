"""Checks of a Gadgetron chain before a scan runs through it: what Gadgetron would refuse, or swallow without a word."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from untrained_recon import chainparts as parts
from untrained_recon.chainours import Listener, check_external
from untrained_recon.chainparts import Element, Remark, known_classes, near, property_of
from untrained_recon.errors import ConfigError


def check_chain(path: Path, ask: Listener) -> list[Remark]:
    """Check a chain.

    Args:
        path: The XML file.
        ask: Asks the service at a host and port how it is; raises ReplayError where it is not there.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        return [Remark(f"not XML: {error}")]
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # Gadgetron looks at the names alone
    if root.tag != "configuration":
        return [Remark(_wrong_root(root))]
    stream = root.find("stream")
    remarks = [*_version(root), *_readers_and_writers(root)]
    if stream is None or not len(stream):
        return [*remarks, Remark("there is no <stream> with gadgets: nothing would happen to a scan")]
    return [*remarks, *_nodes(stream), *_gadgets(stream), *check_external(stream, ask)]


def _wrong_root(root: Element) -> str:
    if root.tag == "gadgetronStreamConfiguration":
        return (
            "this is the old form (gadgetronStreamConfiguration), in which Gadgetron ignores <external> silently: no image, no "
            "message; write <configuration> with <version>2</version>, <readers>, <writers> and <stream>, as `untrained-recon "
            "chain` prints"
        )
    return f"the root is <{root.tag}>; Gadgetron takes <configuration> with <version>2</version>"


def _version(root: Element) -> Iterator[Remark]:
    version = root.findtext("version")
    if version != "2":
        found = "is missing" if version is None else f"says {version!r}"
        yield Remark(f"<version> {found}: Gadgetron refuses the chain without <version>2</version>")


def _readers_and_writers(root: Element) -> Iterator[Remark]:
    readers, writers = ([e.findtext("classname", "") for e in root.findall(f"{kind}s/{kind}")] for kind in ("reader", "writer"))
    yield from known_classes(root.findall("readers/reader"), "reader", parts.READERS)
    yield from known_classes(root.findall("writers/writer"), "writer", parts.WRITERS)
    if not set(readers) & set(parts.ACQUISITION_READERS):
        yield Remark("no reader takes acquisitions: add gadgetron_mricore/GadgetIsmrmrdAcquisitionMessageReader to <readers>")
    elif "GadgetIsmrmrdAcquisitionMessageReader" not in readers:
        yield Remark(
            "AcquisitionReader loses its place where the client compresses (-P, -T): "
            "gadgetron_mricore/GadgetIsmrmrdAcquisitionMessageReader takes both",
            fault=False,
        )
    if not any("Waveform" in name for name in readers):
        yield Remark("no reader takes waveforms: a scan with an ECG ends in an error; add WaveformReader", fault=False)
    if not set(writers) & set(parts.IMAGE_WRITERS):
        yield Remark("no writer takes images, which are dropped silently: add gadgetron_core_writers/ImageWriter to <writers>")


def _nodes(stream: Element) -> Iterator[Remark]:
    for node in stream:
        if node.tag not in parts.NODES:
            like = near(node.tag, parts.NODES)
            yield Remark(f"<{node.tag}> in <stream>: unknown{f' (did you mean <{like}>?)' if like else ''}")


def _gadgets(stream: Element) -> Iterator[Remark]:
    for gadget in stream.findall("gadget"):
        name, dll = gadget.findtext("classname", ""), gadget.findtext("dll", "")
        if not name or not dll:
            yield Remark(f"gadget {name or dll or '?'}: needs both <dll> and <classname>")
        elif name not in parts.GADGETS and (like := near(name, parts.GADGETS)):
            yield Remark(f"gadget {name}: unknown (did you mean {like}?)")
        elif name in parts.PROPERTIES:
            if dll != "gadgetron_mricore":
                yield Remark(f"gadget {name} is in gadgetron_mricore, not in {dll}")
            yield from _stock_properties(name, gadget)


def _stock_properties(gadget: str, element: Element) -> Iterator[Remark]:
    for found in element.findall("property"):
        name, value = property_of(found)
        if name is None or value is None:
            yield Remark(f"gadget {gadget}: a <property> needs both name= and value=")
        elif name not in parts.PROPERTIES[gadget]:
            like = near(name, parts.PROPERTIES[gadget])
            yield Remark(f"gadget {gadget}: it has no property {name}{f' (did you mean {like}?)' if like else ''}")
        elif name.endswith("_dimension") and value.lower() not in parts.DIMENSIONS:
            yield Remark(f"gadget {gadget}: {name} is {value!r}, which is no dimension ({', '.join(parts.DIMENSIONS[1:])})")
