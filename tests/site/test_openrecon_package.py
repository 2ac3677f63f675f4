"""The file that a scanner installs."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from untrained_recon import __version__
from untrained_recon.cli.main import cli
from untrained_recon.errors import PackageError, RawFileError
from untrained_recon.site.openrecon import LABEL, encode, label
from untrained_recon.site.openrecon_package import documentation, label_of, make_package

NAME = f"OpenRecon_UntrainedRecon_UntrainedRecon_V{__version__}"
TAG = f"openrecon_untrainedrecon_untrainedrecon:v{__version__}"


def archive_of(path: Path, labels: Any, images: int = 1, more: dict[str, Any] | None = None) -> Path:
    """An archive like that of ``docker save``."""
    contents = {
        "manifest.json": [{"Config": "config.json", "RepoTags": ["x:1"], "Layers": ["layer.tar"]}] * images,
        "config.json": {"architecture": "amd64", "config": {"Labels": labels}},
        "layer.tar": "layer",
        **(more or {}),
    }
    with tarfile.open(path, "w") as tar:
        for name, content in contents.items():
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.needs("matplotlib")
def test_archive_and_documentation_are_in_one_file_of_the_label_s_name(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "image.tar", {LABEL: encode(label(gpu=True))}, more={"repositories": {"x": {"1": "layer"}}})
    assert label_of(archive) == label(gpu=True)
    result = CliRunner().invoke(cli, ["openrecon-package", str(archive), "-o", str(tmp_path)])
    assert result.output == f"{tmp_path / NAME}.zip\n"
    with zipfile.ZipFile(tmp_path / f"{NAME}.zip") as package:
        assert package.namelist() == [f"{NAME}.tar", f"{NAME}.pdf"]
        assert package.read(f"{NAME}.pdf").startswith(b"%PDF")
        package.extract(f"{NAME}.tar", tmp_path)
    with tarfile.open(archive) as before, tarfile.open(tmp_path / f"{NAME}.tar") as packed:
        assert set(packed.getnames()) == set(before.getnames()) - {"repositories"}
        for name in ("config.json", "layer.tar"):
            assert content_of(packed, name) == content_of(before, name)
        (image,) = content_of(packed, "manifest.json")
        assert image == {"Config": "config.json", "RepoTags": [TAG], "Layers": ["layer.tar"]}
    assert label_of(tmp_path / f"{NAME}.tar") == label(gpu=True)
    (tmp_path / f"{NAME}.tar").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{NAME}.zip", "image.tar"])


@pytest.mark.needs("matplotlib")
def test_a_package_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "image.tar", {LABEL: encode(label(gpu=False))})
    target = make_package(archive, tmp_path)
    assert make_package(archive, tmp_path) == target
    target.write_text("a letter")
    with pytest.raises(RawFileError, match="or say --force"):
        make_package(archive, tmp_path)
    assert zipfile.is_zipfile(make_package(archive, tmp_path, force=True))


def content_of(tar: tarfile.TarFile, name: str) -> Any:
    file = tar.extractfile(name)
    assert file is not None
    return json.load(file)


@pytest.mark.needs("matplotlib")
def test_an_oci_layout_is_packed_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    layout = {"oci-layout": {"imageLayoutVersion": "1.0.0"}}
    archive = archive_of(tmp_path / "image.tar", {LABEL: encode(label(gpu=False))}, more=layout)
    make_package(archive, tmp_path)
    assert "OCI layout" in caplog.text


def test_the_documentation_tells_every_parameter_and_that_it_is_research() -> None:
    text = documentation(label(gpu=False))
    for parameter in label(gpu=False).parameters:
        assert parameter.label.en in text
    assert "of fast, best" in text
    assert "not for diagnostic use" in text
    assert "No GPU is used" in text


@pytest.mark.parametrize("labels", [None, {}, {"other": "label"}, {LABEL: "no base64"}, {LABEL: "e30="}])
def test_images_without_our_label_are_refused(labels: Any, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"image\.tar"):
        make_package(archive_of(tmp_path / "image.tar", labels), tmp_path)


def test_other_files_and_archives_of_several_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no archive")
    several = archive_of(tmp_path / "several.tar", {LABEL: encode(label(gpu=False))}, images=2)
    for archive in (tmp_path / "text.tar", several, tmp_path / "nowhere.tar"):
        with pytest.raises(PackageError, match=archive.name):
            make_package(archive, tmp_path)
