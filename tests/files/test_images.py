from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest

from untrained_recon.errors import RawFileError
from untrained_recon.files.images import image_file, read_images


def image() -> ismrmrd.Image:
    made = ismrmrd.Image.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), transpose=False)
    made.meta = {"name": "ü"}
    return made


def test_an_image_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    path.write_text("older")
    with image_file(path, b"<x/>") as out:
        out.append_image(0, image())
        out.append_waveform(ismrmrd.Waveform.from_array(np.ones((2, 3), np.uint32)))
        assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]
    (found,) = read_images(path, 0)
    np.testing.assert_array_equal(found.data, image().data)
    assert found.meta["name"] == "ü"
    with h5py.File(path) as f:
        assert (f["dataset/xml"][0], f["dataset/waveforms"].shape) == (b"<x/>", (1,))


def test_an_error_leaves_no_image_file(tmp_path: Path) -> None:
    def write() -> None:
        with image_file(tmp_path / "out.h5", b"<x/>") as out:
            out.append_image(0, image())
            raise KeyError("the gadget died")

    with pytest.raises(KeyError):
        write()
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_image_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("text")
    h5py.File(tmp_path / "empty.h5", "w").close()
    with h5py.File(tmp_path / "array.h5", "w") as f:
        f["dataset"] = np.ones(3)
    with h5py.File(tmp_path / "odd.h5", "w") as f:
        for name in ("data", "header", "attributes"):
            f[f"dataset/image_0/{name}"] = np.zeros(1)
    with image_file(tmp_path / "other.h5", b"<x/>") as out:
        out.append_image(1, image())
    for name in ("text", "empty", "array", "odd", "other", "absent"):
        with pytest.raises(RawFileError, match=rf"{name}\.h5: (no series image_0|cannot be read as an image file)"):
            read_images(tmp_path / f"{name}.h5", 0)


def test_headers_of_wider_characters_are_stored_in_utf_8(tmp_path: Path) -> None:
    with image_file(tmp_path / "out.h5", '<?xml version="1.0" encoding="utf-16"?><a>ü</a>'.encode("utf-16")):
        pass
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["dataset/xml"][0].decode() == "<a>ü</a>"
