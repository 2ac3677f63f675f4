"""XML from outside, in whatever encoding it is stored, read once, with bounds: size, depth, and no document type (entities may
grow without end).
"""

import contextlib
import re
from typing import Any
from xml.etree import ElementTree

LARGEST = 4 << 20
DEEPEST = 64
MOST_ELEMENTS = 100_000
DECLARATION = re.compile(r"<\?xml\s[^>]{0,200}\?>")
DECLARED = re.compile(rb"<\?xml[^>]{1,100}encoding\s*=\s*[\"']([-\w.]{1,40})")
BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"<\0", "utf-16-le"))


def parse_xml(text: bytes) -> ElementTree.Element:
    """The root of a document, without its comments.

    The bytes are text by their byte order mark; else UTF-8 where they are that, as declared where that works, else Latin-1. The
    declaration comes second: texts are often stored in another encoding than the one that their writer declared.

    Args:
        text: The document; blanks and NUL bytes around it are ignored, as some hosts append one.

    Raises:
        ValueError: Not XML, or larger or deeper than any header is, or with a document type.
    """
    if len(text) > LARGEST:
        raise ValueError(f"{len(text)} bytes of XML; {LARGEST} are the most that is read")
    parser = ElementTree.XMLParser(target=_Bounded())
    try:
        parser.feed(
            DECLARATION.sub("", _decoded(text).strip("\0 \t\r\n"), count=1)
        )  # all at once: expat takes a long comment anew with every piece
        root: ElementTree.Element = parser.close()
    except ElementTree.ParseError as error:
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


def as_utf8(text: bytes) -> bytes:
    """A document of another width of characters in UTF-8, without the declaration that says otherwise; others as they are."""
    if b"\0" not in text.strip(b"\0"):
        return text
    return DECLARATION.sub("", _decoded(text).strip("\0 \t\r\n"), count=1).encode()


def _decoded(text: bytes) -> str:
    encodings = [encoding for mark, encoding in BYTE_ORDER_MARKS if text.startswith(mark)] or ["utf-8"]
    if declared := DECLARED.search(text[:200]):
        encodings.append(declared[1].decode())
    for encoding in encodings:
        with contextlib.suppress(UnicodeError, LookupError):
            return text.decode(encoding)
    return text.decode("latin-1")
