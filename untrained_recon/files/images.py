"""ISMRMRD image files, written and read; they appear under their name when all that belongs in them is there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import ismrmrd

from untrained_recon.errors import RawFileError
from untrained_recon.output import NO_INPUTS, HDF5Output, Inputs, written
from untrained_recon.text.xml import as_utf8

GROUP = "dataset"


class ImageFile:
    """An image file in the making, see :func:`image_file`."""

    def __init__(self, path: Path, file: HDF5Output, header: bytes) -> None:
        self._path, self._file = path, file
        self._dataset = ismrmrd.Dataset(file, GROUP)
        self._dataset.write_xml_header(as_utf8(header))

    def append_image(self, number: int, image: ismrmrd.Image) -> None:
        """Add an image to the group ``image_<number>``. Raises RawFileError where the format has no place for it, else OSError."""
        try:
            self._dataset.append_image(f"image_{number}", image)
        except (RuntimeError, TypeError) as error:
            raise RawFileError(f"{self._path}: an image of series {number} cannot be written ({error})") from error
        self._file.check()

    def append_waveform(self, waveform: ismrmrd.Waveform) -> None:
        """Add a waveform that came back. Raises OSError."""
        self._dataset.append_waveform(waveform)
        self._file.check()

    def close(self) -> None:
        """End the dataset; the file stays open."""
        self._dataset.close()


@contextmanager
def image_file(path: Path, header: bytes, inputs: Inputs = NO_INPUTS) -> Iterator[ImageFile]:
    """A new image file; leaving the context with an error leaves nothing.

    Args:
        path: Its name; an existing file is replaced.
        header: XML header to store beside the images.
        inputs: See :func:`untrained_recon.output.require_place`.

    Raises:
        RawFileError: It cannot be written there.
    """
    with written(path, inputs) as part, HDF5Output(part) as file:
        images = ImageFile(path, file, header)
        try:
            yield images
        finally:
            images.close()


class _ReadOnly(ismrmrd.Dataset):  # type: ignore[misc]  # ismrmrd has no types
    """A dataset in a file that is open; ismrmrd 1.14 opens none for reading alone."""

    def __init__(self, file: h5py.File) -> None:
        self._file, self._dataset_name = file, GROUP


def read_images(path: Path, number: int) -> list[ismrmrd.Image]:
    """All images of the group ``image_<number>`` of an image file. Raises RawFileError when it cannot be read."""
    name = f"image_{number}"
    try:
        with h5py.File(path, "r") as file:
            if name not in file.get(GROUP, ()):
                raise RawFileError(f"{path}: no series {name}")
            dataset = _ReadOnly(file)
            return [dataset.read_image(name, n) for n in range(dataset.number_of_images(name))]
    except (OSError, LookupError, RuntimeError, TypeError, ValueError) as error:  # what HDF5 and ismrmrd raise over other files
        raise RawFileError(f"{path}: cannot be read as an image file ({error})") from error
