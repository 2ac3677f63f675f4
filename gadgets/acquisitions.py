"""Gadget for a stream of acquisitions: ``<execute name="gadgets.acquisitions" target="reconstruct" type="python"/>``."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gadgets.connection import GadgetConnection
from gadgets.target import gadget_for
from untrained_recon.wire import ACQUISITION

if TYPE_CHECKING:
    from untrained_recon.jobs import Jobs
    from untrained_recon.stream import Session


def answer(connection: GadgetConnection, session: "Session", items: Iterable[Any], jobs: "Jobs") -> None:
    """Send back what ``items`` become; the part that a gadget shares with the service."""
    from gadgets.answer import send_images

    send_images(connection, session, session.assemble([acq] for acq in items), jobs)


reconstruct = gadget_for(ACQUISITION, answer)
"""Sends back an image for every slice, repetition, contrast, phase, set and average."""
