"""Gadget in the place of a stock recon gadget, behind BucketToBuffer:
``<execute name="gadgets.buffers" target="reconstruct" type="python"/>``.
"""

from gadgets.connection import GadgetConnection, gadget
from untrained_recon.wire import RECON_DATA


@gadget
def reconstruct(connection: GadgetConnection) -> None:
    """Answer every buffer with an image array, as a stock recon gadget does (or with images, see ``output.form``)."""
    # imported here so that a broken installation is reported to the host like any other failure
    from gadgets.answer import send_images
    from untrained_recon.buffers import Buffer, kspaces
    from untrained_recon.errors import NoImagingDataError
    from untrained_recon.stream import Session

    session = Session(connection.header_xml, connection.properties)
    connection.accept(RECON_DATA)
    empty = True
    for recon_data in connection:
        for bit in recon_data:
            data = Buffer(bit.data.data, bit.data.headers)
            ref = None if bit.ref is None else Buffer(bit.ref.data, bit.ref.headers)
            n, s, loc = data.data.shape[-3:]
            send_images(connection, session, kspaces(data, ref, session.header), (n, s, loc))
            empty = False
    if empty:
        raise NoImagingDataError("the scan ended without a buffer; see the log of the gadgets before this one")
