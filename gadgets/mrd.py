"""The MRD streaming protocol of Siemens' FIRE and Open Recon, in which the scanner is the client.

To us: a configuration by its name or as text, the header, perhaps a TEXT with JSON parameters, items, CLOSE. From us: images with
the meta attributes that Siemens' hosts read, TEXT for the log and for errors, CLOSE. Texts end in a NUL. The same messages as
Gadgetron's, but for three: a TEXT takes the place of ERROR, nothing passes through, and image arrays are unknown.
"""

import json
import logging
import socket
import struct
from typing import Any

import ismrmrd
import numpy as np

from gadgets import acquisitions
from gadgets.connection import GadgetConnection, properties_of
from gadgets.readers import skip_text
from gadgets.service import Protocol
from untrained_recon.errors import ProtocolError, UnsupportedScanError
from untrained_recon.scan.images import WINDOW
from untrained_recon.scan.series import series_of
from untrained_recon.site.openrecon import SETTINGS
from untrained_recon.wire import ACQUISITION, IMAGE, TEXT

logger = logging.getLogger(__name__)

UNNAMED = ("", "openrecon")  # what Open Recon sends as the configuration's name, whatever the image is
GREYS = 4096  # 12 bits
BRIGHT = 2048  # the 99.9th percentile of a scan's first image; later ones may be twice as bright
DISPLAY = ("DataRole", "ImageComment", "ImageProcessingHistory")


class MrdConnection(GadgetConnection):
    """A scanner's connection; see the module for what differs from Gadgetron's."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.readers[TEXT] = skip_text
        self._parameters: dict[str, str] = {}
        self._scale = 0.0

    def open(self) -> None:
        """Read configuration, header, and parameters where they follow."""
        super().open()
        self.socket.deadline = None  # a scanner may take its time between header and data
        if self.socket.peek(2) == struct.pack("<H", TEXT):
            self._parameters = parameters_of(self._expect("parameters", TEXT))

    @property
    def properties(self) -> dict[str, str]:
        """The configuration's settings, over them the parameters; always images, never arrays."""
        return {**settings_of(self.config_xml or b""), **self._parameters, "output.form": "images"}

    def pass_on(self, message_id: int, payload: bytes) -> None:
        """Keep what is not ours. Raises UnsupportedScanError for images, which mean that the host was set up wrongly."""
        if message_id == IMAGE:
            raise UnsupportedScanError("the scanner sent images; set it up to send raw data (emitter raw)")

    def send(self, item: Any) -> None:
        """Send an image as the scanner shows it, and a line about it."""
        if not self._scale:
            self._scale = BRIGHT / max(float(np.percentile(np.abs(item.data), 99.9)), 1e-30)
        meta = item.meta
        super().send(siemens_image(item, self._scale))
        self.log(
            "INFO",
            f"slice {item.slice}, repetition {item.repetition}: {meta['untrained_recon_method']}, "
            f"{meta['untrained_recon_iterations']} iterations, {meta['untrained_recon_seconds']} s",
        )

    def log(self, level: str, text: str) -> None:
        """A line for the scanner's log; a scanner that is gone is logged here, not raised."""
        payload = f"{level:8} {text}\0".encode()
        try:
            self.send_bytes(struct.pack("<HI", TEXT, len(payload)) + payload)
        except OSError as error:
            logger.warning("the scanner was gone before it could be told: %s", error)

    def send_error(self, text: str) -> None:
        """Tell the scanner what went wrong."""
        self.log("ERROR", text)

    def report(self, text: str) -> None:
        """Tell it at once, as its texts may come at any time; its data are read to their end."""
        self.send_error(text)
        self.drain()


MRD = Protocol(MrdConnection, {ACQUISITION: acquisitions.answer})


def settings_of(config: bytes) -> dict[str, str]:
    """Settings of a configuration: its name, a ``<configuration>`` node, or JSON parameters.

    Raises:
        ProtocolError: It begins like XML or JSON but is not.
    """
    text = config.rstrip(b"\0").strip()
    if text.startswith(b"{"):
        return parameters_of(text)
    settings = properties_of(text) if text.startswith(b"<") else {"config": text.decode(errors="replace")}
    if settings.get("config") in UNNAMED:
        del settings["config"]
    return settings


def parameters_of(text: bytes) -> dict[str, str]:
    """Settings from ``{"parameters": {...}}``; the names are those of Open Recon's label or of our configuration.

    Raises:
        ProtocolError: Not JSON of that form.
    """
    try:
        found = json.loads(text.rstrip(b"\0"))
        parameters = found.get("parameters", {})
        return {SETTINGS.get(name, name): str(value) for name, value in parameters.items() if value != ""}
    except (ValueError, AttributeError, RecursionError) as error:
        raise ProtocolError(f'the scanner\'s parameters are not JSON of the form {{"parameters": {{...}}}}: {error}') from error


def siemens_image(image: ismrmrd.Image, scale: float) -> ismrmrd.Image:
    """The image as a scanner takes it.

    What is not complex becomes 12 bit integers: in units of the magnitude by ``scale``, else what lies between the limits of its
    series from 0 to the largest. Lines and columns are counted against phase and read direction, about the same centre, as
    Siemens' own reconstruction counts them and as the reference server does.

    Args:
        image: From :func:`untrained_recon.scan.images.to_image`.
        scale: Factor for pixels in the units of the magnitude.
    """
    limits = series_of(image).limits
    if limits is None:
        offset, window = 0.0, [scale * float(image.meta[name]) for name in WINDOW]
    else:
        scale = GREYS / (limits[1] - limits[0])
        offset, window = -scale * limits[0], [GREYS / 2, GREYS]
    pixels = scale * image.data
    for axis in (-2, -1):
        pixels = np.roll(np.flip(pixels, axis), 1 - pixels.shape[axis] % 2, axis)
    if not np.iscomplexobj(pixels):
        pixels = np.clip(np.rint(pixels + offset), 0, GREYS - 1).astype(np.uint16)
    made = ismrmrd.Image.from_array(np.ascontiguousarray(pixels), transpose=False)
    head = image.getHead()
    head.data_type = made.data_type
    made.setHead(head)
    old = image.meta
    made.meta = {
        **old,
        **{name: old[f"GADGETRON_{name}"] for name in DISPLAY},
        "SeriesDescription": old["GADGETRON_SeqDescription"],
        "SequenceDescriptionAdditional": old["GADGETRON_SeqDescription"].lstrip("_"),
        "WindowCenter": f"{window[0]:.0f}",
        "WindowWidth": f"{window[1]:.0f}",
        "GADGETRON_ScaleRatio": f"{scale:.6g}",
        **({"GADGETRON_ScaleOffset": f"{offset:.6g}"} if offset else {}),
        "ImageRowDir": [f"{value:.9f}" for value in head.read_dir],
        "ImageColumnDir": [f"{value:.9f}" for value in head.phase_dir],
        "Keep_image_geometry": "1",
    }
    return made
