import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
import pytest

from tests.doubles.helpers import read_raw
from tests.doubles.layouts import aligned, big_endian, copy_raw, rewritten, wide, without
from untrained_recon.errors import RawFileError
from untrained_recon.files.images import image_file, read_images
from untrained_recon.files.raw import RawFile


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


LAYOUTS: dict[str, dict[str, Any]] = {
    "aligned": {"head": aligned},
    "big endian": {"head": big_endian, "samples": lambda d: d.astype(">f4")},
    "wide": {"head": wide, "samples": lambda d: d.astype(np.float64)},
    "big endian doubles": {"samples": lambda d: d.astype(">f8")},
    "complex": {"samples": lambda d: d.view(np.complex64)},
    "big endian complex": {"samples": lambda d: d.view(np.complex64).astype(">c16")},
    "one length": {"samples": lambda d: d.astype(np.float64), "fixed": True},
    "without what is not needed": {"head": without("measurement_uid", "user_int", "user_float", "channel_mask")},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_acquisitions_are_read_by_name_and_type(layout: dict[str, Any], small_scan: Path, tmp_path: Path) -> None:
    def equal_lines(group: h5py.Group) -> None:
        rows = group["data"][1:]  # without the noise, whose readout is longer
        del group["data"]
        group["data"] = rows

    plain = copy_raw(small_scan, tmp_path / "plain.h5", equal_lines)
    other = rewritten(plain, tmp_path / "other.h5", **layout)
    (header, expected), (other_header, found) = read_raw(plain), read_raw(other)
    assert header == other_header
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)
        for name in ("number_of_samples", "center_sample", "flags", "sample_time_us", "scan_counter"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert (list(ours.position), bytes(ours.idx)) == (list(theirs.position), bytes(theirs.idx))
    with RawFile(other) as raw:
        assert [head.idx.slice for head in raw.heads()] == [acq.idx.slice for acq in expected]


def test_waveforms_are_read_by_name_and_type(tmp_path: Path) -> None:
    path = tmp_path / "raw.h5"
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(b"<ismrmrdHeader/>")
    dataset.append_acquisition(ismrmrd.Acquisition.from_array(np.ones((1, 4), np.complex64)))
    waveform = ismrmrd.Waveform.from_array(np.arange(6, dtype=np.uint32).reshape(2, 3))
    waveform.waveform_id = 3
    dataset.append_waveform(waveform)
    dataset.close()
    other = rewritten(path, tmp_path / "other.h5", big_endian, lambda d: d.astype(">u4"), table="waveforms")
    with RawFile(path) as plain, RawFile(other) as raw:
        assert [w.to_bytes() for w in raw.waveforms()] == [w.to_bytes() for w in plain.waveforms()] == [waveform.to_bytes()]


def test_a_table_may_be_a_matrix_of_one_column(small_scan: Path, tmp_path: Path) -> None:
    def column(group: h5py.Group) -> None:
        rows = group["data"][:4]
        del group["data"]
        group["data"] = rows[:, None]

    _, found = read_raw(copy_raw(small_scan, tmp_path / "column.h5", column))
    _, expected = read_raw(small_scan)
    assert [acq.to_bytes() for acq in found] == [acq.to_bytes() for acq in expected[:4]]


def test_a_trajectory_that_is_announced_and_left_out_is_none(small_scan: Path, tmp_path: Path) -> None:
    def announce(group: h5py.Group) -> None:
        rows = group["data"][:3]
        rows["head"]["trajectory_dimensions"] = 2
        group["data"][:3] = rows

    _, found = read_raw(copy_raw(small_scan, tmp_path / "announced.h5", announce))
    assert found[1].trajectory_dimensions == 0
    assert found[1].traj.size == 0


XML_FORMS: dict[str, Callable[[bytes], Any]] = {
    "scalar": lambda xml: xml.decode(),
    "fixed length": lambda xml: np.array([xml], f"S{len(xml) + 9}"),
    "fixed length, scalar": lambda xml: np.array(xml, f"S{len(xml) + 9}"),
    "matrix": lambda xml: np.array([[xml]], h5py.string_dtype()),
    "bytes": lambda xml: np.frombuffer(xml, np.uint8),
    "opaque": lambda xml: np.void(xml),
}


@pytest.mark.parametrize("form", XML_FORMS.values(), ids=list(XML_FORMS))
def test_the_header_may_be_any_string(form: Callable[[bytes], Any], small_scan: Path, tmp_path: Path) -> None:
    def store(group: h5py.Group) -> None:
        xml = group["xml"][0]
        del group["xml"]
        group["xml"] = form(xml)

    with RawFile(copy_raw(small_scan, tmp_path / "raw.h5", store)) as raw, RawFile(small_scan) as plain:
        assert raw.header.rstrip(b"\0") == plain.header


def test_the_scan_may_be_in_another_group(small_scan: Path, tmp_path: Path) -> None:
    one = copy_raw(small_scan, tmp_path / "one.h5", lambda g: g.file.move("dataset", "files/measurement_2"))
    with RawFile(one) as raw, RawFile(one, "files/measurement_2") as named:
        assert raw.group == named.group == "files/measurement_2"
        assert len(raw) == len(named) == len(read_raw(small_scan)[1])
    several = copy_raw(one, tmp_path / "several.h5", lambda g: g.file.copy("files/measurement_2", "second"), "files")
    with pytest.raises(RawFileError, match="in several groups; choose one with --group: files/measurement_2, second"):
        RawFile(several)
    with RawFile(several, "second") as raw:
        assert raw.group == "second"
    with pytest.raises(RawFileError, match="no group 'third'; there are files, second"):
        RawFile(several, "third")
    usual = copy_raw(small_scan, tmp_path / "usual.h5", lambda g: g.file.copy("dataset", "another"))
    with RawFile(usual) as raw:
        assert raw.group == "dataset"


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
        (empty, "another kind of HDF5 file; it holds nothing"),
    ):
        with pytest.raises(RawFileError, match=message):
            RawFile(path)


