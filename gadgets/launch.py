"""Start a gadget as Gadgetron does, but guarded from the first byte.

Same arguments as ``python -m gadgetron``. Logs go to stderr, one JSON object a line, for a host that shows progress.
"""

import argparse
import importlib
import logging
import os
import socket

from gadgets.connection import GadgetConnection
from untrained_recon.logs import JsonFormatter


def main() -> int:
    """Connect back to the host on PORT and hand the connection to TARGET. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gadgets", description="Start a gadget as Gadgetron does.")
    parser.add_argument("port", type=int, help="port of the host on this machine")
    parser.add_argument("module", help="gadgets.acquisitions, …")
    parser.add_argument("target", help="function in the module")
    args = parser.parse_args()

    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=os.environ.get("GADGETRON_EXTERNAL_LOG_LEVEL", "DEBUG"), handlers=[handler])
    with GadgetConnection(socket.create_connection(("localhost", args.port))) as connection:
        try:
            target = getattr(importlib.import_module(args.module), args.target)
        except Exception as error:
            connection.fail(error)
            return 1
        try:
            target(connection)
        except Exception:  # the target has reported it
            return 1
    return 0
