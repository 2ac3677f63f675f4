import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest

from tests.doubles.helpers import read_raw, stream
from tests.doubles.volumes import knee
from untrained_recon.errors import RawFileError
from untrained_recon.files import images as imagefile
from untrained_recon.files.raw import RawFile


def write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def npy(path: Path) -> None:
    with path.open("wb") as f:
        np.save(f, np.ones((2, 8, 8), np.complex64))


def image_file(path: Path) -> None:
    with imagefile.image_file(path, b"<ismrmrdHeader/>") as out:
        out.append_image(0, ismrmrd.Image.from_array(np.ones((4, 3), np.float32), transpose=False))


def mrd2_file(path: Path) -> None:
    with h5py.File(path, "w") as f:
        f["Mrd/data/Acquisition"] = np.zeros(3)


def images_of_fastmri(path: Path) -> None:
    with h5py.File(path, "w") as f:
        f["reconstruction_rss"] = np.ones((2, 4, 4))


def truncated(path: Path) -> None:
    image_file(path)
    path.write_bytes(path.read_bytes()[:-500])


SIEMENS = struct.pack("<2I", 0, 2) + bytes(10232) + struct.pack("<2I", 9000, 6) + b"Config\0" + b"<XProtocol>\n{"
FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "MRD 2 stream": ("a.bin", write(b"yardl\x01\0\0\0"), "a stream of MRD 2; `mrd_to_ismrmrd`"),
    "MRD 2 file": ("a.h5", mrd2_file, "an MRD 2 file; `mrd_hdf5_to_stream`"),
    "Siemens": ("meas.h5", write(SIEMENS), "a raw file of Siemens; `siemens_to_ismrmrd`"),
    "Siemens, VD": ("meas.h5", write(struct.pack("<4IQ", 0, 1, 0, 0, 10240) + bytes(99)), "a raw file of Siemens"),
    "GE ScanArchive": ("ScanArchive_1.h5", images_of_fastmri, "by its name a ScanArchive of GE"),
    "Siemens by name": ("meas.dat", write(bytes(64)), "by its name a raw file of Siemens"),
    "GE": ("P1.7", write(bytes(34) + b"GE_MED_NMR" + bytes(99)), "a P-file of GE; `ge_to_ismrmrd`"),
    "GE by name": ("P1.7", write(bytes(99)), "by its name a P-file of GE"),
    "Philips": ("scan.raw", write(bytes(512)), "by its name a raw file of Philips; `philips_to_ismrmrd`"),
    "Philips labels": ("scan.lab", write(bytes(512)), "by its name the labels of a raw file of Philips"),
    "Bruker": ("rawdata.job0", write(bytes(512)), "by its name raw data of Bruker"),
    "DICOM": ("a.h5", write(bytes(128) + b"DICM\2\0"), "a DICOM file: it holds images"),
    "NIfTI": ("a", write(struct.pack("<i", 348) + bytes(340) + b"n+1\0"), "a NIfTI file: it holds images"),
    "NumPy": ("a.h5", npy, "a NumPy array; `untrained-recon convert FILE RAW.h5`"),
    "BART": ("a.cfl", write(bytes(64)), "by its name an array of BART; `untrained-recon convert FILE RAW.h5`"),
    "fastMRI": ("a.h5", knee, "a fastMRI file; `untrained-recon convert FILE RAW.h5`"),
    "images of fastMRI": ("a.h5", images_of_fastmri, "a fastMRI file without k-space"),
    "our images": ("a.h5", image_file, "an ISMRMRD image file: it holds images"),
    "compressed": ("a.h5.gz", write(b"\x1f\x8b\x08"), r"compressed \(gzip\); unpack it first"),
    "pointer": ("a.h5", write(b"version https://git-lfs.github.com/spec/v1\n"), "a pointer of Git LFS"),
    "web page": ("a.h5", write(b"<!DOCTYPE html>"), "a text file"),
    "empty": ("a.h5", write(b""), "it is empty"),
    "folder": ("a.h5", Path.mkdir, "it is a folder"),
    "truncated": ("a.h5", truncated, "it is an HDF5 file that cannot be opened .*truncated"),
}


@pytest.mark.parametrize(("name", "make", "message"), FILES.values(), ids=list(FILES))
def test_files_of_other_kinds_are_named(name: str, make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(RawFileError, match=message):
        RawFile(path)


@pytest.mark.parametrize("start", ["configuration", "header"])
def test_a_stream_is_named_with_the_tool_that_takes_it(start: str, small_scan: Path, tmp_path: Path) -> None:
    header, acquisitions = read_raw(small_scan)
    data = stream({"config": "fast"}, header, acquisitions[:3])
    path = tmp_path / "stream.h5"
    path.write_bytes(data if start == "configuration" else data[data.index(struct.pack("<HI", 3, len(header))) :])
    with pytest.raises(RawFileError, match="an ISMRMRD stream; `ismrmrd_stream_to_hdf5`"):
        RawFile(path)
