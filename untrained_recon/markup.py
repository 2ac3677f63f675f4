"""XML from outside, in whatever encoding it is stored."""

import contextlib
import re
from xml.etree import ElementTree

DECLARATION = re.compile(r"<\?xml\s[^>]*\?>")
DECLARED = re.compile(rb"<\?xml[^>]{1,100}encoding\s*=\s*[\"']([-\w.]{1,40})")
BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"<\0", "utf-16-le"))


def parse_xml(xml: bytes) -> ElementTree.Element:
    """The root of a document; blanks and NUL bytes around it are ignored.

    The bytes are text by their byte order mark; else UTF-8 where they are that, as declared where that works, else Latin-1. The
    declaration comes second: texts are often stored in another encoding than the one that their writer declared.

    Raises:
        ParseError, ValueError: Of :mod:`xml.etree.ElementTree`: it is not well-formed, or not text.
    """
    return ElementTree.fromstring(DECLARATION.sub("", _decoded(xml).strip("\0 \t\r\n"), count=1))


def _decoded(xml: bytes) -> str:
    encodings = [encoding for mark, encoding in BYTE_ORDER_MARKS if xml.startswith(mark)] or ["utf-8"]
    if declared := DECLARED.search(xml[:200]):
        encodings.append(declared[1].decode())
    for encoding in encodings:
        with contextlib.suppress(UnicodeError, LookupError):
            return xml.decode(encoding)
    return xml.decode("latin-1")
