"""Gadget for a stream of acquisitions: ``<execute name="gadgets.acquisitions" target="reconstruct" type="python"/>``."""

import ismrmrd

from gadgets.connection import GadgetConnection, gadget


@gadget
def reconstruct(connection: GadgetConnection) -> None:
    """Send back an image for every slice, repetition, contrast, phase, set and average; pass on what is not an acquisition."""
    # imported here so that a broken installation is reported to the host like any other failure
    from untrained_recon.header import parse_header
    from untrained_recon.stream import reconstruct_acquisitions

    connection.filter(ismrmrd.Acquisition)
    for image in reconstruct_acquisitions(connection, parse_header(connection.header_xml), connection.properties):
        connection.send(image)
