"""Gadget in the place of a stock recon gadget, behind BucketToBuffer:
``<execute name="gadgets.buffers" target="reconstruct" type="python"/>``.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gadgets.connection import GadgetConnection, gadget_for
from untrained_recon.wire import RECON_DATA

if TYPE_CHECKING:
    from gadgets.answer import Plan
    from untrained_recon.config import ScanConfig
    from untrained_recon.jobs import Jobs
    from untrained_recon.stream import Session
    from untrained_recon.types import Header, KSpace


def answer(connection: GadgetConnection, session: "Session", items: Iterable[Any], jobs: "Jobs") -> None:
    """Send back what ``items`` become; the part that a gadget shares with the service."""
    from gadgets.answer import send_images

    plans: deque[Plan] = deque()
    send_images(connection, session, kspaces_of(items, session.header, session.config.scan, plans), jobs, plans)


def kspaces_of(messages: Iterable[Any], header: "Header", settings: "ScanConfig", plans: "deque[Plan]") -> "Iterator[KSpace]":
    """The images of all buffers; ``plans`` takes what each buffer holds before its first."""
    from gadgets.answer import Plan
    from untrained_recon.buffers import Buffer, image_grid, indices, kspaces
    from untrained_recon.errors import NoImagingDataError, ReconError
    from untrained_recon.failures import Failures

    failures = Failures()
    empty = True
    with failures.collecting():
        for message in messages:
            for bit in message:
                data = Buffer(bit.data.data, bit.data.headers)
                ref = None if bit.ref is None else Buffer(bit.ref.data, bit.ref.headers)
                plans.append(Plan(image_grid(data, settings), indices(data, header, settings)))
                try:
                    yield from kspaces(data, ref, header, settings)
                except ReconError as error:
                    if not failures.take(error):
                        raise
                empty = False
        if empty:
            raise NoImagingDataError("the scan ended without a buffer; see the log of the gadgets before this one")


reconstruct = gadget_for(RECON_DATA, answer)
"""Answers every buffer with an image array, as a stock recon gadget does (or with images, see ``output.form``)."""
