import dataclasses
from pathlib import Path

import ismrmrd
import numpy as np
import pytest

from tests.doubles.helpers import read_raw
from untrained_recon import __version__
from untrained_recon.account import Account
from untrained_recon.cautions import SENTENCES, Caution
from untrained_recon.config import ScanConfig, load_config
from untrained_recon.encoding import Header, ImageIndex
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.images import WINDOW, doubts, image_number, to_image
from untrained_recon.scan.series import series_index
from untrained_recon.types import EvidenceMap, KSpace, Reconstruction

CONFIG = load_config("fast", {"seed": "7"})


@pytest.fixture(scope="module")
def scan(small_scan: Path) -> tuple[Header, list[KSpace]]:
    xml, acquisitions = read_raw(small_scan)
    header = parse_header(xml)
    return header, list(assemble([acquisitions], header, ScanConfig()))


def recon(shape: tuple[int, int] = (64, 48)) -> Reconstruction:
    magnitude = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    return Reconstruction(
        magnitude=magnitude,
        complex_img=(magnitude * 1j).astype(np.complex64),
        account=Account(
            method="maps",
            iterations=12,
            stop_reason="iterations",
            loss=0.25,
            refinements=20,
            refinement_stop="discrepancy",
            held_out_chi2=0.5,
            chi2=1.5,
            seconds=1.5,
            device="cpu",
        ),
    )


def test_header_carries_geometry_indices_and_kind(scan: tuple[Header, list[KSpace]]) -> None:
    header, slices = scan
    image = to_image("magnitude", recon(), slices[1], header, CONFIG)
    head, reference = image.getHead(), slices[1].reference
    assert image.data.shape == (1, 1, 64, 48)
    assert image.data.dtype == np.float32
    np.testing.assert_array_equal(image.data[0, 0], recon().magnitude)
    assert tuple(head.matrix_size) == (48, 64, 1)
    assert tuple(head.field_of_view) == (240, 320, 5)
    assert tuple(head.position) == tuple(reference.position) == (0, 0, 3)
    assert tuple(head.slice_dir) == (0, 0, 1)
    assert head.acquisition_time_stamp == reference.acquisition_time_stamp
    assert (head.slice, head.image_index, head.image_series_index) == (1, 2, 1)
    assert head.image_type == ismrmrd.IMTYPE_MAGNITUDE


def test_volumes_are_one_image_whose_meta_says_so(scan: tuple[Header, list[KSpace]]) -> None:
    header, slices = scan
    encoding = dataclasses.replace(slices[0].encoding, partitions=6, recon_partitions=4)
    volume = np.arange(4 * 64 * 48, dtype=np.float32).reshape(4, 64, 48)
    found = dataclasses.replace(recon(), magnitude=volume, complex_img=volume.astype(np.complex64))
    image = to_image("magnitude", found, dataclasses.replace(slices[0], encoding=encoding), header, CONFIG)
    assert tuple(image.getHead().matrix_size) == (48, 64, 4)
    np.testing.assert_array_equal(image.data[0], volume)
    assert image.meta["recon_matrix"] == ["48", "64", "4"]
    assert image.meta["sampling_limits_E2"] == ["0", "2", "3"]


def test_complex_images_are_a_series_of_their_own(scan: tuple[Header, list[KSpace]]) -> None:
    header, slices = scan
    image = to_image("complex", recon(), slices[0], header, CONFIG)
    assert image.data.dtype == np.complex64
    assert (image.image_type, image.image_series_index) == (ismrmrd.IMTYPE_COMPLEX, 2)
    assert series_index("complex", encoding=1) == 12


def test_phases_are_radians_and_state_no_window(scan: tuple[Header, list[KSpace]]) -> None:
    header, slices = scan
    found = dataclasses.replace(recon(), complex_img=np.exp(1j * np.linspace(-3, 3, 64 * 48)).reshape(64, 48).astype(np.complex64))
    image = to_image("phase", found, slices[0], header, CONFIG)
    assert (image.image_type, image.image_series_index, image.data.dtype) == (ismrmrd.IMTYPE_PHASE, 5, np.float32)
    np.testing.assert_allclose(image.data.ravel(), np.linspace(-3, 3, 64 * 48), atol=1e-6)
    assert image.meta["GADGETRON_SeqDescription"] == "_UNTRAINED_PHASE"
    assert not set(WINDOW) & set(image.meta)


def test_meta_says_what_downstream_gadgets_read_and_how_the_image_was_made(scan: tuple[Header, list[KSpace]]) -> None:
    header, slices = scan
    header = dataclasses.replace(header, protocol_name="Schädel & Hals <1>")
    meta = ismrmrd.Image.from_bytes(to_image("magnitude", recon(), slices[0], header, CONFIG).to_bytes()).meta
    assert meta["GADGETRON_DataRole"] == "Image"
    assert meta["GADGETRON_ImageComment"] == "Schädel & Hals <1> un-trained reconstruction (maps)"
    assert meta["GADGETRON_ImageProcessingHistory"] == ["UNTRAINED", "MAPS"]
    low, high = (float(meta["GADGETRON_WindowCenter"]) + s * float(meta["GADGETRON_WindowWidth"]) / 2 for s in (-1, 1))
    assert 0 < low < 100
    assert 2900 < high < 64 * 48
    assert meta["untrained_recon_version"] == __version__
    assert (meta["untrained_recon_config"], meta["untrained_recon_config_hash"]) == ("fast", CONFIG.hash)
    assert (meta["untrained_recon_seed"], meta["untrained_recon_iterations"]) == ("7", "12")
    assert (meta["untrained_recon_stop_reason"], meta["untrained_recon_final_loss"]) == ("iterations", "0.25")
    assert (meta["untrained_recon_device"], meta["untrained_recon_noise_scan"]) == ("cpu", "applied")


