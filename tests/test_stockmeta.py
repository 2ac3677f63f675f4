"""Images say of themselves what Gadgetron's own reconstructions say, under the same names."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest

from tests.helpers import acquisition, read_raw
from tests.test_images import recon
from tests.test_recordings import messages, recording, through_gadget
from untrained_recon.assemble import assemble
from untrained_recon.config import ScanConfig, load_config
from untrained_recon.encoding import Header, ImageIndex, Measurement, TimeRanges
from untrained_recon.header import parse_header
from untrained_recon.images import for_array, image_number, to_image
from untrained_recon.readout import is_noise
from untrained_recon.stockmeta import stock_attributes
from untrained_recon.types import KSpace
from untrained_recon.wire import ACQUISITION, RECON_DATA

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


def stock_choice(bit: Any, offset: int) -> tuple[int, list[int]]:
    """GenericReconGadget::compute_image_header of Gadgetron 4.7.2 for 2-D: the header it takes its stamp from, and the range."""
    heads = bit.data.headers[:, 0, 0, 0, 0]
    best, chosen = len(heads) + 1, None
    for head in heads:
        if (distance := abs(head.idx.kspace_encode_step_1 + offset - len(heads) // 2)) < best:
            best, chosen = distance, head
    assert chosen is not None
    stamps = [head.acquisition_time_stamp for head in heads if head.acquisition_time_stamp > 0]
    return chosen.acquisition_time_stamp, [min(stamps), max(stamps)]


@pytest.mark.parametrize(
    ("name", "offset"), [("brain16_gre_r3", 0), ("ge_frfse_3slice_r2", 0), ("brain8_pd_pf6_8", 32), ("brain8_pd_wave", 0)]
)
def test_stamps_of_recorded_buffers_are_stocks(name: str, offset: int, shared: Callable[[str], Path]) -> None:
    path = shared(f"gadgetron/{name}_recondata.to_gadget.bin.gz")
    answer = through_gadget(f"{name}_recondata", path, {"recon.method": "zero-filled"})
    bits = [bit for message_id, data in messages(recording(path)) if message_id == RECON_DATA for bit in data]
    for image, bit in zip(answer.images, bits, strict=True):
        stamp, times = stock_choice(bit, offset)
        assert image.acquisition_time_stamp == stamp
        assert [int(value) for value in image.meta["acquisition_time_range"]] == times


@pytest.mark.parametrize("name", ["brain16_gre_r3", "ge_frfse_3slice_r2", "brain8_pd_wave"])
def test_acquisitions_and_buckets_stamp_the_nearest_readout_and_know_the_same_times(
    name: str, shared: Callable[[str], Path]
) -> None:
    path = shared(f"gadgetron/{name}_acquisitions.to_gadget.bin.gz")
    lines = [acq for message_id, acq in messages(recording(path)) if message_id == ACQUISITION and not is_noise(acq)]
    found = {}
    for kind in ("acquisitions", "bucket", "recondata"):
        file = shared(f"gadgetron/{name}_{kind}.to_gadget.bin.gz")
        found[kind] = {i.slice: i for i in through_gadget(f"{name}_{kind}", file, {"recon.method": "zero-filled"}).images}
    for number, image in found["acquisitions"].items():
        nearest = min((acq for acq in lines if acq.idx.slice == number), key=lambda acq: abs(acq.idx.kspace_encode_step_1 - 64))
        assert image.acquisition_time_stamp == nearest.acquisition_time_stamp
        assert found["bucket"][number].acquisition_time_stamp == nearest.acquisition_time_stamp
        ranges = [found[kind][number].meta["acquisition_time_range"] for kind in found]
        assert ranges == ranges[:1] * 3
