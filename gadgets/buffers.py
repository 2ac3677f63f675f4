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
    from untrained_recon.config import ScanConfig
    from untrained_recon.jobs import Jobs
    from untrained_recon.stream import Session
    from untrained_recon.types import Header, KSpace


def answer(connection: GadgetConnection, session: "Session", items: Iterable[Any], jobs: "Jobs") -> None:
    """Send back what ``items`` become; the part that a gadget shares with the service."""
    from gadgets.answer import send_images

    shapes: deque[tuple[int, int, int]] = deque()
    messages = _planned(items, session)
    send_images(connection, session, kspaces_of(messages, session.header, session.config.scan, shapes), jobs, shapes)


def _planned(messages: Iterable[Any], session: "Session") -> Iterator[Any]:
    """The messages, the memory for the images of each planned before."""
    for message in messages:
        for bit in message:
            n_coils = bit.data.data.shape[3] if bit.data.data.ndim > 3 else 1
            for space in {head.encoding_space_ref for head in bit.data.headers.flat if head.number_of_samples > 0}:
                session.expect(space, n_coils)
        yield message


def kspaces_of(
    messages: Iterable[Any], header: "Header", settings: "ScanConfig", shapes: deque[tuple[int, int, int]]
) -> "Iterator[KSpace]":
    """The images of all buffers; ``shapes`` takes N, S and LOC of each buffer's images before the first. Where images of a buffer
    cannot be made, the others make an array each.
    """
    from untrained_recon.buffers import Buffer, image_grid, kspaces
    from untrained_recon.errors import NoImagingDataError
    from untrained_recon.soundness import is_sound

    empty = True
    for message in messages:
        images = [bit for bit in message if bit.data.data.size]  # an encoding space of calibration lines alone has no data
        references = [Buffer(bit.ref.data, bit.ref.headers) for bit in message if bit.ref is not None and not bit.data.data.size]
        for bit in images:
            data = Buffer(bit.data.data, bit.data.headers)
            ref = None if bit.ref is None else Buffer(bit.ref.data, bit.ref.headers)
            made = [is_sound(image) for image in kspaces(data, ref, header, settings, references)]
            shapes.extend([image_grid(data, settings)] if all(made) else [(1, 1, 1)] * sum(made))  # an array has no gaps
            yield from kspaces(data, ref, header, settings, references)
            empty = False
    if empty:
        raise NoImagingDataError("the scan ended without a buffer; see the log of the gadgets before this one")


reconstruct = gadget_for(RECON_DATA, answer)
"""Answers every buffer with an image array, as a stock recon gadget does (or with images, see ``output.form``)."""
