"""Gadget for a stream of acquisitions: ``<execute name="gadgets.acquisitions" target="reconstruct" type="python"/>``."""

from gadgets.connection import GadgetConnection, gadget
from untrained_recon.wire import ACQUISITION


@gadget
def reconstruct(connection: GadgetConnection) -> None:
    """Send back an image for every slice, repetition, contrast, phase, set and average; pass on what is not an acquisition."""
    # imported here so that a broken installation is reported to the host like any other failure
    from gadgets.answer import send_images
    from untrained_recon.stream import Session

    session = Session(connection.header_xml, connection.properties)
    connection.accept(ACQUISITION)
    send_images(connection, session, session.assemble([acq] for acq in connection))
