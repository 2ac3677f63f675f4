import os
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest

from tests.helpers import read_raw
from untrained_recon.errors import RawFileError
from untrained_recon.rawfile import ImageFile, RawFile, read_images


def test_acquisitions_are_read_as_ismrmrd_reads_them(small_scan: Path) -> None:
    dataset = ismrmrd.Dataset(str(small_scan), "dataset", create_if_needed=False)
    _, ours = read_raw(small_scan)
    assert len(ours) == dataset.number_of_acquisitions()
    for n in (0, 1, len(ours) - 1):
        assert ours[n].to_bytes() == dataset.read_acquisition(n).to_bytes()
    with RawFile(small_scan) as raw:
        assert [bytes(head) for head in raw.heads()] == [bytes(acq.getHead()) for acq in ours]
        assert [acq.to_bytes() for acq in raw.read([0, 3, 4])] == [ours[n].to_bytes() for n in (0, 3, 4)]
    dataset.close()


def test_waveforms_come_at_their_time(tmp_path: Path) -> None:
    path = tmp_path / "raw.h5"
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(b"<ismrmrdHeader/>")
    for stamp in (10, 20):
        acq = ismrmrd.Acquisition.from_array(np.ones((1, 4), np.complex64))
        acq.acquisition_time_stamp = stamp
        dataset.append_acquisition(acq)
    for stamp in (5, 15, 25):
        waveform = ismrmrd.Waveform.from_array(np.full((2, 3), stamp, np.uint32))
        waveform.time_stamp = stamp
        dataset.append_waveform(waveform)
    dataset.close()
    with RawFile(path) as raw:
        items = list(raw.items())
    kinds = [(type(i).__name__, getattr(i, "time_stamp", 0) or getattr(i, "acquisition_time_stamp", 0)) for i in items]
    assert kinds == [("Waveform", 5), ("Acquisition", 10), ("Waveform", 15), ("Acquisition", 20), ("Waveform", 25)]
    assert (items[2].data == 15).all()


def test_files_that_are_no_raw_files_are_refused(tmp_path: Path) -> None:
    text, empty, headless, other = (tmp_path / f"{name}.h5" for name in ("text", "empty", "headless", "other"))
    text.write_text("not HDF5")
    h5py.File(empty, "w").close()
    with h5py.File(headless, "w") as f:
        f.create_group("dataset").create_dataset("data", data=[1])
    with h5py.File(other, "w") as f:
        f["dataset/xml"] = ["<x/>"]
        f["dataset/data"] = np.zeros(3)
    for path, message in (
        (other, "holds no acquisitions"),
        (text, "not an HDF5 file"),
        (tmp_path / "none.h5", "no such file"),
        (empty, "no group 'dataset'"),
        (headless, "no XML header"),
    ):
        with pytest.raises(RawFileError, match=message):
            RawFile(path)


def test_an_image_file_appears_only_when_it_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    image = ismrmrd.Image.from_array(np.ones((4, 3), np.float32), transpose=False)
    image.meta = {"name": "ü"}
    with ImageFile(path, b"<x/>") as out:
        out.append_image(0, image)
        assert not path.exists()
    assert list(tmp_path.iterdir()) == []
    with ImageFile(path, b"<x/>") as out:
        out.append_image(0, image)
        out.commit()
    assert list(tmp_path.iterdir()) == [path]
    (found,) = read_images(path, 0)
    np.testing.assert_array_equal(found.data, image.data)
    assert found.meta["name"] == "ü"
    with pytest.raises(RawFileError, match="no series image_1"):
        read_images(path, 1)


def test_what_killed_runs_left_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    here = socket.gethostname()
    gone = [tmp_path / f".out.h5.{here}.{process.pid}.abc.part", tmp_path / ".out.h5.another.1.abc.part"]
    kept = [
        tmp_path / f".out.h5.{here}.{os.getpid()}.abc.part",
        tmp_path / ".out.h5.another.1.new.part",
        tmp_path / ".out.h5.part",
        tmp_path / f".other.h5.{here}.{process.pid}.abc.part",
    ]
    for path in (*gone, *kept):
        path.touch()
    os.utime(gone[1], (0, 0))
    with ImageFile(out, b"<ismrmrdHeader/>"):
        pass
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
