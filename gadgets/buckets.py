"""Gadget behind AcquisitionAccumulateTrigger: ``<execute name="gadgets.buckets" target="reconstruct" type="python"/>``.

RemoveROOversampling is expected before it, as in the stock chains: readouts that fit the image are taken for cut.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gadgets.connection import GadgetConnection
from gadgets.target import gadget_for
from untrained_recon.wire import BUCKET

if TYPE_CHECKING:
    from untrained_recon.jobs import Jobs
    from untrained_recon.stream import Session


def answer(connection: GadgetConnection, session: "Session", items: Iterable[Any], jobs: "Jobs") -> None:
    """Send back what ``items`` become; the part that a gadget shares with the service."""
    from gadgets.answer import send_images

    send_images(connection, session, session.assemble(batches(items), cut_before=True), jobs)


def batches(buckets: Iterable[Any]) -> Iterator[list[Any]]:
    """All lines of each bucket once: those that both calibrate and image are in its data and in its reference."""
    from untrained_recon.readout import is_calibration_only

    for bucket in buckets:
        yield [*bucket.data, *(acq for acq in bucket.ref if is_calibration_only(acq))]


reconstruct = gadget_for(BUCKET, answer)
"""Sends back an image for every slice, repetition, contrast, phase, set and average."""
