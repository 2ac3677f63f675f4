"""Where the pixels of an image are in the patient.

ISMRMRD gives the centre of the field of view, which is the centre of pixel ``n // 2`` along every axis, as the Fourier transform
has it; x runs along ``read_dir``, y along ``phase_dir``, z along ``slice_dir``. Positions are in mm towards the patient's left,
posterior and head (LPS), as in ISMRMRD and in DICOM.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from untrained_recon.errors import RawFileError
from untrained_recon.files.export.series import Picture, Pixels, Series

Vector = npt.NDArray[np.float64]

SQUARE = 0.01  # cosine between two directions that are meant to be at right angles
EVEN = 0.01  # of the distance of two planes, by which others may differ


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of an image.

    Attributes:
        picture: The image.
        z: Which plane of it.
        corner: Centre of the first pixel of the first row ``(3,)``, mm.
        row: Direction in which x grows, along a row ``(3,)``.
        column: Direction in which y grows.
        spacing: Distance of planes, rows, and pixels of a row, ``(z, y, x)``, mm; z is the thickness for a 2-D image, 0 if unknown.
    """

    picture: Picture
    z: int
    corner: Vector
    row: Vector
    column: Vector
    spacing: tuple[float, float, float]

    @property
    def pixels(self) -> Pixels:
        """``(n_y, n_x)``."""
        return self.picture.pixels[self.z]

    @property
    def normal(self) -> Vector:
        """Row × column."""
        return np.cross(self.row, self.column)

    @property
    def location(self) -> float:
        """Distance from the origin along the normal, mm."""
        return float(self.normal @ self.corner)


class Stack(NamedTuple):
    """Parallel planes at even distances, of one contrast, phase and repetition; ``step`` leads from each to the next, mm."""

    planes: tuple[Plane, ...]
    step: Vector

    @property
    def pixels(self) -> Pixels:
        """``(n_z, n_y, n_x)``."""
        return np.stack([plane.pixels for plane in self.planes])

    @property
    def affine(self) -> Vector:
        """From ``(x, y, z, 1)``, numbers of pixels, to mm; LPS, ``(4, 4)``."""
        first = self.planes[0]
        affine = np.eye(4)
        affine[:3] = np.stack([first.spacing[2] * first.row, first.spacing[1] * first.column, self.step, first.corner], axis=1)
        return affine


def planes_of(picture: Picture) -> tuple[Plane, ...]:
    """The planes of an image. Raises RawFileError where its header does not say where they are."""
    head, sizes = picture.head, picture.pixels.shape
    row, column = _direction(picture, "read_dir"), _direction(picture, "phase_dir")
    if abs(row @ column) > SQUARE:
        raise RawFileError(f"{picture.index}: read_dir and phase_dir of the image are not at right angles")
    column = column - (row @ column) * row  # single precision
    column /= np.linalg.norm(column)
    fov = np.array(head.field_of_view, np.float64)[::-1]
    if not (np.isfinite(fov).all() and min(fov[1:]) > 0 and fov[0] >= 0 and (fov[0] > 0 or sizes[0] == 1)):
        raise RawFileError(f"{picture.index}: the image has a field of view of {' × '.join(f'{v:g}' for v in fov[::-1])} mm")
    spacing = fov / sizes
    step = np.cross(row, column) if sizes[0] == 1 else _direction(picture, "slice_dir")
    centre = np.array(head.position, np.float64)
    if not np.isfinite(centre).all():
        raise RawFileError(f"{picture.index}: the position of the image is not finite")
    corner = centre - sizes[2] // 2 * spacing[2] * row - sizes[1] // 2 * spacing[1] * column
    z, y, x = (float(value) for value in spacing)
    return tuple(Plane(picture, n, corner + (n - sizes[0] // 2) * z * step, row, column, (z, y, x)) for n in range(sizes[0]))


def stacks_of(series: Series) -> Iterator[Stack]:
    """The planes of a series as stacks, each sorted along the normal; where planes are missing or uneven, several."""
    planes = [plane for picture in series.pictures for plane in planes_of(picture)]
    for _, members in groupby(sorted(planes, key=_stack_key), _stack_key):
        yield from _runs(sorted(members, key=lambda plane: plane.location))


def _stack_key(plane: Plane) -> tuple[Any, ...]:
    index, shape = plane.picture.index, plane.picture.pixels.shape
    slab = index.slice if shape[0] > 1 else 0  # each slab of a 3-D scan is a volume
    directions = tuple((np.concatenate([plane.row, plane.column]).round(3) + 0.0).tolist())
    return index.repetition, index.phase, index.contrast, slab, directions, shape, tuple(round(v, 4) for v in plane.spacing)


def _runs(planes: list[Plane]) -> Iterator[Stack]:
    """Planes in a row for as long as the next one is where it is expected."""
    start = 0
    while start < len(planes):
        end, step = start + 1, planes[start].normal * (planes[start].spacing[0] or 1.0)
        if end < len(planes) and np.linalg.norm(first := planes[end].corner - planes[start].corner) > 1e-3:
            step = first
            while end < len(planes) and _near(planes[end].corner - planes[end - 1].corner, step):
                end += 1
        if end - start > 1:
            step = (planes[end - 1].corner - planes[start].corner) / (end - 1 - start)
        yield Stack(tuple(planes[start:end]), step)
        start = end


def _near(one: Vector, other: Vector) -> bool:
    return bool(np.linalg.norm(one - other) < EVEN * np.linalg.norm(other))


def _direction(picture: Picture, name: str) -> Vector:
    direction = np.array(getattr(picture.head, name), np.float64)
    length = float(np.linalg.norm(direction))
    if not 0.5 < length < 2:  # NaN is neither
        raise RawFileError(f"{picture.index}: {name} of the image is {direction.tolist()}; where it is in the patient is not known")
    return direction / length
