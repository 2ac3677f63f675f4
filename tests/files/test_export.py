"""Image files in the formats of others."""

import json
import resource
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
import pytest
from ismrmrd import xsd

from tests.doubles.images import image, write
from tests.doubles.scans import Protocol, header_of
from untrained_recon.errors import ConfigError, MissingExtraError, RawFileError
from untrained_recon.files.cfl import read_cfl
from untrained_recon.files.export import FORMATS, export
from untrained_recon.files.export.series import read_scan

EXTRA = all(find_spec(name) is not None for name in ("pydicom", "highdicom", "nibabel"))
if EXTRA:
    import nibabel
    import pydicom

needs_extra = pytest.mark.skipif(not EXTRA, reason="the extra 'export' is not installed")
COMPLEX = {"image_type": ismrmrd.IMTYPE_COMPLEX, "image_series_index": 2}
NOISE = {"GADGETRON_DataRole": "STD_MAP", "GADGETRON_ImageProcessingHistory": ["UNTRAINED", "MAPS", "NOISE"]}
WHO = {
    "subjectInformation": xsd.subjectInformationType(
        patientName="Ägir^Ödön", patientID="P 1", patientBirthdate="1970-02-03", patientGender="F", patientWeight_kg=70.5
    ),
    "studyInformation": xsd.studyInformationType(
        studyDate="2026-01-02",
        studyTime="10:11:12",
        studyID="7",
        accessionNumber=71,
        studyInstanceUID="1.2.3.4",
        bodyPartExamined="head",
    ),
    "measurementInformation": xsd.measurementInformationType(
        patientPosition=xsd.patientPositionType.FFS, protocolName="t2 tse", initialSeriesNumber=4, frameOfReferenceUID="1.2.3.5"
    ),
    "acquisitionSystemInformation": xsd.acquisitionSystemInformationType(systemVendor="Vendor", systemFieldStrength_T=2.89),
    "sequenceParameters": xsd.sequenceParametersType(TR=[4000.0], TE=[20.0, 80.0], flipAngle_deg=[150.0]),
}


