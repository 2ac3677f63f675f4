"""What a file is that was given as ISMRMRD raw data, and what takes it."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEAD_BYTES = 1 << 16
FIRST_MEASUREMENT = 10240  # byte, behind the table of 64 measurements

CONVERT = "`untrained-recon convert FILE RAW.h5` makes raw data of it"
IMAGES = "it holds images; a reconstruction needs raw data"

HDF5 = b"\x89HDF\r\n\x1a\n"
HEADS = (
    (0, HDF5, "an HDF5 file that cannot be opened"),
    (0, b"yardl", "a stream of MRD 2; `mrd_to_ismrmrd` (MRD's tools) makes an ISMRMRD stream of it"),
    (128, b"DICM", f"a DICOM file: {IMAGES}"),
    (344, b"n+1\0", f"a NIfTI file: {IMAGES}"),
    (344, b"ni1\0", f"a NIfTI file: {IMAGES}"),
    (4, b"n+2\0", f"a NIfTI file: {IMAGES}"),
    (0, b"\x93NUMPY", f"a NumPy array; {CONVERT}"),
    (34, b"GE_MED_NMR", "a P-file of GE; `ge_to_ismrmrd` makes raw data of it"),
    (34, b"INVALIDNMR", "a P-file of GE; `ge_to_ismrmrd` makes raw data of it"),
    (0, b"MATLAB", "a MATLAB file; ISMRMRD's MATLAB functions write raw data"),
    (0, b"# Pulseq", "a Pulseq sequence; raw data come from the scanner that plays it"),
    (0, b"version https://git-lfs.github.com", "a pointer of Git LFS, not the file itself; `git lfs pull` fetches it"),
    (0, b"\x1f\x8b", "compressed (gzip); unpack it first"),
    (0, b"PK\x03\x04", "an archive (zip); unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed (zstd); unpack it first"),
    (0, b"BZh", "compressed (bzip2); unpack it first"),
    (0, b"\xfd7zXZ", "compressed (xz); unpack it first"),
    (0, b"<", "a text file (XML or HTML)"),
)
"""Offset, bytes and what they tell, the most telling ones first."""

NAMES: Mapping[str, str] = {
    ".dat": "by its name a raw file of Siemens; `siemens_to_ismrmrd` makes raw data of those",
    ".7": "by its name a P-file of GE; `ge_to_ismrmrd` makes raw data of those",
    ".raw": "by its name a raw file of Philips; `philips_to_ismrmrd` makes raw data of those",
    ".lab": "by its name the labels of a raw file of Philips; `philips_to_ismrmrd` makes raw data of those",
    ".sin": "by its name the parameters of a raw file of Philips; `philips_to_ismrmrd` makes raw data of those",
    ".data": "by its name exported raw data of Philips; `philips_to_ismrmrd` makes raw data of .raw and .lab",
    ".list": "by its name the list of exported raw data of Philips; `philips_to_ismrmrd` makes raw data of .raw and .lab",
    ".cfl": f"by its name an array of BART; {CONVERT}",
    ".hdr": f"by its name the header of an array of BART; give the .cfl: {CONVERT}",
    ".nii": f"by its name a NIfTI file: {IMAGES}",
    ".dcm": f"by its name a DICOM file: {IMAGES}",
    ".ima": f"by its name a DICOM file: {IMAGES}",
}
BRUKER = {"fid", "ser", "rawdata.job0", "2dseq"}


def describe_file(path: Path) -> str:
    """What a file is that is not HDF5, by its first bytes, else by its name; empty where it is not known. Raises OSError."""
    if path.is_dir():
        return "a folder"
    with path.open("rb") as f:
        head = f.read(HEAD_BYTES)
    if not head:
        return "empty"
    if _is_stream(head):
        return "an ISMRMRD stream; `ismrmrd_stream_to_hdf5` (ISMRMRD's tools) makes an HDF5 file of it"
    if b"<XProtocol>" in head or _is_multi_raid(head):
        return "a raw file of Siemens; `siemens_to_ismrmrd` makes raw data of it"
    known = next((what for at, magic, what in HEADS if head[at : at + len(magic)] == magic), "")
    if not known and path.name.lower() in BRUKER:
        return "by its name raw data of Bruker; `bruker_to_ismrmrd` makes raw data of those"
    return known or NAMES.get(path.suffix.lower(), "")


def describe_hdf5(root: Mapping[str, Any]) -> str:
    """What an HDF5 file without ISMRMRD raw data is, by the names in it.

    Args:
        root: Names and contents of the file, an ``h5py.File``.
    """
    names = set(root)
    if Path(str(getattr(root, "filename", ""))).name.startswith("ScanArchive"):
        return "by its name a ScanArchive of GE; `ge_to_ismrmrd` makes raw data of those"
    if "kspace" in names:
        kind = "a fastMRI file" if "ismrmrd_header" in names else "a file of k-space ('kspace')"
        return f"{kind}; {CONVERT}"
    if "Mrd" in names:
        return "an MRD 2 file; `mrd_hdf5_to_stream` and `mrd_to_ismrmrd` (MRD's tools) make an ISMRMRD stream of it"
    if any(has_images(root[name]) for name in names):
        return f"an ISMRMRD image file: {IMAGES}"
    if any("reconstruction" in name for name in names):
        return f"a fastMRI file without k-space: {IMAGES}"
    return f"another kind of HDF5 file; it holds {', '.join(sorted(names)[:10]) or 'nothing'}"


def has_images(group: Any) -> bool:
    """Whether a group of an HDF5 file holds ISMRMRD images."""
    return hasattr(group, "keys") and any(name.startswith("image") for name in group)


def _is_multi_raid(head: bytes) -> bool:
    """Whether a file begins as Siemens' do since VD11: 0 or few, the number of measurements, and where the first of them begins."""
    first, measurements, _, _, offset = struct.unpack("<4IQ", head[:24].ljust(24, b"\xff"))
    return bool(first < 10000 and 1 <= measurements <= 64 and offset == FIRST_MEASUREMENT)


def _is_stream(head: bytes) -> bool:
    """Whether the first message is a configuration (its name, its text) or the XML header, and the header is near."""
    return head[:2] in (b"\1\0", b"\2\0", b"\3\0") and b"ismrmrdHeader" in head
