"""ISMRMRD raw files as volumes: every image that :mod:`untrained_recon.scan.assemble` makes of the readouts is one item."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from untrained_recon.config import ScanConfig
from untrained_recon.encoding import ImageIndex
from untrained_recon.errors import NoImagingDataError, RawFileError, ReconError
from untrained_recon.files.raw import RawFile
from untrained_recon.files.volume import Volume, header_for, lines_within_limits, require
from untrained_recon.files.writer import RawWriter
from untrained_recon.masks import Sampling
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.membership import encoding_of, image_index, is_imaging
from untrained_recon.scan.readout import is_beyond_matrix, is_noise, line_of
from untrained_recon.types import BoolArray, ComplexArray

DWELL_US = 5.0
SETTINGS = ScanConfig(flush="close", fill="matrix")


class RawVolume(Volume):
    """The images of an ISMRMRD raw file, in the order of their counters.

    They are as the reconstruction gets them: on the encoded grid, repeated lines averaged, without readout oversampling,
    prewhitened where the file has a noise scan. An image is fully sampled when every line within the header's encoding limits is
    there.

    Args:
        path: The file.
        allow_undersampled: Take files in which lines are missing.
        group: Group of the scan, see :class:`~untrained_recon.files.raw.RawFile`.

    Raises:
        RawFileError: The file is damaged or undersampled, or its images are of more than one encoding space.
        ReconError: The header or a readout is not as it should be; the subclasses say how.
    """

    def __init__(self, path: Path, allow_undersampled: bool, group: str = "") -> None:
        self.path = path
        self._raw = RawFile(path, group)
        try:
            with self._named():
                self._open(allow_undersampled)
        except ReconError:
            self._raw.close()
            raise

    def _open(self, allow_undersampled: bool) -> None:
        self.header = self._raw.header
        self._parsed = parse_header(self.header)
        images: dict[ImageIndex, list[int]] = {}
        hit: dict[ImageIndex, set[int]] = {}
        self._noise: list[int] = []
        for number, head in enumerate(heads := self._raw.heads()):
            if is_noise(head):
                self._noise.append(number)
            elif is_imaging(head, self._parsed) and not is_beyond_matrix(head, encoding_of(head, self._parsed)):
                index = image_index(head, SETTINGS)
                images.setdefault(index, []).append(number)
                hit.setdefault(index, set()).add(line_of(head, encoding_of(head, self._parsed)))
        if not images:
            raise NoImagingDataError("the file holds no imaging readouts")
        spaces = {index.encoding for index in images}
        require(len(spaces) == 1, self.path, f"images of {len(spaces)} encoding spaces; a volume has one")
        first = next(iter(images.values()))[0]
        space = spaces.pop()
        found = self._parsed.encodings[space]
        require(found.partitions == 1, self.path, "a 3-D scan; studies take 2-D images")
        self.encoding = found.gridded()
        n_y, n_x = self.encoding.encoded_shape
        self.shape = (heads[first].active_channels, n_y, n_x)
        self._items = [(index, images[index], np.isin(np.arange(n_y), list(hit[index]))) for index in sorted(images)]
        if not allow_undersampled:
            self._require_full(lines_within_limits(found))

    def _require_full(self, limits: BoolArray) -> None:
        for index, _, lines in self._items:
            require(
                not (limits & ~lines).any(),
                self.path,
                f"{index} has {lines.sum()} of {limits.sum()} lines; fully sampled k-space is needed",
            )

    def __len__(self) -> int:
        return len(self._items)

    def lines(self, item: int) -> BoolArray:
        """The lines of the image's readouts."""
        return self._items[item][2]

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def _read(self, item: int) -> ComplexArray:
        from untrained_recon.scan.assemble import assemble  # it loads torch, which a replay to a server does without

        index, numbers, lines = self._items[item]
        with self._named():
            readouts = self._raw.read(sorted(self._noise + numbers))
            (data,) = assemble([readouts], self._parsed, SETTINGS)
        require(
            (data.mask == lines[:, None]).all(), self.path, f"the readouts of {index} do not fill the matrix (asymmetric echo?)"
        )
        return data.ksp

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors name the file."""
        try:
            yield
        except ReconError as error:
            if isinstance(error, RawFileError):
                raise
            raise type(error)(f"{self.path}: {error}") from error


def write_raw(volume: Volume, path: Path, sampling: Sampling | None = None) -> None:
    """Write an ISMRMRD raw file: images become slices, readouts run along x, the lines that were not acquired are left out.

    Args:
        volume: What to write.
        path: The file.
        sampling: Leaves lines out, and flags the ACS lines as a scanner does.

    Raises:
        RawFileError: There are samples on lines that were not acquired.
    """
    n_y = volume.shape[1]
    acquired = np.stack([volume.lines(item) for item in range(len(volume))])
    limits, always = acquired.max(axis=0), acquired.min(axis=0)
    codes = _codes(always) if sampling is None else sampling.codes(n_y, volume.name)
    accel = max(1, round(len(acquired) * np.ptp(np.flatnonzero(limits)) / acquired.sum())) if sampling is None else sampling.accel
    encoding = replace(volume.encoding, acceleration=accel, separate_calibration=False)
    header = header_for(volume, encoding, limits)
    with RawWriter(path, header, len(volume), encoding.recon_fov[0], DWELL_US) as writer:
        for item, (ksp, lines) in enumerate(zip(volume, acquired, strict=True)):
            require(
                not ksp[:, ~lines].any(), volume.path, f"image {item} has samples on lines that its header says were not acquired"
            )
            writer.slice(item, ksp, codes * lines, encoding.center_y - n_y // 2)


def _codes(lines: BoolArray) -> npt.NDArray[np.uint8]:
    """Line codes (:func:`untrained_recon.masks.line_codes`) for lines without flags: the centre of undersampled ones calibrates."""
    codes = np.ones(len(lines), np.uint8)
    centre = len(lines) // 2
    rows = np.flatnonzero(lines)
    if len(rows) and len(rows) <= np.ptp(rows) and lines[centre]:
        low, high = centre - int(np.argmin(lines[centre::-1])), centre + int(np.argmin(lines[centre:]))
        codes[low + 1 : high] = 3
    return codes