def pixels(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    return (scale * np.abs(np.random.default_rng(seed).standard_normal(shape))).astype(np.float32)


def slices(count: int = 3, meta: dict[str, Any] | None = None, seed: int = 0, **head: Any) -> list[ismrmrd.Image]:
    return [image(pixels(8, 6, seed=seed + n), meta=meta, slice=n, position=(0, 0, 3.0 * n), **head) for n in range(count)]


def everything(path: Path, xml: bytes = b"<ismrmrdHeader/>") -> Path:
    """Magnitudes, complex images and noise maps of three slices."""
    magnitudes = slices(
        meta={"GADGETRON_ImageComment": "t2 FALLBACK; CAUTION maps-missing: …", "GADGETRON_SeqDescription": "_UNTRAINED"}
    )
    complexes = [
        image(m.data[0, 0] * np.exp(1j * n).astype(np.complex64), slice=n, position=(0, 0, 3.0 * n), **COMPLEX)
        for n, m in enumerate(magnitudes)
    ]
    return write(path, magnitudes, complexes, [], slices(meta=NOISE, seed=10, image_series_index=4), xml=xml)


def read(folder: Path, series: str = "") -> list[Any]:
    found = [pydicom.dcmread(path) for path in folder.rglob("*.dcm") if series in str(path.parent)]
    return sorted(found, key=lambda each: int(each.InstanceNumber))


def values(dataset: Any) -> Any:
    """The values of the image; and what viewers make of the pixels is a power of ten times them."""
    (mapping,) = dataset.RealWorldValueMappingSequence
    rescaled = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    found = dataset.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    factor = 10.0 ** round(np.log10(dataset.RescaleSlope / mapping.RealWorldValueSlope))
    np.testing.assert_allclose(rescaled, factor * found, rtol=1e-9, atol=1e-9 * float(dataset.WindowWidth))
    assert factor == 1 or 1000 <= float(dataset.WindowWidth) <= 10_000
    return found


@needs_extra
def test_dicom_images_give_back_the_values_of_the_image(tmp_path: Path) -> None:
    path = everything(tmp_path / "in.h5")
    assert export(path, tmp_path / "out", "dicom") == 7
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == ["001_magnitude", "002_phase", "003_noise"]
    top = max(float(one.data.max()) for one in slices())
    for n, (made, source) in enumerate(zip(read(tmp_path / "out", "magnitude"), slices(), strict=True)):
        np.testing.assert_allclose(values(made), source.data[0, 0], atol=0.51 * top / 65535)
        assert (made.BitsAllocated, made.BitsStored, made.PixelRepresentation, made.Rows, made.Columns) == (16, 16, 0, 8, 6)
        assert list(made.ImageType) == ["DERIVED", "PRIMARY", "OTHER", "M"]
        assert made.ImageComments == "t2 FALLBACK; CAUTION maps-missing: …"
        assert made.SeriesDescription == "UNTRAINED"
        low, high = np.percentile(np.stack([one.data for one in slices()]), (1, 99.5))
        assert float(made.WindowCenter) == pytest.approx(1000 * (low + high) / 2, rel=1e-5)  # whole numbers are enough then
        assert float(made.WindowWidth) == pytest.approx(1000 * (high - low), rel=1e-5)
        assert (made.InstanceNumber, made.SeriesNumber) == (n + 1, 1)
    for n, phase in enumerate(read(tmp_path / "out", "phase")):
        np.testing.assert_allclose(values(phase), np.full((8, 6), float(n)), atol=1e-4)
        assert "PHASE MAP" in phase.ImageType


@needs_extra
@pytest.mark.parametrize(
    ("source", "window"),
    [(np.linspace(-3.1, 3.1, 48).astype(np.float32), (0, 2000 * np.pi)), (np.arange(48, dtype=np.uint16) * 80, (1889.4, 3703.6))],
)
def test_phases_of_a_host_are_what_they_are(source: Any, window: tuple[float, float], tmp_path: Path) -> None:
    """Gadgetron sends phases in rad, or scaled to whole numbers."""
    path = write(tmp_path / "in.h5", [image(source.reshape(8, 6), image_type=ismrmrd.IMTYPE_PHASE)])
    for form in FORMATS:
        if form != "fastmri":
            export(path, tmp_path / form, form)
    (made,) = read(tmp_path / "dicom", "phase")
    np.testing.assert_allclose(values(made).ravel(), source, atol=1e-4)
    assert (float(made.WindowCenter), float(made.WindowWidth)) == pytest.approx(window, rel=1e-4)
    with pytest.raises(RawFileError, match="there are no magnitude images"):
        export(path, tmp_path / "fastmri", "fastmri")


def test_complex_images_are_split_into_what_the_file_does_not_have(tmp_path: Path) -> None:
    def kinds(name: str, *series: list[ismrmrd.Image]) -> list[str]:
        return [part.name for part in read_scan(write(tmp_path / f"{name}.h5", *series)).parts]

    complexes = [image(np.full((8, 6), 1j, np.complex64), slice=n, **COMPLEX) for n in range(2)]
    phases = slices(2, image_type=ismrmrd.IMTYPE_PHASE, image_series_index=5)
    assert kinds("alone", complexes) == ["magnitude", "phase"]
    assert kinds("magnitude", slices(2), complexes) == ["magnitude", "phase"]
    assert kinds("all", slices(2), complexes, phases) == ["magnitude", "phase"]
    assert kinds("fewer", slices(1), complexes, phases) == ["magnitude", "magnitude_series2", "phase"]


@needs_extra
def test_maps_are_parametric_maps_of_their_images(tmp_path: Path) -> None:
    export(everything(tmp_path / "in.h5"), tmp_path / "out", "dicom")
    (made,) = read(tmp_path / "out", "noise")
    sources = read(tmp_path / "out", "magnitude")
    assert made.SOPClassUID.name == "Parametric Map Storage"
    frames = np.frombuffer(made.FloatPixelData, np.float32).reshape(3, 8, 6)
    assert len(made.PerFrameFunctionalGroupsSequence) == 3
    for frame, groups in zip(frames, made.PerFrameFunctionalGroupsSequence, strict=True):  # highdicom sorts them
        place = groups.PlanePositionSequence[0].ImagePositionPatient
        n = [source.ImagePositionPatient for source in sources].index(place)
        np.testing.assert_array_equal(frame, slices(seed=10)[n].data[0, 0])
        referenced = groups.DerivationImageSequence[0].SourceImageSequence[0]
        assert referenced.ReferencedSOPInstanceUID == sources[n].SOPInstanceUID
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert made[name].value == sources[0][name].value


@needs_extra
def test_a_map_without_its_image_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RawFileError, match="slice 0 has a noise map but no image"):
        export(write(tmp_path / "in.h5", slices(meta=NOISE)), tmp_path / "out", "dicom")
    assert not (tmp_path / "out").exists()


