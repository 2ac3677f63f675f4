"""ISMRMRD image files, written and read; they appear under their name when all that belongs in them is there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree.ElementTree import ParseError

import h5py
import ismrmrd

from untrained_recon.errors import RawFileError
from untrained_recon.files.foreign import describe_hdf5, has_images
from untrained_recon.files.scan_group import header_text, named, open_hdf5
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

    def __init__(self, file: h5py.File, group: str) -> None:
        self._file, self._dataset_name = file, group


def read_images(path: Path, number: int, group: str = GROUP) -> list[ismrmrd.Image]:
    """All images of the group ``image_<number>`` of an image file. Raises RawFileError when it cannot be read."""
    return _read(path, group, f"image_{number}")


def read_series(path: Path, group: str = "") -> tuple[bytes, dict[str, list[ismrmrd.Image]]]:
    """The XML header of an image file, empty where there is none, and all of its images, by the name of their group.

    Args:
        path: The file, ours or another's.
        group: Where the groups ``image_*`` are; by default ``dataset``, or the only such group.

    Raises:
        RawFileError: There are no images, or in several groups; or they cannot be read.
    """
    with open_hdf5(path) as file, named(path, "its groups"):
        places = {name: item for name, item in file.items() if has_images(item)}
        if not places:
            raise RawFileError(f"{path}: there are no images in it; it is {describe_hdf5(file)}")
        if not group and GROUP not in places and len(places) > 1:
            raise RawFileError(f"{path}: images in several groups; choose one with --group: {', '.join(places)}")
        where = group or (GROUP if GROUP in places else next(iter(places)))
        if where not in places:
            raise RawFileError(f"{path}: no group {where!r} with images; there are {', '.join(places)}")
        names = [name for name in places[where] if name.startswith("image_") and isinstance(places[where][name], h5py.Group)]
        header = header_text(places[where], path) if "xml" in places[where] else b""
    return header, {name: _read(path, where, name) for name in sorted(names, key=lambda name: (len(name), name))}


def _read(path: Path, group: str, name: str) -> list[ismrmrd.Image]:
    try:
        with h5py.File(path, "r") as file:
            if name not in file.get(group, ()):
                raise RawFileError(f"{path}: no series {name}")
            dataset = _ReadOnly(file, group)
            return [dataset.read_image(name, n) for n in range(dataset.number_of_images(name))]
    except (OSError, LookupError, RuntimeError, TypeError, ValueError, ParseError) as error:  # what HDF5 and ismrmrd raise
        raise RawFileError(f"{path}: cannot be read as an image file ({error})") from error
