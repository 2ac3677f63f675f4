"""Reading k-space of every format, and what is said about files that cannot be read."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import SMALL
from tests.doubles.volumes import fastmri_header, knee, random_ksp, write_fastmri_file
from untrained_recon.config import load_config
from untrained_recon.errors import EncodingError, HeaderError, NoImagingDataError, NonFiniteError, RawFileError
from untrained_recon.files.cfl import write_cfl
from untrained_recon.files.open import find_volumes, open_volume
from untrained_recon.files.sampling import sample
from untrained_recon.masks import Sampling
from untrained_recon.metrics import nrmse
from untrained_recon.phantom.simulation import simulate
from untrained_recon.physics.operators import rss_image
from untrained_recon.recon.methods import CPU
from untrained_recon.recon.plane import reconstruct
from untrained_recon.types import ComplexArray, FloatArray


def numpy_rss(ksp: ComplexArray) -> FloatArray:
    axes = (-2, -1)
    img = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(ksp, axes=axes), norm="ortho"), axes=axes)
    rss: FloatArray = np.sqrt((np.abs(img) ** 2).sum(axis=0))
    return rss


def test_a_fastmri_file_is_transposed_and_its_images_are_cut(tmp_path: Path) -> None:
    path, ksp = knee(tmp_path / "knee.h5")
    with open_volume(path) as volume:
        assert (len(volume), volume.shape, volume.name, volume.path) == (2, (3, 36, 64), "knee", path)
        assert (volume.recon_shape, volume.transposed) == ((32, 32), True)
        np.testing.assert_array_equal(np.flatnonzero(volume.lines(0)), np.arange(3, 33))
        slices = list(volume)
        for item, data in enumerate(slices):
            assert data.dtype == np.complex64
            np.testing.assert_array_equal(data, ksp[item].transpose(0, 2, 1))
        img = rss_image(slices[0], volume.encoding)
    np.testing.assert_allclose(img.T, numpy_rss(ksp[0])[16:48, 2:34], rtol=1e-5)  # fastMRI's centre crop of (x, y)


def test_a_fastmri_file_without_a_header_is_cut_to_what_320_leaves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    single = write_fastmri_file(tmp_path / "single.h5", random_ksp((1, 640, 300)))
    with open_volume(single) as volume:
        assert (volume.shape, volume.recon_shape) == ((1, 300, 640), (300, 320))
        assert volume[0].shape == volume.shape
    broken = write_fastmri_file(tmp_path / "broken.h5", random_ksp((1, 2, 640, 368)), b"<x>")
    with open_volume(broken) as volume:
        assert (volume.recon_shape, volume.header) == ((320, 320), None)
    assert "broken.h5: 'ismrmrd_header' cannot be used" in caplog.text


def test_a_header_for_another_matrix_gives_the_crop_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_fastmri_file(tmp_path / "brain.h5", random_ksp((1, 2, 64, 40)), fastmri_header(36, 64, 32, 30))
    with open_volume(path) as volume:
        assert (volume.recon_shape, volume.header) == ((32, 32), None)
        assert volume.lines(0).all()
    assert "is for a matrix (36, 64)" in caplog.text


def test_an_undersampled_fastmri_file_must_be_allowed(tmp_path: Path) -> None:
    path, _ = knee(tmp_path / "test.h5")
    mask = np.arange(36) % 2 == 0
    with h5py.File(path, "r+") as f:
        f["mask"] = mask.astype(np.float32)
    with pytest.raises(RawFileError, match=r"test\.h5: the file is undersampled"):
        open_volume(path)
    with open_volume(path, allow_undersampled=True) as volume:
        np.testing.assert_array_equal(np.flatnonzero(volume.lines(1)), np.arange(4, 33, 2))


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_a_raw_file_is_read_as_it_is_assembled(tmp_path: Path, noise: float) -> None:
    path = tmp_path / "full.h5"
    simulate(path, dataclasses.replace(SMALL, accel=1, noise=noise))
    with open_volume(path) as volume:
        assert (len(volume), volume.shape, volume.recon_shape) == (2, (4, 64, 48), (64, 48))
        imgs = [rss_image(ksp, volume.encoding) for ksp in volume]
        assert not volume.transposed
    expected = np.load(path.with_suffix(".truth_white.npy" if noise else ".truth.npy"))
    for img, full in zip(imgs, expected, strict=True):
        assert np.abs(img / full - 1)[full > full.max() / 10].max() < (0.1 if noise else 1e-4)
        assert nrmse(img, full) < (0.02 if noise else 1e-5)


def test_an_undersampled_raw_file_must_be_allowed(small_scan: Path) -> None:
    with pytest.raises(RawFileError, match=r"small\.h5: slice 0 has 40 of 64 lines"):
        open_volume(small_scan)
    with open_volume(small_scan, allow_undersampled=True) as volume:
        codes = np.load(small_scan.with_suffix(".mask.npy"))
        np.testing.assert_array_equal(volume.lines(1), codes > 0)
        ksp = volume[1]
        assert not ksp[:, codes == 0].any()
        assert ksp[:, codes > 0].all()


def test_arrays_are_read_slice_by_slice(tmp_path: Path) -> None:
    ksp = random_ksp((3, 2, 8, 10))
    np.save(tmp_path / "many.npy", ksp)
    np.save(tmp_path / "one.npy", np.asfortranarray(ksp[0].astype(np.complex128)))
    write_cfl(tmp_path / "one", ksp[0][:, None])
    write_cfl(tmp_path / "many", ksp.reshape(3, *[1] * 9, 2, 1, 8, 10))
    for name, expected in (("many.npy", ksp), ("one.npy", ksp[:1]), ("one.cfl", ksp[:1]), ("many.cfl", ksp)):
        with open_volume(tmp_path / name) as volume:
            assert (len(volume), volume.shape, volume.recon_shape) == (len(expected), (2, 8, 10), (8, 10))
            np.testing.assert_array_equal(np.stack(list(volume)), expected)
            np.testing.assert_allclose(rss_image(volume[0], volume.encoding), numpy_rss(ksp[0]), rtol=1e-5)
            with pytest.raises(IndexError, match=f"{name} has {len(expected)} images"):
                volume[len(expected)]


def test_a_sampled_slice_is_what_the_pipeline_takes(tmp_path: Path) -> None:
    path, _ = knee(tmp_path / "knee.h5")
    config = load_config("fast", {"fit.iterations": "2", "network.channels": "4"})
    with open_volume(path) as volume:
        lines = Sampling("equispaced", 2, 12).lines(36, volume.name)
        ksp = volume[1]
        data = sample(ksp, lines, volume, 1)
        assert data.index.slice == 1
        np.testing.assert_array_equal(data.mask, np.repeat((lines & volume.lines(1))[:, None], 64, axis=1))
        np.testing.assert_array_equal(data.ksp, np.where(data.mask, ksp, 0))
        recon = reconstruct(data, config, CPU)
        assert recon.magnitude.shape == rss_image(ksp, volume.encoding).shape == (32, 32)
        with pytest.raises(RawFileError, match=r"knee\.h5: the mask has shape \(32,\), the k-space 36 lines"):
            sample(ksp, lines[:32], volume, 1)
    ksp = random_ksp((3, 36, 64))
    np.save(tmp_path / "full.npy", ksp)
    with open_volume(tmp_path / "full.npy") as volume:
        recon = reconstruct(sample(volume[0], np.ones(36, bool), volume, 0), config, CPU)
        assert recon.account.method == "direct"
        np.testing.assert_allclose(recon.magnitude, rss_image(ksp, volume.encoding), rtol=1e-5)


def test_real_arrays_and_raw_files_agree(shared: Callable[[str], Path]) -> None:
    with open_volume(shared("kspace/brain16_gre.npy")) as array, open_volume(shared("raw/brain16_full.h5")) as raw:
        np.testing.assert_array_equal(array[0], raw[0])
        np.testing.assert_allclose(rss_image(raw[0], raw.encoding), np.load(shared("raw/brain16_full.truth.npy"))[0], rtol=1e-4)
    with open_volume(shared("kspace/ge_frfse.npy")) as array, open_volume(shared("raw/ge_frfse_phantom_8ch_3slice.h5")) as raw:
        for expected, found in zip(array, raw, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_folder_is_searched_for_what_can_be_read(tmp_path: Path, small_scan: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "notes.txt").write_text("no k-space")
    for message, folder in (("no file with fully sampled k-space", tmp_path), ("there is no such folder", tmp_path / "none")):
        with pytest.raises(RawFileError, match=message):
            find_volumes(folder)
    np.save(tmp_path / "b.npy", random_ksp((2, 8, 8)))
    np.save(tmp_path / "truth.npy", np.ones((8, 8), np.float32))
    (tmp_path / "c.h5").write_bytes(small_scan.read_bytes())
    write_cfl(tmp_path / "d", random_ksp((2, 1, 8, 8)))
    knee(tmp_path / "a.h5")
    with caplog.at_level(logging.WARNING):
        assert [path.name for path in find_volumes(tmp_path)] == ["a.h5", "b.npy", "d.cfl"]
    assert "truth.npy: the array is float32" in caplog.text
    assert "c.h5: slice 0 has 40 of 64 lines" in caplog.text


def fastmri_without_kspace(path: Path) -> None:
    with h5py.File(path, "w") as f:
        f["reconstruction_rss"] = np.ones((1, 4, 4))


def fastmri_with_group(path: Path) -> None:
    with h5py.File(path, "w") as f:
        f.create_group("kspace")


def fastmri_with_wrong_mask(path: Path) -> None:
    write_fastmri_file(path, random_ksp((1, 2, 8, 6)))
    with h5py.File(path, "r+") as f:
        f["mask"] = np.ones(5)


def truncated_fastmri(path: Path) -> None:
    write_fastmri_file(path, random_ksp((1, 2, 64, 64)))
    path.write_bytes(path.read_bytes()[:-10_000])


def fastmri_with_broken_groups(path: Path) -> None:
    write_fastmri_file(path, random_ksp((1, 2, 8, 6)))
    path.write_bytes(path.read_bytes().replace(b"HEAP", b"HEAT"))


def truncated_npy(path: Path) -> None:
    np.save(path, random_ksp((2, 8, 8)))
    path.write_bytes(path.read_bytes()[:-8])


def truncated_cfl(path: Path) -> None:
    write_cfl(path, random_ksp((2, 1, 8, 8)))
    path.write_bytes(path.read_bytes()[:-8])


def cfl_without_header(path: Path) -> None:
    truncated_cfl(path)
    path.with_suffix(".hdr").unlink()


BAD: list[tuple[str, Callable[[Path], object], str]] = [
    ("a.h5", fastmri_without_kspace, "neither a dataset 'kspace' .* nor a group 'dataset'"),
    ("a.h5", fastmri_with_group, "no dataset 'kspace'"),
    ("a.h5", lambda p: write_fastmri_file(p, random_ksp((8, 6))), r"'kspace' has shape \(8, 6\)"),
    ("a.h5", lambda p: write_fastmri_file(p, random_ksp((0, 2, 8, 6))), r"'kspace' has shape \(0, 2, 8, 6\)"),
    ("a.h5", lambda p: write_fastmri_file(p, random_ksp((1, 2, 8, 6)).real), "'kspace' is float32"),
    ("a.h5", fastmri_with_wrong_mask, r"'mask' has shape \(5,\), but 'kspace' has 6 lines"),
    ("a.h5", truncated_fastmri, "cannot be read as HDF5"),
    ("a.h5", fastmri_with_broken_groups, "damaged, RuntimeError"),
    ("a.h5", lambda p: p.write_text("text"), "cannot be read as HDF5"),
    ("a.h5", lambda p: None, "cannot be read as HDF5"),
    ("a.npy", lambda p: None, "cannot be read as .npy"),
    ("a.npy", lambda p: p.write_text("text"), "cannot be read as .npy"),
    ("a.npy", lambda p: p.write_bytes(b""), "cannot be read as .npy"),
    ("a.npy", truncated_npy, "cannot be read as .npy"),
    ("a.npy", lambda p: np.save(p, random_ksp((8, 6))), r"the array has shape \(8, 6\)"),
    ("a.npy", lambda p: np.save(p, random_ksp((2, 0, 6))), "is empty"),
    ("a.npy", lambda p: np.save(p, np.ones((2, 8, 6))), "the array is float64"),
    ("a.cfl", lambda p: None, "No such file"),
    ("a.cfl", truncated_cfl, r"a\.hdr says 8 × 8 × 1 × 2 × 1"),
    ("a.cfl", cfl_without_header, r"a\.hdr: No such file"),
    ("a.cfl", lambda p: write_cfl(p, random_ksp((2, 3, 8, 8))), "dimensions 8 × 8 × 3 × 2"),
    ("a.mat", lambda p: None, r"k-space files end with \.h5, \.npy, \.cfl"),
]


@pytest.mark.parametrize(("name", "make", "message"), BAD, ids=range(len(BAD)))
def test_files_that_cannot_be_read_are_named_with_the_reason(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(RawFileError, match=message) as caught:
        open_volume(tmp_path / name, allow_undersampled=True)
    assert str(tmp_path / "a.") in str(caught.value)


def test_samples_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    ksp = random_ksp((2, 8, 8))
    ksp[1, 2, 3] = np.nan
    np.save(tmp_path / "nan.npy", ksp)
    with open_volume(tmp_path / "nan.npy") as volume, pytest.raises(NonFiniteError, match=r"nan\.npy: image 0 holds NaN"):
        volume[0]


def test_a_damaged_chunk_is_named_with_its_slice(tmp_path: Path) -> None:
    path = tmp_path / "damaged.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("kspace", data=random_ksp((2, 1, 16, 16)), chunks=(1, 1, 16, 16), fletcher32=True)
        offset = f["kspace"].id.get_chunk_info(1).byte_offset
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)
    with open_volume(path) as volume:
        volume[0]
        with pytest.raises(RawFileError, match=r"damaged\.h5: image 1 cannot be read"):
            volume[1]


def test_raw_files_with_wrong_contents_are_named(tmp_path: Path, small_scan: Path) -> None:
    def change(field: str, value: object) -> Path:
        path = tmp_path / f"{field}.h5"
        path.write_bytes(small_scan.read_bytes())
        with h5py.File(path, "r+") as f:
            rows = f["dataset/data"][:]
            if field == "xml":
                f["dataset/xml"][0] = value
            elif field == "flags":
                rows["head"]["flags"] = value
            elif field == "line":
                rows["head"]["idx"]["kspace_encode_step_1"] = value
            elif field == "center_sample":
                rows["head"]["center_sample"] = value
            f["dataset/data"][:] = rows
        return path

    for field, value, error in (
        ("xml", b"<x>", HeaderError),
        ("flags", 1 << 18, NoImagingDataError),
        ("line", 99, EncodingError),
    ):
        with pytest.raises(error, match=rf"{field}\.h5: "):
            open_volume(change(field, value), allow_undersampled=True)
    path = change("center_sample", 60)
    with open_volume(path, allow_undersampled=True) as volume, pytest.raises(EncodingError, match=r"center_sample\.h5: "):
        volume[0]
