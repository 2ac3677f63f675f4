"""XML from outside, read once, with bounds: size, depth, and no document type (entities may grow without end)."""

from typing import Any
from xml.etree import ElementTree

LARGEST = 4 << 20
DEEPEST = 64
MOST_ELEMENTS = 100_000


def parse_xml(text: bytes) -> ElementTree.Element:
    """The root of a document, without its comments.

    Args:
        text: The document; NUL bytes at its end are ignored, as some hosts append one.

    Raises:
        ValueError: Not XML, or larger or deeper than any header is, or with a document type.
    """
    if len(text) > LARGEST:
        raise ValueError(f"{len(text)} bytes of XML; {LARGEST} are the most that is read")
    parser = ElementTree.XMLParser(target=_Bounded())
    try:
        parser.feed(text.rstrip(b"\0"))  # all at once: expat takes a long comment anew with every piece
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, LookupError) as error:  # LookupError: an encoding that Python does not know
        raise ValueError(str(error)) from error
    return root


class _Bounded(ElementTree.TreeBuilder):
    def __init__(self) -> None:
        super().__init__()
        self._depth = self._elements = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ElementTree.Element:
        self._depth += 1
        self._elements += 1
        if self._depth > DEEPEST or self._elements > MOST_ELEMENTS:
            raise ValueError(f"XML of more than {DEEPEST} levels or {MOST_ELEMENTS} elements")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, *_: Any) -> None:
        raise ValueError("XML with a document type, which no host sends")
