"""Message ids of Gadgetron's wire protocol, and the configuration node that a chain sends to a gadget."""

from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from untrained_recon.errors import ConfigError
from untrained_recon.text.printable import legible, printable

CONFIG, HEADER, CLOSE, TEXT, QUERY, RESPONSE, ERROR = 2, 3, 4, 5, 6, 7, 8
ACQUISITION, IMAGE, RECON_DATA, IMAGE_ARRAY, WAVEFORM, BUCKET = 1008, 1022, 1023, 1024, 1026, 1050


def configuration_xml(properties: Mapping[str, str]) -> bytes:
    """The ``<configuration>`` node with which a chain passes properties to a gadget.

    Raises:
        ConfigError: As :func:`require_text`.
    """
    require_text(properties)
    lines = [f"<property name={quoteattr(name)} value={quoteattr(value)}/>" for name, value in properties.items()]
    return "".join(['<?xml version="1.0"?><configuration>', *lines, "</configuration>"]).encode()


def require_text(properties: Mapping[str, str]) -> None:
    """Raise ConfigError where a value is no text, as the name of a file that is not UTF-8."""
    for name, value in properties.items():
        if legible(value) != value:
            raise ConfigError(f"{name}: {printable(value)} cannot be told to the gadget, as it is not UTF-8; rename it")
