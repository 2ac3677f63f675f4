"""Undersampled arrays and fastMRI files: refused as truth by name, taken as data with their mask."""

from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.doubles.helpers import read_raw
from tests.doubles.volumes import fastmri_header, random_ksp, write_fastmri_file
from untrained_recon.cli.main import cli
from untrained_recon.errors import RawFileError
from untrained_recon.files.cfl import write_cfl
from untrained_recon.files.convert import as_raw, convert
from untrained_recon.files.images import read_images
from untrained_recon.files.maskfile import read_mask
from untrained_recon.files.open import find_volumes, open_volume
from untrained_recon.files.support import acquired_lines
from untrained_recon.metrics import nrmse
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import fft2
from untrained_recon.scan.header import parse_header
from untrained_recon.types import BoolArray, ComplexArray

QUICK = ("--set", "recon.method=cg-sense", "--device", "cpu")


def every(step: int, n: int = 32, block: int = 12) -> BoolArray:
    """Every so many lines, and a block in the centre."""
    lines = np.arange(n) % step == 0
    lines[n // 2 - block // 2 : n // 2 + block // 2] = True
    return lines


def phantom() -> ComplexArray:
    ksp: ComplexArray = fft2(torch.from_numpy(coil_maps((64, 48), 4) * head((64, 48), 0.0, 0))).numpy().astype(np.complex64)
    return ksp


@pytest.mark.parametrize("form", ["npy", "cfl", "h5"])
@pytest.mark.parametrize("lines", [every(2), every(4, block=4), every(32, block=6), np.arange(32) != 9, np.arange(32) > 7])
def test_lines_of_zeros_are_refused_by_name(form: str, lines: BoolArray, tmp_path: Path) -> None:
    ksp = random_ksp((2, 3, 32, 24)) * lines[:, None]
    np.save(tmp_path / "a.npy", random_ksp((2, 3, 32, 24)))
    if form == "h5":
        write_fastmri_file(tmp_path / "a.h5", ksp.swapaxes(2, 3))
    else:
        convert(tmp_path / "a.npy", tmp_path / "a.cfl")
        np.save(tmp_path / "a.npy", ksp)
        (tmp_path / "a.cfl").write_bytes(ksp.tobytes())
    path = tmp_path / f"a.{form}"
    message = rf"a\.{form}: {(~lines).sum()} of 32 lines hold nothing but zeros .* NAME\.mask\.npy"
    with open_volume(path) as volume, pytest.raises(RawFileError, match=message):
        volume[1]
    for target in ("raw.h5", "other.npy", "other.cfl"):
        with pytest.raises(RawFileError, match=message):
            convert(path, tmp_path / target)
    pytest.importorskip("pandas", reason="studies need the extra 'report'")
    result = CliRunner().invoke(
        cli, ["evaluate", str(path), "-o", str(tmp_path / "out"), "--method", "zf=fast,recon.method=zero-filled", "--device", "cpu"]
    )
    assert "1 of 1 images failed" in str(result.exception)
    assert "lines hold nothing but zeros" in result.output
    assert not (tmp_path / "raw.h5").exists()


def test_a_folder_is_searched_past_undersampled_arrays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.save(tmp_path / "full.npy", random_ksp((3, 32, 24)))
    np.save(tmp_path / "less.npy", random_ksp((3, 32, 24)) * every(2)[:, None])
    assert [path.name for path in find_volumes(tmp_path)] == ["full.npy"]
    assert "less.npy: 10 of 32 lines" in caplog.text


def test_lines_beyond_the_resolution_are_no_undersampling(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = (np.arange(32) >= 4) & (np.arange(32) < 27)
    np.save(tmp_path / "a.npy", random_ksp((3, 32, 24)) * lines[:, None])
    with open_volume(tmp_path / "a.npy") as volume:
        np.testing.assert_array_equal(volume.lines(0), lines)
    assert "a.npy: lines 0, 1, 2, 3, 27, … hold nothing but zeros and count as not acquired" in caplog.text
    convert(tmp_path / "a.npy", tmp_path / "a.h5")
    header, acquisitions = read_raw(tmp_path / "a.h5")
    assert [acq.idx.kspace_encode_step_1 for acq in acquisitions] == list(np.flatnonzero(lines))
    assert parse_header(header).encodings[0].center_y == 16


def test_samples_that_are_missing_along_the_readout_are_refused(tmp_path: Path) -> None:
    ksp = random_ksp((3, 32, 24))
    for name, mask in (("columns", every(2, 24)), ("points", np.random.default_rng(0).random((32, 24)) < 0.5)):
        np.save(tmp_path / f"{name}.npy", ksp * mask)
        with open_volume(tmp_path / f"{name}.npy") as volume, pytest.raises(RawFileError, match=f"{name}.*along the readout"):
            volume[0]
    corners = np.add.outer(((np.arange(32) - 16) / 16) ** 2, ((np.arange(24) - 12) / 12) ** 2) <= 1.1
    scattered = np.random.default_rng(0).random((32, 24)) < 0.99  # samples that happen to be zero
    for mask in (corners, scattered):
        assert acquired_lines(ksp * mask, None, Path("a")).all()
    assert acquired_lines(0 * ksp, None, Path("a")).all()  # nothing is there to tell


def test_a_mask_beside_an_array_makes_undersampled_raw_data(tmp_path: Path) -> None:
    ksp, lines = random_ksp((2, 3, 32, 24)), every(2)
    np.save(tmp_path / "full.npy", ksp)
    np.save(tmp_path / "full.mask.npy", lines)  # of k-space that holds more
    np.save(tmp_path / "less.npy", ksp * lines[:, None])
    np.save(tmp_path / "given.npy", lines.astype(float))
    convert(tmp_path / "full.npy", tmp_path / "a.h5")
    convert(tmp_path / "less.npy", tmp_path / "b.h5", mask=tmp_path / "given.npy")
    for name in ("a", "b"):
        header, acquisitions = read_raw(tmp_path / f"{name}.h5")
        assert [(acq.idx.slice, acq.idx.kspace_encode_step_1) for acq in acquisitions] == [
            (s, y) for s in (0, 1) for y in np.flatnonzero(lines)
        ]
        for acq in acquisitions:
            np.testing.assert_array_equal(acq.data, ksp[acq.idx.slice, :, acq.idx.kspace_encode_step_1])
            in_block = 10 <= acq.idx.kspace_encode_step_1 < 23  # line 22 is beside the block
            assert acq.is_flag_set(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING) == in_block
        assert parse_header(header).encodings[0].acceleration == 1  # 22 of 32 lines
    for target in ("c.npy", "c.cfl"):
        with pytest.raises(RawFileError, match=r"undersampled \(its mask is .*full\.mask\.npy\); fully sampled k-space is needed"):
            convert(tmp_path / "full.npy", tmp_path / target)
    (tmp_path / "full.mask.npy").unlink()
    convert(tmp_path / "full.npy", tmp_path / "full.h5")
    with pytest.raises(RawFileError, match="an ISMRMRD file says itself which lines were acquired"):
        convert(tmp_path / "full.h5", tmp_path / "d.h5", mask=tmp_path / "given.npy")


def test_a_mask_is_written_beside_arrays_that_need_it(tmp_path: Path) -> None:
    ksp = random_ksp((1, 2, 64, 36))
    ksp[..., :3] = ksp[..., 33:] = 0
    source = write_fastmri_file(tmp_path / "knee.h5", ksp, fastmri_header(36, 64, 32, 30))
    for name in ("a.npy", "b.cfl"):
        convert(source, tmp_path / name)
        mask = np.load((tmp_path / name).with_suffix(".mask.npy"))
        np.testing.assert_array_equal(np.flatnonzero(mask), np.arange(3, 33))
        with open_volume(tmp_path / name) as volume:
            np.testing.assert_array_equal(volume.lines(0), mask)
    np.save(tmp_path / "full.npy", random_ksp((2, 36, 24)))
    with pytest.raises(RawFileError, match=r"a\.mask\.npy would be taken for its mask"):
        convert(tmp_path / "full.npy", tmp_path / "a.npy")


def test_masks_have_several_forms(tmp_path: Path) -> None:
    lines, path = every(2, 8, 2), tmp_path / "m.npy"
    each = np.stack([lines, ~lines])
    grid = np.repeat(lines[:, None], 6, axis=1)
    for array, expected in (
        (lines, [lines, lines]),
        (lines.astype(np.uint8) * 3, [lines, lines]),
        (lines[None, None, :, None], [lines, lines]),
        (grid.astype(np.float32), [lines, lines]),
        (each, each),
        (np.repeat(each[:, :, None], 6, axis=2), each),
    ):
        np.save(path, array)
        np.testing.assert_array_equal(read_mask(path, 2, (8, 6)), expected)
    pattern = tmp_path / "pattern.cfl"
    for bart, expected in (
        (lines[:, None], [lines, lines]),  # BART's [1, n_y]
        (np.repeat(lines[:, None], 6, axis=1), [lines, lines]),
        (each.reshape(2, *[1] * 11, 8, 1), each),  # slices along dimension 13
    ):
        write_cfl(pattern, bart.astype(np.complex64))
        np.testing.assert_array_equal(read_mask(pattern, 2, (8, 6)), expected)
    for wrong, message in (
        (np.ones(7), "has shape"),
        (np.ones((3, 8)), "has shape"),
        (np.ones(8, complex), "complex128"),
        (np.eye(8, 6), "single samples of a line"),
        (np.array(["a"] * 8), "<U1"),
    ):
        np.save(path, wrong)
        with pytest.raises(RawFileError, match=message):
            read_mask(path, 2, (8, 6))
    np.save(path, np.zeros(32))
    np.save(tmp_path / "a.npy", random_ksp((2, 32, 24)))
    with pytest.raises(RawFileError, match="leaves no line"):
        convert(tmp_path / "a.npy", tmp_path / "a.h5", mask=path)


@pytest.mark.parametrize("zeroed", [True, False])
def test_fastmri_test_sets_become_raw_data(zeroed: bool, tmp_path: Path) -> None:
    lines = every(4, 36, 6)
    ksp = random_ksp((2, 3, 64, 36))
    ksp[..., :3] = ksp[..., 33:] = 0
    source = write_fastmri_file(tmp_path / "test.h5", ksp * lines if zeroed else ksp, fastmri_header(36, 64, 32, 30))
    with h5py.File(source, "r+") as f:
        f["mask"] = lines
    assert convert(source, tmp_path / "raw.h5") == 2
    header, acquisitions = read_raw(tmp_path / "raw.h5")
    kept = np.flatnonzero(lines & (np.arange(36) >= 3) & (np.arange(36) < 33))
    assert [acq.idx.kspace_encode_step_1 + 3 for acq in acquisitions] == [*kept, *kept]
    assert parse_header(header).encodings[0].acceleration == 2  # 13 of 30
    for acq in acquisitions:
        np.testing.assert_array_equal(acq.data, ksp[acq.idx.slice, :, :, acq.idx.kspace_encode_step_1 + 3])


def test_replay_inspect_and_compare_take_what_convert_takes(tmp_path: Path) -> None:
    ksp, lines = phantom(), every(2, 64, 16)
    truth = np.sqrt((abs(np.fft.ifft2(np.fft.ifftshift(ksp, axes=(1, 2)), norm="ortho")) ** 2).sum(axis=0))
    truth = np.fft.fftshift(truth).astype(np.float32)
    np.save(tmp_path / "scan.truth.npy", truth[None])
    np.save(tmp_path / "lines.npy", lines)
    write_fastmri_file(tmp_path / "scan.h5", ksp.swapaxes(1, 2)[None])
    scan, out, before = str(tmp_path / "scan.h5"), str(tmp_path / "out.h5"), sorted(tmp_path.iterdir())
    result = CliRunner().invoke(cli, ["replay", scan, "-o", out, *QUICK, "--mask", str(tmp_path / "lines.npy")])
    assert result.exit_code == 0, result.exception
    (image,) = read_images(Path(out), 0)
    assert nrmse(image.data[0, 0], truth) < 0.06
    assert float(image.meta["untrained_recon_acceleration"]) == pytest.approx(64 / lines.sum(), abs=0.01)
    for arguments in (["inspect", scan], ["compare", scan, out, "--truth", str(tmp_path / "scan.truth.npy")]):
        shown = CliRunner().invoke(cli, arguments)
        assert shown.exit_code == 0, shown.exception
    Path(out).unlink()
    for name in ("scan.h5", "lines.npy"):
        arguments = ["replay", scan, "-o", str(tmp_path / name), "--mask", str(tmp_path / "lines.npy")]
        assert "would replace the " in str(CliRunner().invoke(cli, arguments).exception)
    assert sorted(tmp_path.iterdir()) == before


def test_raw_data_are_played_as_they_are(small_scan: Path, tmp_path: Path) -> None:
    with as_raw(small_scan) as path:
        assert path == small_scan
    with as_raw(tmp_path / "absent.h5") as path:
        assert path == tmp_path / "absent.h5"
    with pytest.raises(RawFileError, match=r"absent\.npy"), as_raw(tmp_path / "absent.npy"):
        pass


def test_what_simulate_leaves_beside_raw_data_is_no_mask_for_them(small_scan: Path) -> None:
    assert small_scan.with_suffix(".mask.npy").exists()
    with open_volume(small_scan, allow_undersampled=True) as volume:
        assert volume.lines(0).sum() == 40
