"""Gadget in the place of a stock recon gadget, behind BucketToBuffer:
``<execute name="gadgets.buffers" target="reconstruct" type="python"/>``.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gadgets.connection import GadgetConnection
from gadgets.target import gadget_for
from untrained_recon.wire import RECON_DATA

if TYPE_CHECKING:
    from gadgets.answer import Plan
    from untrained_recon.config import ScanConfig
    from untrained_recon.encoding import Header
    from untrained_recon.jobs import Jobs
    from untrained_recon.stream import Session
    from untrained_recon.types import KSpace


def answer(connection: GadgetConnection, session: "Session", items: Iterable[Any], jobs: "Jobs") -> None:
    """Send back what ``items`` become; the part that a gadget shares with the service."""
    from gadgets.answer import send_images

    plans: deque[Plan] = deque()
    messages = _planned(items, session)
    send_images(connection, session, kspaces_of(messages, session.header, session.config.scan, plans), jobs, plans)


def _planned(messages: Iterable[Any], session: "Session") -> Iterator[Any]:
    """The messages, the memory for the images of each planned before."""
    for message in messages:
        for bit in message:
            n_coils = bit.data.data.shape[3] if bit.data.data.ndim > 3 else 1
            for space in {head.encoding_space_ref for head in bit.data.headers.flat if head.number_of_samples > 0}:
                session.expect(space, n_coils)
        yield message


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
            images = [bit for bit in message if bit.data.data.size]  # an encoding space of calibration lines alone has no data
            alone = [bit for bit in message if bit.ref is not None and not bit.data.data.size]
            references = [Buffer(bit.ref.data, bit.ref.headers) for bit in alone]
            for bit in images:
                data = Buffer(bit.data.data, bit.data.headers)
                ref = None if bit.ref is None else Buffer(bit.ref.data, bit.ref.headers)
                plans.append(Plan(image_grid(data, settings), indices(data, header, settings)))
                empty = False
                try:
                    yield from kspaces(data, ref, header, settings, references)
                except ReconError as error:
                    if not failures.take(error):
                        raise
        if empty:
            raise NoImagingDataError("the scan ended without a buffer; see the log of the gadgets before this one")


reconstruct = gadget_for(RECON_DATA, answer)
"""Answers every buffer with an image array, as a stock recon gadget does (or with images, see ``output.form``)."""