@needs_extra
def test_what_the_header_says_is_in_the_dicom_and_nothing_else(tmp_path: Path) -> None:
    xml = header_of(Protocol(counts={"contrast": 2}), **WHO)
    echoes = slices(2) + slices(2, contrast=1)
    export(write(tmp_path / "named.h5", echoes, xml=xml), tmp_path / "named", "dicom")
    made = read(tmp_path / "named")
    one = made[0]
    assert (str(one.PatientName), one.PatientID, one.PatientBirthDate, one.PatientSex) == ("Ägir^Ödön", "P 1", "19700203", "F")
    assert (one.StudyInstanceUID, one.FrameOfReferenceUID, one.StudyID, one.AccessionNumber) == ("1.2.3.4", "1.2.3.5", "7", "71")
    assert (one.StudyDate, one.StudyTime, one.PatientPosition, one.BodyPartExamined) == ("20260102", "101112", "FFS", "HEAD")
    assert (one.SeriesNumber, one.ProtocolName, float(one.MagneticFieldStrength), float(one.PatientWeight)) == (
        401,
        "t2 tse",
        2.89,
        70.5,
    )
    assert [(int(each.EchoNumbers), float(each.EchoTime)) for each in made] == [(1, 20), (1, 20), (2, 80), (2, 80)]
    assert {float(each.RepetitionTime) for each in made} == {4000}
    export(write(tmp_path / "bare.h5", slices(2)), tmp_path / "bare", "dicom")
    for each in read(tmp_path / "bare"):
        for name in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyDate",
            "StudyTime",
            "StudyID",
            "Manufacturer",
        ):
            assert not each[name].value, name
        assert not each.EchoTime


@needs_extra
def test_what_is_no_dicom_value_in_the_header_does_not_get_there(tmp_path: Path) -> None:
    odd = {
        "subjectInformation": xsd.subjectInformationType(patientName="A\\B" + 80 * "c", patientGender="O"),
        "studyInformation": xsd.studyInformationType(
            studyInstanceUID="anonymous", bodyPartExamined="Kopf-Hals", studyTime="10:11:12.5+01:00"
        ),
        "measurementInformation": xsd.measurementInformationType(
            patientPosition=xsd.patientPositionType.HFS, frameOfReferenceUID="1.02.x", protocolName="üü\\" + 90 * "o"
        ),
    }
    export(write(tmp_path / "in.h5", slices(1), xml=header_of(Protocol(), **odd)), tmp_path / "out", "dicom")
    (made,) = read(tmp_path / "out")
    assert (made.StudyTime, made.BodyPartExamined, made.PatientSex) == ("101112.500", "KOPF HALS", "O")
    assert str(made.PatientName).startswith("A/Bc")
    assert len(made.ProtocolName) == 64
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert made[name].value.startswith("2.25.")


@needs_extra
def test_uids_are_the_same_for_the_same_images_and_others_for_others(tmp_path: Path) -> None:
    def uids(name: str, images: list[ismrmrd.Image]) -> tuple[set[str], set[str], set[str]]:
        export(write(tmp_path / f"{name}.h5", images), tmp_path / name, "dicom")
        made = read(tmp_path / name)
        assert len({each.SOPInstanceUID for each in made}) == len(made)
        assert all(pydicom.uid.UID(each.SOPInstanceUID).is_valid for each in made)
        return tuple(
            {str(each[kind].value) for each in made} for kind in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        )  # type: ignore[return-value]  # a tuple of three

    first, again, other = uids("a", slices()), uids("b", slices()), uids("c", slices(seed=5))
    assert first == again
    assert first[0] == other[0], "another reconstruction of the same scan is in its study"
    assert first[1].isdisjoint(other[1])
    assert first[2].isdisjoint(other[2])
    assert len(uids("twice", slices() + slices())[2]) == 6