def test_maps_are_series_of_their_own_that_say_what_they_are(scan: tuple[Header, list[KSpace]]) -> None:
    header, slices = scan
    noise = EvidenceMap(np.full((64, 48), 2, np.float32), "16 replicas, noise level known, 1")
    found = dataclasses.replace(recon(), noise=noise, spread=EvidenceMap(None, "no network was fitted"))
    image = to_image("noise", found, slices[0], header, CONFIG)
    assert (image.image_type, image.image_series_index) == (ismrmrd.IMTYPE_MAGNITUDE, 4)
    np.testing.assert_array_equal(image.data[0, 0], 2)
    assert image.meta["GADGETRON_DataRole"] == "STD_MAP"
    assert image.meta["GADGETRON_ImageComment"].startswith("phantom NOISE MAP: standard deviation of the magnitude")
    assert image.meta["GADGETRON_SeqDescription"] == "_UNTRAINED_NOISE"
    assert image.meta["GADGETRON_ImageProcessingHistory"] == ["UNTRAINED", "MAPS", "NOISE"]
    assert (image.meta["GADGETRON_WindowCenter"], image.meta["GADGETRON_WindowWidth"]) == ("2", "0")
    with pytest.raises(ValueError, match="there is no spread image"):
        to_image("spread", found, slices[0], header, CONFIG)
    spread = to_image("spread", dataclasses.replace(found, spread=noise), slices[0], header, CONFIG)
    assert spread.image_series_index == 3
    assert "OPTIMISATION VARIANCE, not noise and not error" in spread.meta["GADGETRON_ImageComment"]


def test_the_magnitude_says_which_maps_there_are_and_which_are_missing(scan: tuple[Header, list[KSpace]]) -> None:
    header, slices = scan
    noise = EvidenceMap(np.ones((64, 48), np.float32), "16 replicas, noise level known, 1")
    found = dataclasses.replace(recon(), noise=noise, spread=EvidenceMap(None, "no network was fitted"))
    meta = to_image("magnitude", found, slices[0], header, CONFIG).meta
    assert meta["untrained_recon_noise_map"] == "16 replicas, noise level known, 1"
    assert meta["untrained_recon_spread_map"] == "missing: no network was fitted"
    assert meta["GADGETRON_DataRole"] == "Image"
    assert "untrained_recon_noise_map" not in to_image("magnitude", recon(), slices[0], header, CONFIG).meta


def test_image_numbers_tell_all_images_of_a_scan_apart(scan: tuple[Header, list[KSpace]]) -> None:
    counts = ImageIndex(1, 2, 3, 2, 1, 2, 1)
    encoding = dataclasses.replace(scan[1][0].encoding, counts=counts)
    numbers = [
        image_number(ImageIndex(0, a, s, c, 0, r, 0), encoding)
        for a in range(2)
        for r in range(2)
        for c in range(2)
        for s in range(3)
    ]
    assert numbers == list(range(1, 25))
    crowded = dataclasses.replace(encoding, counts=ImageIndex(1, 1, 1, 1, 1, 1000, 1000))
    assert 1 <= image_number(ImageIndex(0, 0, 0, 0, 0, 999, 999), crowded) <= 65535


def test_cautions_and_fallbacks_are_in_comment_meta_and_summary_and_absent_where_there_are_none(
    scan: tuple[Header, list[KSpace]],
) -> None:
    header, slices = scan
    doubtful = dataclasses.replace(recon(), cautions=(Caution("model-misfit", "chi2 5.4, at most 2"), Caution("zero-lines")))
    failed = dataclasses.replace(recon(), account=Account("cg-sense", "FitError: diverged"))
    images = [
        ismrmrd.Image.from_bytes(to_image("magnitude", found, slices[0], header, CONFIG).to_bytes())
        for found in (recon(), doubtful, failed)
    ]
    good, cautioned, fallback = (image.meta for image in images)
    assert not {"untrained_recon_cautions", "untrained_recon_fallback_reason"} & set(good)
    assert "None" not in good.values()
    assert cautioned["untrained_recon_cautions"] == ["model-misfit", "zero-lines"]
    assert f"CAUTION model-misfit: {SENTENCES['model-misfit']} (chi2 5.4, at most 2)" in cautioned["GADGETRON_ImageComment"]
    assert fallback["untrained_recon_fallback_reason"] == "FitError: diverged"
    assert doubts(images) == "1 with CAUTION model-misfit; 1 with CAUTION zero-lines; 1 with FALLBACK"
    assert doubts(images[:1]) == ""
