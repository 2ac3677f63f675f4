"""Text from outside, made safe to show: in messages, in logs and in the XML of the meta attributes."""

from typing import Any

LONGEST = 80
LONGEST_MESSAGE = 2000


def quoted(value: Any, longest: int = LONGEST) -> str:
    """A value as ``repr`` shows it, which escapes control characters; the middle of a long one is left out."""
    try:
        text = repr(value[: 4 * longest] if isinstance(value, str) else value)
    except RecursionError:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= longest else f"{text[: longest - 12]} … {text[-9:]}"


def printable(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """One line without control characters, surrogates or other characters that neither a terminal nor XML should get."""
    cut = text if len(text) <= longest else text[:longest] + " …"
    return cut if cut.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in cut)


def legible(text: str) -> str:
    """The same text as UTF-8 can hold it: what names of files have that are not UTF-8 is escaped, as by :func:`printable`."""
    return text.encode(errors="backslashreplace").decode()


def _escaped(character: str) -> str:
    return repr(character)[1:-1] if not character.isspace() or character in "\r\n\t\v\f" else " "
