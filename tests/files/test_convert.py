"""Conversion between formats: round trips, the scanner's marks, BART's own reading."""

import io
import shutil
import subprocess
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from tests.doubles.helpers import read_raw
from tests.doubles.volumes import fastmri_header, knee, random_ksp, write_fastmri_file
from untrained_recon.cli.main import cli
from untrained_recon.config import ScanConfig
from untrained_recon.errors import ConfigError, NonFiniteError, RawFileError
from untrained_recon.files.cfl import read_cfl
from untrained_recon.files.convert import Format, convert
from untrained_recon.files.open import open_volume
from untrained_recon.host.monitor import Monitor
from untrained_recon.host.replay import replay
from untrained_recon.masks import Sampling, acs_lines
from untrained_recon.physics.operators import rss_image
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_document, parse_header
from untrained_recon.types import ComplexArray, KSpace


def everything(path: Path) -> ComplexArray:
    with open_volume(path) as volume:
        return np.stack(list(volume))


def assembled(path: Path) -> list[KSpace]:
    header, acquisitions = read_raw(path)
    return list(assemble([[acq] for acq in acquisitions], parse_header(header), ScanConfig()))


def test_fastmri_to_raw_keeps_samples_header_and_image(tmp_path: Path) -> None:
    source, ksp = knee(tmp_path / "knee.h5")
    assert convert(source, tmp_path / "raw.h5") == 2
    header, acquisitions = read_raw(tmp_path / "raw.h5")
    assert len(acquisitions) == 2 * 30
    for n, acq in enumerate(acquisitions):
        s, line = divmod(n, 30)
        assert (acq.idx.slice, acq.idx.kspace_encode_step_1, acq.center_sample) == (s, line, 32)
        np.testing.assert_array_equal(acq.data, ksp[s, :, :, line + 3])  # bit for bit
        assert acq.is_flag_set(ismrmrd.ACQ_FIRST_IN_SLICE) == (line == 0)
        assert acq.is_flag_set(ismrmrd.ACQ_LAST_IN_SLICE) == (line == 29)
        assert acq.is_flag_set(ismrmrd.ACQ_LAST_IN_REPETITION) == (n == 59)
        assert acq.position[2] == pytest.approx((s - 0.5) * 4.5)
        assert not acq.is_flag_set(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    own, written = (parse_header(xml) for xml in (fastmri_header(36, 64, 32, 30), header))
    assert written.protocol_name == "AXT2"
    assert parse_document(header).experimentalConditions.H1resonanceFrequency_Hz == 63_000_000
    for field in ("encoded_shape", "recon_shape", "center_y"):
        assert getattr(own.encodings[0], field) == getattr(written.encodings[0], field)
    np.testing.assert_allclose(written.encodings[0].encoded_fov, own.encodings[0].encoded_fov)
    assert written.encodings[0].counts.slice == 2
    # the header says that the readout is oversampled, so that assembling cuts it: the image is the same
    with open_volume(source) as before, open_volume(tmp_path / "raw.h5") as after:
        assert after.shape == (3, 36, 32)
        for item in range(2):
            np.testing.assert_array_equal(after.lines(item), before.lines(item))
            img = rss_image(before[item], before.encoding)
            np.testing.assert_allclose(rss_image(after[item], after.encoding), img, rtol=1e-4, atol=1e-5)


def test_fastmri_to_raw_is_exact_through_assembling_without_oversampling(tmp_path: Path) -> None:
    ksp = random_ksp((2, 3, 32, 37))
    source = write_fastmri_file(tmp_path / "brain.h5", ksp, fastmri_header(37, 32, 32, 37, oversampling=1))
    convert(source, tmp_path / "raw.h5")
    for data, expected in zip(assembled(tmp_path / "raw.h5"), ksp, strict=True):
        assert data.mask.all()
        assert not data.prewhitened
        np.testing.assert_array_equal(data.ksp, expected.swapaxes(1, 2))


def test_a_singlecoil_file_without_a_header_gets_one(tmp_path: Path) -> None:
    source = write_fastmri_file(tmp_path / "single.h5", random_ksp((1, 24, 20)))
    convert(source, tmp_path / "raw.h5")
    (data,) = assembled(tmp_path / "raw.h5")
    np.testing.assert_array_equal(data.ksp[0], everything(source)[0, 0])


@pytest.mark.parametrize("shape", [(2, 3, 12, 10), (1, 3, 11, 9)])
def test_every_format_keeps_every_bit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    ksp = random_ksp(shape)
    np.save(tmp_path / "0.npy", ksp if shape[0] > 1 else ksp[0])
    path = tmp_path / "0.npy"
    ways: list[tuple[str, Format | None]] = [
        ("1.cfl", None),
        ("2.h5", None),
        ("3.h5", "fastmri"),
        ("4.cfl", None),
        ("5.h5", "fastmri"),
        ("6.h5", "raw"),
        ("7.npy", None),
    ]
    for name, form in ways:
        assert convert(path, tmp_path / name, form) == shape[0]
        path = tmp_path / name
        np.testing.assert_array_equal(everything(path), ksp, err_msg=name)
    assert (tmp_path / "7.npy").read_bytes() == (tmp_path / "0.npy").read_bytes()
    assert (tmp_path / "4.cfl").read_bytes() == ksp.tobytes()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_fastmri_file_holds_the_image_that_its_users_compare_with(tmp_path: Path) -> None:
    source, _ = knee(tmp_path / "knee.h5")
    convert(source, tmp_path / "copy.h5", "fastmri")
    np.testing.assert_array_equal(everything(tmp_path / "copy.h5"), everything(source))
    with open_volume(tmp_path / "copy.h5") as copy, h5py.File(tmp_path / "copy.h5") as f:
        assert copy.recon_shape == (32, 32)
        assert copy.lines(0).sum() == 30
        rss = f["reconstruction_rss"][:]
        np.testing.assert_allclose(rss[1], rss_image(copy[1], copy.encoding).T, rtol=1e-6)
        assert (f.attrs["max"], f.attrs["acquisition"]) == (rss.max(), "AXT2")
        assert f.attrs["norm"] == pytest.approx(np.linalg.norm(rss))


@pytest.mark.parametrize("pattern", ["random", "equispaced"])
def test_lines_may_be_left_out_on_the_way(tmp_path: Path, pattern: str) -> None:
    source, _ = knee(tmp_path / "knee.h5")
    sampling = Sampling(pattern, 2, 8, seed=3)  # type: ignore[arg-type]  # one of its names
    convert(source, tmp_path / "raw.h5", sampling=sampling)
    header, acquisitions = read_raw(tmp_path / "raw.h5")
    assert parse_header(header).encodings[0].acceleration == 2
    with open_volume(source) as before, open_volume(tmp_path / "raw.h5", allow_undersampled=True) as after:
        np.testing.assert_array_equal(after.lines(0), sampling.lines(36, "knee") & before.lines(0))
    calibration = {
        acq.idx.kspace_encode_step_1 + 3
        for acq in acquisitions
        if acq.is_flag_set(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION) or acq.is_flag_set(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    }
    assert calibration == set(np.flatnonzero(acs_lines(36, 8)))
    with pytest.raises(ConfigError, match="only ISMRMRD raw data"):
        convert(source, tmp_path / "raw.npy", sampling=sampling)


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    ksp = random_ksp((2, 3, 12, 10))
    ksp[1, 0, 0, 0] = np.inf
    np.save(tmp_path / "a.npy", ksp)
    (tmp_path / "b.cfl").write_text("an older file")
    for name in ("b.npy", "b.cfl", "b.h5"):
        with pytest.raises(NonFiniteError, match="image 1 holds NaN or Inf"):
            convert(tmp_path / "a.npy", tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npy", "b.cfl"]
    assert (tmp_path / "b.cfl").read_text() == "an older file"
    for target, error, message in (
        (tmp_path / "none" / "b.npy", RawFileError, "does not exist"),
        (tmp_path / "a.npy", RawFileError, "would replace the input"),
        (tmp_path / "b.mat", ConfigError, "must end with"),
    ):
        with pytest.raises(error, match=message):
            convert(tmp_path / "a.npy", target)
    with pytest.raises(ConfigError, match="must end with"):
        convert(tmp_path / "a.npy", tmp_path / "b.npy", "fastmri")


def test_samples_outside_the_header_limits_are_not_lost_silently(tmp_path: Path) -> None:
    source = write_fastmri_file(tmp_path / "odd.h5", random_ksp((1, 2, 64, 36)), fastmri_header(36, 64, 32, 30))
    with pytest.raises(RawFileError, match=r"odd\.h5: image 0 has samples on lines that its header says were not acquired"):
        convert(source, tmp_path / "raw.h5")


def test_the_command_converts_and_its_file_replays(tmp_path: Path) -> None:
    ksp = random_ksp((1, 3, 64, 32))
    source = write_fastmri_file(tmp_path / "knee.h5", ksp, fastmri_header(32, 64, 32, 32))
    done = convert_command(source, tmp_path / "raw.h5")
    assert (done.exit_code, done.output) == (0, f"1 images in {tmp_path / 'raw.h5'}\n")
    with Monitor(Console(file=io.StringIO())) as monitor:
        (image,) = replay(tmp_path / "raw.h5", tmp_path / "out.h5", {"config": "fast", "device": "cpu"}, monitor)
    with open_volume(source) as volume:
        np.testing.assert_allclose(image.data[0, 0], rss_image(volume[0], volume.encoding), rtol=1e-3, atol=1e-4)
    assert convert_command(source, tmp_path / "less.h5", "--accel", 2, "--acs", 12).exit_code == 0
    refused = convert_command(tmp_path / "less.h5", tmp_path / "less.npy").exception
    assert isinstance(refused, RawFileError)
    assert "fully sampled k-space is needed" in str(refused)


def convert_command(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["convert", *map(str, arguments)])


@pytest.mark.parametrize("shape", [(3, 16, 12), (2, 15, 18)])  # with n / 2 odd, BART's phase differs from ours
def test_bart_reads_our_arrays(tmp_path: Path, shape: tuple[int, ...]) -> None:
    bart = shutil.which("bart")
    if bart is None:
        pytest.skip("BART is not installed")
    ksp = random_ksp(shape)
    np.save(tmp_path / "ksp.npy", ksp)
    convert(tmp_path / "ksp.npy", tmp_path / "ksp.cfl")
    shown = subprocess.run([bart, "show", "-m", "ksp"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    n_coils, n_y, n_x = shape
    assert shown.split("AoD:")[1].split()[:4] == [str(n) for n in (n_x, n_y, 1, n_coils)]
    subprocess.run([bart, "fft", "-u", "-i", "3", "ksp", "img"], cwd=tmp_path, check=True, capture_output=True)
    img = read_cfl(tmp_path / "img")[:, 0]
    axes = (-2, -1)
    ours = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(ksp, axes=axes), norm="ortho"), axes=axes)
    phase = np.vdot(ours, img)
    np.testing.assert_allclose(img * (phase.conj() / abs(phase)), ours, atol=1e-5)
