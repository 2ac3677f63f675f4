"""The k-space of a scan → images on the connection: what all gadgets share."""

from collections.abc import Iterable

from gadgets.connection import GadgetConnection
from gadgets.writers import image_array_bytes
from untrained_recon.images import expected_series
from untrained_recon.stream import Session
from untrained_recon.types import KSpace


def send_images(
    connection: GadgetConnection, session: Session, scan: Iterable[KSpace], array_shape: tuple[int, int, int] | None = None
) -> None:
    """Reconstruct image after image and send each as soon as it is ready, or all as one image array.

    Args:
        connection: Where to.
        session: The scan's settings.
        scan: The k-space of the images, N fastest, then S, then LOC, where they make an array.
        array_shape: N, S and LOC of the array that a gadget downstream expects here, unless ``output.form`` asks for images.
    """
    form = session.config.output.form
    if form == "images" or (form == "auto" and array_shape is None):
        for image in session.images(scan, expected_series(session.config)):
            connection.send(image)
    elif array_shape is None:
        for image in session.images(scan, ["complex"]):
            connection.send_bytes(image_array_bytes([image], (1, 1, 1)))
    else:
        connection.send_bytes(image_array_bytes(list(session.images(scan, ["complex"])), array_shape))