@needs_extra
def test_an_image_of_the_scanner_says_whose_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    export(write(tmp_path / "theirs.h5", slices(1), xml=header_of(Protocol(), **WHO)), tmp_path / "theirs", "dicom")
    like = next((tmp_path / "theirs").rglob("*.dcm"))
    scanner = pydicom.dcmread(like)
    scanner.SpecificCharacterSet, scanner.ScanningSequence, scanner.Laterality = "ISO_IR 100", "SE", "R"
    scanner.SeriesNumber = 7
    scanner.save_as(like)
    mine = header_of(Protocol(), subjectInformation=xsd.subjectInformationType(patientID="P 2", patientName="Other"))
    path = everything(tmp_path / "in.h5", xml=mine)
    export(path, tmp_path / "out", "dicom", like)
    for made in read(tmp_path / "out"):
        for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber", "StudyDate"):
            assert str(made[name].value) == str(scanner[name].value), name
        assert made.SeriesInstanceUID != scanner.SeriesInstanceUID
        assert made.SeriesNumber in (701, 702, 703)
        assert made.Laterality == "R"
    assert "another patient's ID" in caplog.text
    assert "P 2" not in caplog.text
    for bad in (path, tmp_path / "absent.dcm"):
        with pytest.raises(RawFileError, match="cannot be read as a DICOM file"):
            export(path, tmp_path / "bad", "dicom", bad)
    with pytest.raises(ConfigError, match="--npy takes nothing from it"):
        export(path, tmp_path / "bad", "npy", like)


@needs_extra
def test_moments_and_series_of_a_dynamic_scan(tmp_path: Path) -> None:
    dynamic = [one for n in range(3) for one in slices(2, repetition=n, seed=n)]
    flow = slices(2, set=1, seed=9)
    path = write(tmp_path / "in.h5", dynamic + flow)
    export(path, tmp_path / "out", "dicom")
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == ["001_magnitude", "002_magnitude_set1"]
    made = read(tmp_path / "out", "001")
    assert [int(each.TemporalPositionIdentifier) for each in made] == [1, 1, 2, 2, 3, 3]
    assert {int(each.NumberOfTemporalPositions) for each in made} == {3}
    export(path, tmp_path / "nifti", "nifti")
    volume = nibabel.load(tmp_path / "nifti" / "in_magnitude.nii.gz")
    assert volume.shape == (6, 8, 2, 3)
    assert volume.header.get_zooms() == (1, 1, 3, 0)
    np.testing.assert_array_equal(np.asarray(volume.dataobj)[:, :, 1, 2], dynamic[5].data[0, 0].T)
    assert nibabel.load(tmp_path / "nifti" / "in_magnitude_set1.nii.gz").shape == (6, 8, 2)


@needs_extra
@pytest.mark.parametrize("scale", [1e-30, 1e-7, 60, 1e6])
def test_values_of_any_size_are_kept(scale: float, tmp_path: Path) -> None:
    source = pixels(8, 6, scale=scale)
    export(write(tmp_path / "in.h5", [image(source)]), tmp_path / "out", "dicom")
    (made,) = read(tmp_path / "out")
    np.testing.assert_allclose(values(made), source, atol=source.max() / 65535)
    slope, width = float(made.RescaleSlope), float(made.WindowWidth)
    assert (slope == pytest.approx(source.max() / 65535)) == (scale >= 60), "values that are large enough stay as they are"
    assert width >= 100


@needs_extra
@pytest.mark.parametrize(
    "source", [np.zeros((8, 6), np.float32), np.arange(48, dtype=np.uint16).reshape(8, 6) * 85, np.full((8, 6), -2.5)]
)
def test_empty_whole_and_negative_images(source: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "in.h5", [image(source)])
    for form in FORMATS:
        export(path, tmp_path / form, form)
    (made,) = read(tmp_path / "dicom")
    np.testing.assert_allclose(values(made), source, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "nifti" / "in_magnitude.nii.gz").dataobj)[:, :, 0].T, source)


@needs_extra
def test_nifti_has_the_scanners_values_beside_it_and_no_patient(tmp_path: Path) -> None:
    path = everything(tmp_path / "in.h5", header_of(Protocol(), **WHO))
    assert export(path, tmp_path / "out", "nifti") == 3
    names = {"magnitude", "phase", "noise"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        f"in_{name}.{end}" for name in names for end in ("nii.gz", "json")
    }
    text = (tmp_path / "out" / "in_magnitude.json").read_text(encoding="utf-8")
    said = json.loads(text)
    assert (said["RepetitionTime"], said["EchoTime"], said["MagneticFieldStrength"], said["FlipAngle"]) == (4, 0.02, 2.89, 150)
    assert said["ImageComments"].startswith("t2 FALLBACK; CAUTION maps-missing")
    for private in ("Ägir", "P 1", "1970", "71", "1.2.3.4"):
        assert private not in text
    assert json.loads((tmp_path / "out" / "in_phase.json").read_text())["Units"] == "rad"


