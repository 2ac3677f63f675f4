"""Markers in the body are found where they are, in what viewers read: DICOM and NIfTI, in every direction."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.doubles.marked import DIRECTIONS, SLAB, SLICES, Points, error, images
from tests.doubles.scans import Protocol
from untrained_recon.files.export import export

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

SCANS = [(protocol, name) for name in DIRECTIONS for protocol in (SLICES, SLAB)]
HALF_A_PIXEL = 0.1  # the error that it makes is larger: asked below


@pytest.fixture(scope="module", params=SCANS, ids=lambda scan: f"{'slab' if scan[0] is SLAB else 'slices'} {scan[1]}")
def scan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Protocol, Points]:
    protocol, name = request.param
    folder = tmp_path_factory.mktemp("scan")
    return images(folder / "images.h5", protocol, DIRECTIONS[name]), protocol, DIRECTIONS[name]


def from_dicom(folder: Path) -> tuple[Points, Points]:
    """Places and values of all pixels, by the formula of PS3.3 C.7.6.2.1.1."""
    points, values = [], []
    for path in folder.rglob("*.dcm"):
        image = pydicom.dcmread(path)
        row, column = np.reshape(np.array(image.ImageOrientationPatient, float), (2, 3))
        between_rows, between_columns = (float(value) for value in image.PixelSpacing)
        j, i = np.mgrid[: image.Rows, : image.Columns].astype(float)
        offset = i[..., None] * between_columns * row + j[..., None] * between_rows * column
        points.append(np.array(image.ImagePositionPatient, float) + offset)
        values.append(image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept))
    return np.concatenate(points), np.concatenate(values)


def from_nifti(path: Path, form: str = "sform") -> tuple[Points, Points]:
    image = nibabel.load(path)
    affine = image.get_sform() if form == "sform" else image.get_qform()
    numbers = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
    return (numbers @ affine[:3, :3].T + affine[:3, 3]) * [-1, -1, 1], np.asarray(image.dataobj)


def test_markers_are_where_they_are_in_the_patient(scan: tuple[Path, Protocol, Points], tmp_path: Path) -> None:
    path, protocol, directions = scan
    assert export(path, tmp_path / "dicom", "dicom") == (17 if protocol is SLICES else 22)
    assert export(path, tmp_path / "nifti", "nifti") == 1
    (volume,) = (tmp_path / "nifti").glob("*.nii.gz")
    for form in ("sform", "qform"):
        assert error(lambda form=form: from_nifti(volume, form)) < 0.01  # type: ignore[misc]  # its type is not inferred
    assert error(lambda: from_dicom(tmp_path / "dicom")) < 0.01
    points, values = from_dicom(tmp_path / "dicom")
    for step in (0.5 * directions[0] * 4, 0.5 * directions[1] * 5, 0.5 * directions[2] * 5):
        assert error(lambda step=step: (points + step, values)) > HALF_A_PIXEL  # type: ignore[misc]  # its type is not inferred


def test_stacks_scroll_along_their_normal(scan: tuple[Path, Protocol, Points], tmp_path: Path) -> None:
    path, protocol, directions = scan
    export(path, tmp_path, "dicom")
    stack = sorted((pydicom.dcmread(file) for file in tmp_path.rglob("*.dcm")), key=lambda image: int(image.InstanceNumber))
    places = np.array([image.ImagePositionPatient for image in stack], float)
    normal = np.cross(directions[0], directions[1])
    np.testing.assert_allclose(np.diff(places, axis=0), np.broadcast_to(5 * normal, (len(stack) - 1, 3)), atol=1e-3)
    for image in stack:
        assert float(image.SpacingBetweenSlices) == pytest.approx(5, abs=1e-4)
        assert float(image.SliceThickness) == pytest.approx(5, abs=1e-4)
        assert image.MRAcquisitionType == ("3D" if protocol is SLAB else "2D")
        assert float(image.SliceLocation) == pytest.approx(float(normal @ np.array(image.ImagePositionPatient, float)), abs=1e-3)


def halves(path: Path) -> Iterator[tuple[int, ...]]:
    for file in sorted(path.glob("*.nii.gz")):
        yield nibabel.load(file).shape


def test_stacks_that_are_not_one_are_several_volumes(tmp_path: Path) -> None:
    """A localizer of three directions, and a stack in which a slice is missing."""
    from tests.doubles.images import image, write

    three = [
        image(np.full((8, 6), n + 1.0), slice=n, directions=DIRECTIONS[name])
        for n, name in enumerate(("axial", "sagittal", "coronal"))
    ]
    export(write(tmp_path / "three.h5", three), tmp_path / "three", "nifti")
    assert list(halves(tmp_path / "three")) == [(6, 8, 1)] * 3
    gap = [image(np.full((8, 6), n + 1.0), slice=n, position=(0, 0, 5.0 * n)) for n in (0, 1, 2, 4, 5)]
    export(write(tmp_path / "gap.h5", gap), tmp_path / "gap", "nifti")
    assert list(halves(tmp_path / "gap")) == [(6, 8, 3), (6, 8, 2)]
    for file in (tmp_path / "gap").glob("*.json"):
        assert json.loads(file.read_text())["SpacingBetweenSlices"] == 5
