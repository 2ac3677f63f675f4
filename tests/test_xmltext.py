"""XML from outside costs what its size says, and no more."""

import pytest

from untrained_recon.errors import HeaderError
from untrained_recon.header import parse_header
from untrained_recon.printable import printable, quoted
from untrained_recon.xmltext import LARGEST, parse_xml


def test_long_comments_are_skipped_in_one_go() -> None:
    root = parse_xml(b"<a><!--" + b"x" * (LARGEST - 100) + b"--><b/></a>\0\0")  # piece by piece: minutes with expat 2.5
    assert [child.tag for child in root] == ["b"]


@pytest.mark.parametrize(
    "text",
    [
        b"<a>" * 1000 + b"</a>" * 1000,
        b"<a>" + b"<b/>" * 200_000 + b"</a>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        b"<a>" + b" " * LARGEST + b"</a>",
        b"<a>\x1b</a>",
        b"",
    ],
)
def test_what_no_header_is_like_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_xml(text)
    with pytest.raises(HeaderError) as found:
        parse_header(text)
    assert str(found.value).isprintable()


def test_text_is_shown_on_one_line_and_cut() -> None:
    assert printable("a\nb\x1b[1mc\ud800\t") == "a\\nb\\x1b[1mc\\ud800\\t"
    assert len(printable("x" * 10_000)) < 2010
    assert len(quoted("x" * 10_000)) <= 80
    assert quoted({"a": 1}) == "{'a': 1}"