def test_arrays(tmp_path: Path) -> None:
    path = everything(tmp_path / "in.h5")
    assert export(path, tmp_path / "npy", "npy") == export(path, tmp_path / "cfl", "cfl") == 3
    stack = np.stack([one.data[0, 0] for one in slices()])
    np.testing.assert_array_equal(np.load(tmp_path / "npy" / "in_magnitude.npy"), stack)
    phased = stack * np.exp(1j * np.arange(3))[:, None, None]
    np.testing.assert_allclose(np.load(tmp_path / "npy" / "in_complex.npy"), phased, rtol=1e-6)
    listed = json.loads((tmp_path / "npy" / "in_magnitude.json").read_text())["Images"]
    assert [(each["slice"], each["first_pixel"]) for each in listed] == [(n, [-3.0, -4.0, 3.0 * n]) for n in range(3)]
    np.testing.assert_allclose(read_cfl(tmp_path / "cfl" / "in_complex.cfl").squeeze(), phased, rtol=1e-6)
    sizes = (tmp_path / "cfl" / "in_magnitude.hdr").read_text().split("\n")[1]
    assert sizes == "6 8" + " 1" * 11 + " 3 1 1"


def test_arrays_of_every_counter(tmp_path: Path) -> None:
    volumes = [image(pixels(4, 8, 6, seed=n), repetition=n // 2, contrast=n % 2) for n in range(4)]
    path = write(tmp_path / "in.h5", volumes)
    export(path, tmp_path, "npy", force=True)
    assert np.load(tmp_path / "in_magnitude.npy").shape == (4, 4, 8, 6)
    export(path, tmp_path, "cfl", force=True)
    array = read_cfl(tmp_path / "in_magnitude.cfl").squeeze()  # (repetition, contrast, z, y, x)
    np.testing.assert_array_equal(array[1, 0], volumes[2].data[0])
    with pytest.raises(RawFileError, match="3 images of magnitude have the counters of others"):
        export(write(tmp_path / "same.h5", [image(pixels(8, 6))] * 4), tmp_path / "same", "cfl")


def test_fastmri_shows_the_readout_down(tmp_path: Path) -> None:
    export(everything(tmp_path / "file1.h5"), tmp_path / "out", "fastmri")
    with h5py.File(tmp_path / "out" / "file1.h5") as file:
        np.testing.assert_array_equal(file["reconstruction"], np.stack([one.data[0, 0].T for one in slices()]))
        assert file["ismrmrd_header"][()] == b"<ismrmrdHeader/>"
    with pytest.raises(RawFileError, match="2 contrasts, phases and repetitions"):
        export(write(tmp_path / "in.h5", slices(2) + slices(2, contrast=1)), tmp_path / "bad", "fastmri")


def test_pictures_of_all_series(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    path = everything(tmp_path / "in.h5")
    assert export(path, tmp_path / "out", "png") == 9
    kinds = ("", "phase_", "noise_")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {f"{kind}slice{n}.png" for kind in kinds for n in range(3)}
    assert imread(tmp_path / "out" / "slice0.png").shape == (8, 6, 4)
    volume = write(tmp_path / "volume.h5", [image(pixels(5, 8, 6))], [image(pixels(5, 8, 6), meta=NOISE)])
    export(volume, tmp_path / "volume", "png")
    assert imread(tmp_path / "volume" / "slice0.png").shape == (16, 18, 4)  # five planes in two rows of three
    assert imread(tmp_path / "volume" / "noise_slice0.png").shape[0] > 100  # with its scale


@needs_extra
def test_a_single_file(tmp_path: Path) -> None:
    path = everything(tmp_path / "in.h5")
    assert export(path, tmp_path / "brain.nii.gz", "nifti") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["brain.json", "brain.nii.gz", "in.h5"]
    echoes = write(tmp_path / "echoes.h5", slices(2) + slices(2, contrast=1))
    with pytest.raises(ConfigError, match="makes 2 files of the magnitude images; name a folder"):
        export(echoes, tmp_path / "echoes.nii.gz", "nifti")


@pytest.mark.parametrize("form", ["npy", "cfl", "fastmri"])
def test_what_is_there_is_not_replaced_unasked(form: str, tmp_path: Path) -> None:
    path = everything(tmp_path / "in.h5")
    target = tmp_path / f"out{FORMATS[form].ending}"
    target.write_text("older")
    with pytest.raises(RawFileError, match=r"exists; name another output, or say --force"):
        export(path, target, form)
    assert target.read_text() == "older"
    export(path, target, form, force=True)
    assert target.stat().st_size > 5
    folder = tmp_path / "folder"
    export(path, folder, form)
    export(path, folder, form)  # its own files may be made again
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RawFileError, match=r"notes\.txt is there, and not of this export"):
        export(path, folder, form)
    export(path, folder, form, force=True)
    assert (folder / "notes.txt").read_text() == "mine"
    with pytest.raises(RawFileError, match="would replace the images"):
        export(path, path, "fastmri", force=True)


def test_two_series_of_one_kind_and_images_of_the_same_counters_are_all_there(tmp_path: Path) -> None:
    path = write(tmp_path / "in.h5", slices(2) + slices(1, seed=4), slices(2, seed=7))
    assert [series.name for series in read_scan(path).series] == ["magnitude", "magnitude_series2"]
    export(path, tmp_path / "npy", "npy")
    assert np.load(tmp_path / "npy" / "in_magnitude.npy").shape == (3, 8, 6)
    if EXTRA:
        assert export(path, tmp_path / "dicom", "dicom") == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"read_dir": (0, 0, 0)}, "read_dir of the image is"),
        ({"phase_dir": (1, 0, 0)}, "not at right angles"),
        ({"field_of_view": (0, 8, 2)}, "field of view of 0"),
        ({"position": (np.nan, 0, 0)}, "position of the image is not finite"),
    ],
)
@needs_extra
def test_where_the_image_is_must_be_known_to_viewers_but_not_to_arrays(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "in.h5", [image(pixels(8, 6), **change)])
    for form in ("dicom", "nifti"):
        with pytest.raises(RawFileError, match=message):
            export(path, tmp_path / form, form)
        assert not (tmp_path / form).exists()
    export(path, tmp_path / "npy", "npy")
    export(path, tmp_path / "png", "png")


