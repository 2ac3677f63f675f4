"""An ISMRMRD XML header as a document of ``ismrmrd.xsd``, whatever its writer left out, misspelt or added."""

import base64
import dataclasses
import math
import re
import types
import typing
from collections import defaultdict
from enum import Enum
from functools import cache
from typing import Any
from xml.etree import ElementTree

from ismrmrd import xsd
from xsdata.formats.dataclass.context import XmlContext
from xsdata.formats.dataclass.serializers import XmlSerializer
from xsdata.formats.dataclass.serializers.config import SerializerConfig
from xsdata.models.datatype import XmlDate, XmlTime

from untrained_recon.errors import HeaderError
from untrained_recon.text.xml import parse_xml

ROOT = "ismrmrdHeader"
NAMESPACE = "http://www.ismrm.org/ISMRMRD"
PRIVATE = "subjectInformation"  # its values are not for logs
WHOLE = re.compile(r"[-+]?\d+", re.ASCII)
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
MOST_SHOWN = 40
TOLERANCE = 1e-3

Notes = dict[str, str]
"""Dotted path of an element → what is wrong with it, to be read after "is": ``'--'``, ``empty``, ``unknown``."""


def read_document(xml: bytes) -> tuple[Any, Notes]:
    """The header and what in it could not be read.

    Names are compared without their namespace. A value that is not of its type is absent (None), be it required or not, a whole
    number may be written as a decimal that is within a thousandth of it, and of an element that comes twice but should not, the
    first one counts.

    Args:
        xml: The document; NUL bytes around it are ignored.

    Raises:
        HeaderError: Not XML, or not an ISMRMRD header.
    """
    try:
        root = parse_xml(xml)
    except (ElementTree.ParseError, ValueError) as error:
        raise HeaderError(f"the ISMRMRD header cannot be parsed: {error}") from error
    if (name := _local(root)) != ROOT:
        raise HeaderError(f"the ISMRMRD header cannot be parsed: it begins with <{name}>, not with <{ROOT}>")
    notes: Notes = {}
    return _bound(root, xsd.ismrmrdHeader, "", notes), notes


def write_document(document: Any) -> bytes:
    """XML of a document of ``ismrmrd.xsd``; its own writer fails in ismrmrd 1.14.0 with the xsdata of today."""
    serializer = XmlSerializer(config=SerializerConfig(encoding="ascii", indent=" "), context=XmlContext())
    return serializer.render(document, ns_map={"": NAMESPACE}).encode()


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _bound(element: ElementTree.Element, kind: Any, path: str, notes: Notes) -> Any:
    found: dict[str, list[ElementTree.Element]] = defaultdict(list)
    for child in element:
        found[_local(child)].append(child)
    values: dict[str, Any] = {}
    for name, (inner, many) in _fields(kind).items():
        places = found.pop(name, [])
        if many:
            bound = [_value(child, inner, f"{path}{name}[{n}]", notes) for n, child in enumerate(places)]
            values[name] = [value for value in bound if value is not None]
            continue
        values[name] = _value(places[0], inner, f"{path}{name}", notes) if places else None
        if len(places) > 1:
            notes.setdefault(f"{path}{name}", f"there {len(places)} times, of which the first counts")
    notes.update({f"{path}{name}": "unknown" for name in found})
    return kind(**values)


@cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Names of the elements of a class, with their type and whether there may be several."""
    hints = typing.get_type_hints(kind)
    return {field.name: _inner(hints[field.name]) for field in dataclasses.fields(kind) if field.init}


def _inner(hint: Any) -> tuple[Any, bool]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _inner(hint)
    return (arguments[0], True) if origin is list else (hint, False)


def _value(element: ElementTree.Element, kind: Any, path: str, notes: Notes) -> Any:
    if dataclasses.is_dataclass(kind):
        return _bound(element, kind, f"{path}.", notes)
    text = (element.text or "").strip()
    shown = "of an unknown form" if path.startswith(PRIVATE) else repr(text[:MOST_SHOWN])
    try:
        value = _converted(text, kind)
    except (ValueError, KeyError):
        notes[path] = shown if text else "empty"
        return None
    if kind is int and not WHOLE.fullmatch(text):
        notes[path] = f"{shown}, read as {value}"
    return value


def _converted(text: str, kind: Any) -> Any:
    """A value of a simple type. Raises ValueError or KeyError where it is not of that type."""
    if kind is int:
        return int(text) if WHOLE.fullmatch(text) else _whole(_finite(text))
    if kind is float:
        return _finite(text)
    if kind is bytes:
        return base64.b64decode(text)
    if kind in (XmlDate, XmlTime):
        return kind.from_string(text)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {str(member.value).lower(): member for member in kind}[text.lower()]
    return text


def _finite(text: str) -> float:
    if not NUMBER.fullmatch(text) or not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def _whole(number: float) -> int:
    whole = round(number)
    if abs(number - whole) > TOLERANCE * abs(whole):
        raise ValueError(number)
    return whole
