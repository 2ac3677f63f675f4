"""Gadgetron's QUERY message, by which a service is asked how it is."""

import json
import struct
import time
from collections.abc import Mapping

from gadgetron.external import constants

from gadgets.source import GuardedSocket

LONGEST = 1 << 16


def is_query(source: GuardedSocket) -> bool:
    """Whether the connection begins with a query, the only message that may come instead of a scan."""
    return source.peek(2) == struct.pack("<H", constants.GADGET_MESSAGE_QUERY)


def answer_query(source: GuardedSocket, status: Mapping[str, object], seconds: float) -> None:
    """Read the query, whatever it asks, and answer with the status. Raises ProtocolError, HostSilentError."""
    source.deadline = time.monotonic() + seconds
    source.begin_message()
    _, _, correlation, length = struct.unpack("<HQQQ", source.read(26))
    source.read(min(length, LONGEST))
    text = json.dumps(status).encode()
    source.write(struct.pack("<HQQ", constants.GADGET_MESSAGE_RESPONSE, correlation, len(text)) + text)