def test_files_without_images_that_can_be_exported(small_scan: Path, tmp_path: Path) -> None:
    many = ismrmrd.Image.from_array(np.zeros((2, 1, 8, 6), np.float32), transpose=False)
    wrong = {
        write(tmp_path / "channels.h5", [many]): "an image of 2 channels",
        write(tmp_path / "nan.h5", [image(np.full((8, 6), np.nan))]): "holds NaN or Inf",
        small_scan: "there are no images in it",
        tmp_path / "absent.h5": "there is no such file",
    }
    for path, message in wrong.items():
        with pytest.raises(RawFileError, match=message):
            export(path, tmp_path / "out", "npy")
    assert not (tmp_path / "out").exists()


def test_the_groups_of_a_gadgetrons_client(tmp_path: Path) -> None:
    path = write(tmp_path / "in.h5", slices(1))
    with h5py.File(path, "r+") as file:
        file.move("dataset", "2026-01-02 10:11:12")
    export(path, tmp_path / "one", "npy")
    with h5py.File(path, "r+") as file:
        file.copy("2026-01-02 10:11:12", "2026-01-03 10:11:12")
    with pytest.raises(RawFileError, match="choose one with --group: 2026-01-02 10:11:12, 2026-01-03"):
        export(path, tmp_path / "two", "npy")
    export(path, tmp_path / "two", "npy", group="2026-01-03 10:11:12")
    with pytest.raises(RawFileError, match="no group 'none' with images"):
        export(path, tmp_path / "none", "npy", group="none")


def test_what_a_format_needs_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.extras.find_spec", lambda name: None)
    path = write(tmp_path / "in.h5", slices(1))
    for form, row in FORMATS.items():
        if row.needs:
            with pytest.raises(MissingExtraError, match=rf"untrained-recon\[{row.extra}\]"):
                export(path, tmp_path / "out", form)


@needs_extra
@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_is_a_named_error(form: str, tmp_path: Path) -> None:
    path = everything(tmp_path / "in.h5")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        with pytest.raises(RawFileError, match="cannot be written: File too large"):
            export(path, tmp_path / "out", form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file()]


@needs_extra
def test_a_validator_finds_no_error(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    for n, xml in enumerate((b"<ismrmrdHeader/>", header_of(Protocol(), **WHO))):
        export(everything(tmp_path / f"{n}.h5", xml), tmp_path / str(n), "dicom")
        for file in (tmp_path / str(n)).rglob("*.dcm"):
            said = subprocess.run(["dciodvfy", "-new", file], capture_output=True, text=True, check=False).stderr
            assert [line for line in said.splitlines() if line.startswith("Error")] == [], file.parent.name


@pytest.fixture(autouse=True)
def nothing_half_written_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.rglob("*.part"))


def test_every_format_has_a_row_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    for form, row in FORMATS.items():
        (line,) = (line for line in page.splitlines() if line.startswith(f"| `--{form}` |"))
        assert row.ending in line
