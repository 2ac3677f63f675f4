"""A volume of k-space on disk: what every file format looks like to the rest of the study."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from ismrmrd import xsd

from untrained_recon.encoding import Encoding, ImageIndex
from untrained_recon.errors import NonFiniteError, RawFileError
from untrained_recon.scan.document import write_document
from untrained_recon.scan.elements import encoding_element
from untrained_recon.scan.header import parse_document
from untrained_recon.text.printable import legible
from untrained_recon.types import BoolArray, ComplexArray

Self = TypeVar("Self", bound="Volume")

H1_HZ = 127_740_000  # 3 T; the schema asks for a frequency, and nothing here depends on it


class Volume(ABC):
    """The images of one file as k-space, read one at a time; a context manager.

    ``volume[i]`` is complex64 ``(n_coils, n_y, n_x)``, y the phase encode direction, x the readout, centre ``n // 2``; zero on
    the lines that were not acquired.

    Attributes:
        path: The file.
        shape: ``(n_coils, n_y, n_x)`` of every image.
        encoding: ``encoded_shape`` is ``(n_y, n_x)``. Matrix and fields of view of the images are such that
            :func:`untrained_recon.physics.operators.to_recon_matrix` makes the image that the format's users compare.
        header: The file's own ISMRMRD XML header; None where it has none, or none that can be used.
        transposed: Whether the format shows its images ``(x, y)``.
    """

    path: Path
    shape: tuple[int, int, int]
    encoding: Encoding
    header: bytes | None = None
    transposed: bool = False

    @property
    def name(self) -> str:
        """Name of the file without folder and ending, legible."""
        return legible(self.path.stem)

    @property
    def recon_shape(self) -> tuple[int, int]:
        """Matrix ``(y, x)`` of the images."""
        return self.encoding.recon_shape

    def lines(self, item: int) -> BoolArray:
        """The lines of an image that were acquired, bool ``(n_y,)``."""
        return np.ones(self.shape[1], bool)

    @abstractmethod
    def __len__(self) -> int: ...

    def __getitem__(self, item: int) -> ComplexArray:
        """The k-space of an image.

        Raises:
            IndexError: There is no such image.
            RawFileError: It cannot be read.
            NonFiniteError: It holds NaN or Inf.
        """
        if not 0 <= item < len(self):
            raise IndexError(f"{self.path} has {len(self)} images, not {item + 1}")
        try:
            ksp = np.array(self._read(item), np.complex64, order="C")
        except (OSError, RuntimeError, ValueError) as error:  # HDF5 raises all of them over damaged bytes
            raise RawFileError(f"{self.path}: image {item} cannot be read; the file is damaged ({error})") from error
        if not np.isfinite(ksp).all():
            raise NonFiniteError(f"{self.path}: image {item} holds NaN or Inf samples")
        return ksp

    def __iter__(self) -> Iterator[ComplexArray]:
        return (self[item] for item in range(len(self)))

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Give the file back."""

    @abstractmethod
    def _read(self, item: int) -> ComplexArray: ...


def lines_within_limits(encoding: Encoding) -> BoolArray:
    """The rows that the header's limits along step 1 let be acquired, bool ``(n_y,)``; all where there are none."""
    n_y = encoding.encoded_shape[0]
    if encoding.limits_y is None:
        return np.ones(n_y, bool)
    first, last = encoding.limits_y
    steps = np.arange(n_y) - n_y // 2 + encoding.center_y
    lines: BoolArray = (first <= steps) & (steps <= last)
    return lines


def require(condition: bool, path: Path, message: str) -> None:
    """Raise RawFileError, with the file's name before the message, unless the condition holds."""
    if not condition:
        raise RawFileError(f"{path}: {message}")


def header_for(volume: Volume, encoding: Encoding, lines: BoolArray) -> bytes:
    """The ISMRMRD XML header of a file that holds a volume's images as slices.

    It is the volume's own, or a bare one, with one ``<encoding>`` that says what is written.

    Args:
        volume: Gives the other elements, the number of coils and of slices.
        encoding: What is written; its counts are replaced.
        lines: bool ``(n_y,)``, the lines that can be acquired.
    """
    if volume.header is not None:
        document = parse_document(volume.header)
        document.version = None  # a server refuses a version that is not its own
    else:
        document = xsd.ismrmrdHeader(experimentalConditions=None)
    if getattr(document.experimentalConditions, "H1resonanceFrequency_Hz", None) is None:
        document.experimentalConditions = xsd.experimentalConditionsType(H1resonanceFrequency_Hz=H1_HZ)
    if document.acquisitionSystemInformation is None:
        document.acquisitionSystemInformation = xsd.acquisitionSystemInformationType(receiverChannels=volume.shape[0])
    counts = ImageIndex(1, 1, len(volume), 1, 1, 1, 1)
    rows = np.flatnonzero(lines) - len(lines) // 2 + encoding.center_y
    document.encoding = [encoding_element(replace(encoding, counts=counts), int(rows[0]), int(rows[-1]))]
    return write_document(document)
