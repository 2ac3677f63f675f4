"""Windows under the arithmetic of Gadgetron's scaling gadgets, restated here from the source of 4.7.2."""

import socket
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import numpy.typing as npt
import pytest

from gadgets import acquisitions
from gadgets.connection import GadgetConnection
from tests.helpers import play, read_raw, stream
from untrained_recon.types import ComplexArray

SCALES = (1e-4, 0.02, 1.0, 30.0, 5000.0)
UNSCALED = {"config": "fast", "recon.method": "zero-filled", "device": "cpu"}


def image_array_scaling(arrays: list[ComplexArray], least: float = 64, most: float = 4095) -> list[ComplexArray]:
    """GenericReconImageArrayScalingGadget with use_constant_scalingFactor false and auto_scaling_only_once true."""
    brightest = float(np.abs(arrays[0]).max())
    brightest = 1.0 if brightest < np.finfo(np.float32).eps else brightest
    if not least <= brightest <= most:
        factor = 2048 / brightest
    else:
        factor = 4.0
        while brightest * factor > most and factor >= 2:
            factor /= 2
        if brightest * factor > most:
            factor = most / brightest
    return [array * np.float32(factor) for array in arrays]


def float_to_ushort(pixels: ComplexArray, most: float = 4095) -> npt.NDArray[np.uint16]:
    """ComplexToFloatGadget and FloatToUShortGadget, for magnitudes."""
    return np.rint(np.clip(np.abs(pixels), 0, most)).astype(np.uint16)


def window(image: ismrmrd.Image) -> tuple[float, float] | None:
    """Least and largest shown value, by the image's meta; None where the viewer finds its own."""
    meta = image.meta
    if "GADGETRON_WindowCenter" not in meta or "GADGETRON_WindowWidth" not in meta:
        return None
    centre, width = float(meta["GADGETRON_WindowCenter"]), float(meta["GADGETRON_WindowWidth"])
    return centre - width / 2, centre + width / 2


def shown_white(image: ismrmrd.Image, pixels: npt.NDArray[Any]) -> float:
    """Share of the pixels that a viewer shows white."""
    bounds = window(image)
    return 0.0 if bounds is None else float(np.mean(pixels > bounds[1]))


@pytest.fixture(scope="module")
def scan(small_scan: Path) -> tuple[bytes, list[ismrmrd.Acquisition]]:
    header, items = read_raw(small_scan)
    return header, items[1:]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("form", ["images", "arrays"])
def test_no_image_is_shown_white_after_the_gadgets_of_its_chain(
    form: str, scale: float, scan: tuple[bytes, list[ismrmrd.Acquisition]], monkeypatch: pytest.MonkeyPatch
) -> None:
    header, items = scan
    scaled = [ismrmrd.Acquisition.from_bytes(item.to_bytes()) for item in items]
    for item in scaled:
        item.data[:] *= scale
    arrays: list[ismrmrd.Image] = []

    def keep(images: list[ismrmrd.Image], _: object) -> bytes:
        arrays.extend(images)
        return b""  # the double of the host takes no image arrays

    monkeypatch.setattr("gadgets.answer.image_array_bytes", keep)

    def serve(sock: socket.socket) -> None:
        with GadgetConnection(sock) as connection:
            acquisitions.reconstruct(connection)

    answer = play(stream({**UNSCALED, "output.form": form}, header, scaled), serve)
    assert answer.failure is None
    if form == "images":
        made = [(image, image.data) for image in answer.images]
    else:
        made = [
            (image, float_to_ushort(array))
            for image, array in zip(arrays, image_array_scaling([image.data for image in arrays]), strict=True)
        ]
    assert len(made) == 2
    for image, pixels in made:
        assert shown_white(image, pixels) < 0.02
        assert np.ptp(pixels) > 0
    assert (window(made[0][0]) is None) == (form == "arrays")


def test_a_window_that_is_not_scaled_with_the_pixels_would_be_found() -> None:
    pixels = np.linspace(1, 1000, 100, dtype=np.float32).reshape(10, 10)
    image = ismrmrd.Image.from_array(pixels, transpose=False)
    image.meta = {"GADGETRON_WindowCenter": "500", "GADGETRON_WindowWidth": "1000"}
    assert shown_white(image, pixels) == 0
    assert shown_white(image, float_to_ushort(image_array_scaling([pixels.astype(np.complex64)])[0])) > 0.5
