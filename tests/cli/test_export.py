"""The command `export`, and the options of `replay` that do the same."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.cli.test_main import QUICK, untrained_recon
from tests.doubles.images import image, write
from untrained_recon.cli.main import cli

EXTRA = all(find_spec(name) is not None for name in ("pydicom", "highdicom", "nibabel"))
needs_extra = pytest.mark.skipif(not EXTRA, reason="the extra 'export' is not installed")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write(tmp_path / "images.h5", [image(np.ones((8, 6), np.float32))])


@pytest.mark.slow
@needs_extra
def test_from_raw_data_to_viewers(small_scan: Path, tmp_path: Path) -> None:
    import nibabel
    import pydicom

    out = tmp_path / "images.h5"
    arguments = ("--set", "evidence.replicas=4", "--dicom", tmp_path / "dicom", "--nifti", tmp_path / "brain.nii.gz")
    done = untrained_recon("replay", small_scan, "-o", out, *QUICK, *arguments)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "dicom").iterdir()) == ["001_magnitude", "002_noise"]
    stack = [pydicom.dcmread(path) for path in sorted((tmp_path / "dicom" / "001_magnitude").iterdir())]
    volume = nibabel.load(tmp_path / "brain.nii.gz")
    for n, one in enumerate(stack):
        pixels = one.pixel_array * one.RealWorldValueMappingSequence[0].RealWorldValueSlope
        np.testing.assert_allclose(pixels, np.asarray(volume.dataobj)[:, :, n].T, atol=1e-4 * pixels.max())
        first = volume.affine @ [0, 0, n, 1]
        np.testing.assert_allclose(np.array(one.ImagePositionPatient, float), first[:3] * [-1, -1, 1], atol=1e-4)
    assert (stack[0].ProtocolName, stack[0].PatientPosition) == ("phantom", "HFS")
    again = untrained_recon("export", out, "-o", tmp_path / "again", "--dicom")
    assert (again.returncode, again.stdout) == (0, f"3 files in {tmp_path / 'again'}\n")
    assert {path.name for path in (tmp_path / "again").rglob("*.dcm")} == {
        path.name for path in (tmp_path / "dicom").rglob("*.dcm")
    }


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "name a format: --dicom, --nifti"),
        (("--npy", "--like", "x.dcm"), 1, "ConfigError: --like says whose DICOM images they are"),
        (("--npy", "--group", "none"), 1, "RawFileError: images.h5: no group 'none' with images"),
    ],
)
def test_bad_arguments(
    arguments: tuple[str, ...], status: int, message: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images.parent)
    done = untrained_recon("export", "images.h5", "-o", "out", *arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == [images]


def test_what_a_replay_cannot_write_is_told_before_it_starts(small_scan: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for arguments, message in {
        ("--npy", str(tmp_path / "file")): "is no folder that takes files",
        ("--npy", str(tmp_path / "absent" / "out.npy")): "the folder",
        ("--like", str(tmp_path / "file")): "--like goes with --dicom",
        ("--fastmri", str(tmp_path / "out.h5")): "named twice",
    }.items():
        done = CliRunner().invoke(cli, ["replay", str(small_scan), "-o", str(tmp_path / "out.h5"), *arguments])
        assert done.exit_code != 0
        assert message in f"{done.output} {done.exception}"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_exporting_does_not_load_pytorch(images: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from untrained_recon.files.export import export\n"
        f"export(Path({str(images)!r}), Path({str(images.parent / 'out')!r}), 'npy')\n"
        "assert 'torch' not in sys.modules and 'sigpy' not in sys.modules, 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
