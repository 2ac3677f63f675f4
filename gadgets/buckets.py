"""Gadget behind AcquisitionAccumulateTrigger: ``<execute name="gadgets.buckets" target="reconstruct" type="python"/>``."""

from collections.abc import Iterator
from typing import Any

from gadgets.connection import GadgetConnection, gadget
from untrained_recon.wire import BUCKET


@gadget
def reconstruct(connection: GadgetConnection) -> None:
    """Send back an image for every slice, repetition, contrast, phase, set and average; pass on what is not a bucket."""
    # imported here so that a broken installation is reported to the host like any other failure
    from gadgets.answer import send_images
    from untrained_recon.stream import Session

    session = Session(connection.header_xml, connection.properties)
    connection.accept(BUCKET)
    send_images(connection, session, session.assemble(_batches(connection)))


def _batches(connection: GadgetConnection) -> Iterator[list[Any]]:
    """All lines of each bucket once: those that both calibrate and image are in its data and in its reference."""
    from untrained_recon.readout import is_calibration_only

    for bucket in connection:
        yield [*bucket.data, *(acq for acq in bucket.ref if is_calibration_only(acq))]
