"""The k-space of a scan → images on the connection: what all gadgets share."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing

import ismrmrd

from gadgets.connection import GadgetConnection
from gadgets.writers import image_array_bytes
from untrained_recon.images import for_array, possible_series
from untrained_recon.jobs import Jobs
from untrained_recon.stream import Session
from untrained_recon.types import KSpace

Shape = tuple[int, int, int]


def send_images(
    connection: GadgetConnection, session: Session, scan: Iterable[KSpace], jobs: Jobs, shapes: deque[Shape] | None = None
) -> None:
    """Reconstruct image after image and send each as soon as it is ready, or in image arrays.

    Args:
        connection: Where to.
        session: The scan's settings.
        scan: The k-space of the images, N fastest, then S, then LOC, where they make an array.
        jobs: Who reconstructs.
        shapes: N, S and LOC of the arrays that a gadget downstream expects here, noted as ``scan`` is consumed. Without, arrays
            hold one image each and are sent where ``output.form`` asks for them. They hold complex images, no maps.
    """
    form = session.config.output.form
    scan = _audible(connection, scan)
    if form == "images" or (form == "auto" and shapes is None):
        with closing(session.images(scan, possible_series(session.config), jobs, connection.note)) as images:
            for image in images:
                connection.send(image)
        return
    array: list[ismrmrd.Image] = []
    with closing(session.images(scan, ["complex"], jobs, connection.note)) as images:
        for image in images:
            array.append(for_array(image))
            shape = shapes[0] if shapes else (1, 1, 1)
            if len(array) == math.prod(shape):
                connection.send_bytes(image_array_bytes(array, shape))
                array.clear()
                if shapes:
                    shapes.popleft()


def _audible(connection: GadgetConnection, scan: Iterable[KSpace]) -> Iterator[KSpace]:
    """The scan; where it breaks the log says so at once, and the host is not held up while the images before that are fitted."""
    try:
        yield from scan
    except Exception as error:
        connection.note(error)
        connection.drain()
        raise
