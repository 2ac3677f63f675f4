"""Images say of themselves what Gadgetron's own reconstructions say, under the same names."""

import dataclasses
import re
from pathlib import Path

import ismrmrd
import numpy as np
import pytest

from tests.helpers import acquisition, read_raw
from tests.test_images import recon
from untrained_recon.assemble import assemble
from untrained_recon.config import ScanConfig, load_config
from untrained_recon.header import parse_header
from untrained_recon.images import for_array, image_number, to_image
from untrained_recon.stockmeta import stock_attributes
from untrained_recon.types import Header, ImageIndex, KSpace, Measurement, TimeRanges

CONFIG = load_config("fast")


@pytest.fixture(scope="module")
def scan(small_scan: Path) -> tuple[Header, list[KSpace]]:
    xml, acquisitions = read_raw(small_scan)
    header = parse_header(re.sub(rb"(<measurementID>)[^<]*", rb"\g<1>7_8_9_10_11", xml))
    for acq in acquisitions:
        acq.patient_table_position[2] = -1250.5
        acq.user_int[3], acq.user_float[1] = -4, 2.5
        acq.physiology_time_stamp[1] = acq.acquisition_time_stamp + 3
    return header, list(assemble([acquisitions], header, ScanConfig()))


def test_meta_has_stocks_names_and_forms(scan: tuple[Header, list[KSpace]]) -> None:
    header, slices = scan
    image = ismrmrd.Image.from_bytes(to_image("magnitude", recon(), slices[1], header, CONFIG).to_bytes())
    meta, reference = image.meta, slices[1].reference
    assert meta["GADGETRON_ImageNumber"] == "2" == str(image.image_index)
    assert (meta["PatientPosition"], meta["slice_dir"]) == (["0", "0", "3"], ["0", "0", "1"])
    assert [float(value) for value in meta["read_dir"] + meta["phase_dir"]] == [*image.read_dir, *image.phase_dir]
    assert meta["patient_table_position"] == ["0", "0", "-1250.5"]
    assert meta["acquisition_time_stamp"] == str(reference.acquisition_time_stamp)
    assert meta["physiology_time_stamp"] == ["0", str(reference.acquisition_time_stamp + 3), "0"]
    assert (meta["user_int_3"], meta["user_float_1"], meta["user_int_0"], meta["user_float_7"]) == ("-4", "2.5", "0", "0")
    identity = ("measurementID", "deviceID", "patientID", "studyID", "measurementNumber", "patient_position", "protocolName")
    assert [meta[name] for name in identity] == ["7_8_9_10_11", "7", "8", "9", "10_11", "HFS", "phantom"]


def test_time_ranges_are_those_of_the_imaging_readouts_that_have_stamps(scan: tuple[Header, list[KSpace]]) -> None:
    header, slices = scan
    first, last = (int(stamp) for stamp in to_image("magnitude", recon(), slices[0], header, CONFIG).meta["acquisition_time_range"])
    assert first < slices[0].reference.acquisition_time_stamp < last
    assert TimeRanges.of([(0, 9, 9, 9), (5, 1, 2, 3), (7, 4, 0, 3)]) == TimeRanges((5, 7), ((1, 4), (0, 2), (3, 3)))
    assert TimeRanges.of([(0, 1, 1, 1)]) == TimeRanges()


def test_calibration_lines_are_not_in_the_time_range_but_may_be_the_nearest(scan: tuple[Header, list[KSpace]]) -> None:
    header = scan[0]
    ones = np.ones((2, 96), np.complex64)
    calibration = [acquisition(ones, n, [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION], acquisition_time_stamp=n) for n in range(31, 34)]
    imaging = [acquisition(ones, n, acquisition_time_stamp=100 + n) for n in (29, 34)]
    (data,) = assemble([[*calibration, *imaging]], header, ScanConfig())
    assert data.times.acquisition == (129, 134)
    assert data.reference.acquisition_time_stamp == 32


@pytest.mark.parametrize("order", [(31, 33, 29), (33, 31, 29), (29, 33, 31)])
def test_of_two_readouts_equally_near_the_lower_line_is_taken_whatever_came_first(
    order: tuple[int, ...], scan: tuple[Header, list[KSpace]]
) -> None:
    ones = np.ones((2, 96), np.complex64)
    (data,) = assemble([[acquisition(ones, n, acquisition_time_stamp=n) for n in order]], scan[0], ScanConfig())
    assert data.reference.acquisition_time_stamp == 31


@pytest.mark.parametrize(
    ("measurement_id", "found"),
    [
        ("", {}),
        ("scan1", {"measurementID": "scan1"}),
        ("a_b", {"measurementID": "a_b", "deviceID": "a"}),
        ("a_b_c", {"measurementID": "a_b_c", "deviceID": "a", "patientID": "b"}),
        ("a_b_c_d", {"measurementID": "a_b_c_d", "deviceID": "a", "patientID": "b", "studyID": "c", "measurementNumber": "d"}),
    ],
)
def test_identities_are_the_parts_of_the_measurement_id(
    measurement_id: str, found: dict[str, str], scan: tuple[Header, list[KSpace]]
) -> None:
    header = dataclasses.replace(scan[0], measurement=Measurement(measurement_id), protocol_name="")
    meta = stock_attributes(ismrmrd.ImageHeader(), TimeRanges(), header)
    names = ("measurementID", "deviceID", "patientID", "studyID", "measurementNumber")
    assert {name: meta[name] for name in names if name in meta} == found
    assert meta["protocolName"] == "Unknown"
    assert "patient_position" not in meta


def test_images_in_arrays_are_magnitudes_of_the_first_series_without_a_window(scan: tuple[Header, list[KSpace]]) -> None:
    header, slices = scan
    image = for_array(to_image("complex", recon(), slices[0], header, CONFIG))
    assert (image.image_type, image.image_series_index, image.data.dtype) == (ismrmrd.IMTYPE_MAGNITUDE, 1, np.complex64)
    assert not [name for name in image.meta if "Window" in name]
    assert image.meta["GADGETRON_DataRole"] == "Image"
    index = slices[0].index._replace(encoding=1)
    second = dataclasses.replace(slices[0], index=index)
    assert for_array(to_image("complex", recon(), second, header, CONFIG)).image_series_index == 2


def test_a_volume_takes_as_many_numbers_as_it_has_partitions(scan: tuple[Header, list[KSpace]]) -> None:
    encoding = dataclasses.replace(scan[1][0].encoding, partitions=8, recon_partitions=6, counts=ImageIndex(1, 1, 1, 1, 1, 3, 1))
    assert [image_number(ImageIndex(0, 0, 0, 0, 0, r, 0), encoding) for r in range(3)] == [1, 9, 17]