def _unwritten(group: h5py.Group) -> None:
    kind = group["data"].dtype
    del group["data"]
    group.create_dataset("data", (3,), kind)


def _replace(group: h5py.Group, field: str, kind: "np.dtype[Any]") -> None:
    rows = group["data"][:2]
    made = np.zeros(2, np.dtype([(name, kind if name == field else rows.dtype[name]) for name in rows.dtype.names]))
    for name in set(rows.dtype.names) - {field}:
        made[name] = rows[name]
    del group["data"]
    group["data"] = made


DAMAGES: dict[str, tuple[Callable[[h5py.Group], None], str]] = {
    "text": (lambda g: _replace(g, "data", np.dtype("S4")), "holds samples of type"),
    "no idx": (
        lambda g: _replace(g, "head", without("idx", "center_sample")(g["data"].dtype["head"])),
        "without center_sample, idx",
    ),
    "short": (lambda g: _replace(g, "data", np.dtype((np.float32, 6))), "holds 3 samples, its header says 8192"),
    "waveforms": (lambda g: g.create_dataset("waveforms", data=[1, 2]), "holds no waveforms: 'waveforms' is not a list of records"),
    "unwritten rows": (_unwritten, "has no channels; was the file written"),
    "empty header": (lambda g: g["xml"].write_direct(np.array([b""], object)), "no XML header"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=list(DAMAGES))
def test_what_cannot_be_read_is_named(damage: Callable[[h5py.Group], None], message: str, small_scan: Path, tmp_path: Path) -> None:
    path = copy_raw(small_scan, tmp_path / "bad.h5", damage)
    with pytest.raises(RawFileError, match=message):
        read_raw(path)


def test_an_image_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    image = ismrmrd.Image.from_array(np.ones((4, 3), np.float32), transpose=False)
    image.meta = {"name": "ü"}

    def broken_off() -> None:
        with image_file(path, b"<x/>") as out:
            out.append_image(0, image)
            assert not path.exists()
            raise KeyError

    with pytest.raises(KeyError):
        broken_off()
    assert list(tmp_path.iterdir()) == []
    with image_file(path, b"<x/>") as out:
        out.append_image(0, image)
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
        path.mkdir()
    os.utime(gone[1], (0, 0))
    with image_file(out, b"<ismrmrdHeader/>"):
        pass
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
