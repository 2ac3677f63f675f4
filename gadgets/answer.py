"""The k-space of a scan → images on the connection: what all gadgets share."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

import ismrmrd

from gadgets.connection import GadgetConnection
from gadgets.writers import image_array_bytes
from untrained_recon.encoding import ImageIndex
from untrained_recon.scan.images import for_array
from untrained_recon.scan.series import counters_of, possible_series
from untrained_recon.serving.jobs import Jobs
from untrained_recon.serving.session import Session
from untrained_recon.types import KSpace

Shape = tuple[int, int, int]


class Plan(NamedTuple):
    """An image array: its sizes along N, S and LOC, and which images it holds, N fastest; None where that is not known."""

    shape: Shape
    images: list[ImageIndex | None]


def send_images(
    connection: GadgetConnection, session: Session, scan: Iterable[KSpace], jobs: Jobs, plans: deque[Plan] | None = None
) -> None:
    """Reconstruct image after image and send each as soon as it is ready, or in image arrays.

    Args:
        connection: Where to.
        session: The scan's settings.
        scan: The k-space of the images, N fastest, then S, then LOC, where they make an array.
        jobs: Who reconstructs.
        plans: The arrays that a gadget downstream expects here, noted as ``scan`` is consumed. Without, arrays hold one image each
            and are sent where ``output.form`` asks for them. They hold complex images, no maps; where an image could not be made,
            the others are sent one by one.
    """
    form = session.config.output.form
    scan = _audible(connection, scan)
    if form == "images" or (form == "auto" and plans is None):
        with closing(session.images(scan, possible_series(session.config), jobs, connection.note)) as images:
            for image in images:
                connection.send(image)
        return
    with closing(session.images(scan, ["complex"], jobs, connection.note)) as images:
        for array, shape in arrays(images, deque() if plans is None else plans):
            connection.send_bytes(image_array_bytes(array, shape))


def _audible(connection: GadgetConnection, scan: Iterable[KSpace]) -> Iterator[KSpace]:
    """The scan; where it breaks the log says so at once, and the host is not held up while the images before that are fitted."""
    try:
        yield from scan
    except Exception as error:
        connection.note(error)
        connection.drain()
        raise


def arrays(images: Iterable[ismrmrd.Image], plans: deque[Plan]) -> Iterator[tuple[list[ismrmrd.Image], Shape]]:
    """Images in their arrays; an array is due when it is complete, or when an image of another one comes.

    An array has no gaps: where an image is missing, the others leave as an array each.
    """
    made: dict[ImageIndex, ismrmrd.Image] = {}

    def due() -> Iterator[tuple[list[ismrmrd.Image], Shape]]:
        plan = plans.popleft()
        if len(made) == len(plan.images):
            yield list(made.values()), plan.shape
        else:
            yield from (([image], (1, 1, 1)) for image in made.values())
        made.clear()

    for image in images:
        index = counters_of(image)
        while plans and (index not in plans[0].images or index in made):
            yield from due()
        made[index] = for_array(image)
        if not plans:
            plans.append(Plan((1, 1, 1), [index]))
        if len(made) == len(plans[0].images):
            yield from due()
    if plans:
        yield from due()
