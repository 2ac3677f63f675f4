import dataclasses

import pytest

from tests.conftest import SMALL
from tests.helpers import header_xml
from untrained_recon.errors import HeaderError, UnsupportedScanError
from untrained_recon.header import parse_header

XML = header_xml(dataclasses.replace(SMALL, shape=(60, 48)))


def test_values_of_a_scanner_like_header() -> None:
    header = parse_header(XML + b"\0")
    (encoding,) = header.encodings
    assert (encoding.encoded_shape, encoding.recon_shape, encoding.image_shape) == ((60, 96), (60, 48), (60, 48))
    assert encoding.recon_fov == (5.0, 300.0, 240.0)
    assert (encoding.center_y, encoding.counts.slice, encoding.separate_calibration) == (30, 2, False)
    assert (header.noise_bandwidth, header.protocol_name) == (0.79, "phantom")


def test_sparse_headers_get_documented_defaults() -> None:
    start, end = XML.index(b"<acquisitionSystemInformation>"), XML.index(b"</acquisitionSystemInformation>")
    sparse = XML[:start] + XML[end + len(b"</acquisitionSystemInformation>") :]
    start, end = sparse.index(b"<parallelImaging>"), sparse.index(b"</parallelImaging>")
    sparse = sparse[:start] + sparse[end + len(b"</parallelImaging>") :]
    header = parse_header(sparse)
    assert header.noise_bandwidth == 0.793
    assert (header.encodings[0].acceleration, header.encodings[0].separate_calibration) == (1.0, False)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (b"", "cannot be parsed"),
        (XML[:300], "cannot be parsed: unclosed token"),
        (b"<html/>", "cannot be parsed|has no <encoding>"),
        (XML.replace(b"<x>96</x>", b"<x>many</x>"), "many"),
        (XML.replace(b"<x>96</x>", b"<x>0</x>"), r"encoding\[0\]\.encodedSpace\.matrixSize\.x of the ISMRMRD header is 0"),
        (XML.replace(b"encodedSpace", b"encodedPlace"), "encodedPlace"),
    ],
)
def test_broken_headers_are_refused_with_the_place(xml: bytes, message: str) -> None:
    with pytest.raises(HeaderError, match=message):
        parse_header(xml)


def test_scans_of_other_kinds_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedScanError, match="radial"):
        parse_header(XML.replace(b"cartesian", b"radial"))
    bands = b"<multiband><spacing><dZ>10</dZ></spacing><deltaKz>1</deltaKz><multiband_factor>2</multiband_factor>"
    bands += b"<calibration>separable2D</calibration><calibration_encoding>0</calibration_encoding></multiband></parallelImaging>"
    with pytest.raises(UnsupportedScanError, match="2 slices are excited at once"):
        parse_header(XML.replace(b"</parallelImaging>", bands))


def test_three_dimensional_and_interleaved_encodings() -> None:
    xml = XML.replace(b"<z>1</z>", b"<z>9</z>", 1).replace(b"<z>1</z>", b"<z>7</z>", 1)
    (encoding,) = parse_header(xml).encodings
    assert (encoding.partitions, encoding.recon_partitions, encoding.center_z, encoding.interleaved) == (9, 7, 4, "")
    assert encoding.limits_z is None  # those of one partition in a matrix of nine: nobody set them
    start, end = xml.index(b"<kspace_encoding_step_2>"), xml.index(b"</kspace_encoding_step_2>")
    (silent,) = parse_header(xml[:start] + xml[end + len(b"</kspace_encoding_step_2>") :]).encodings
    assert silent.center_z == 4
    (tpat,) = parse_header(XML.replace(b"embedded", b"interleaved")).encodings
    assert tpat.interleaved == "repetition"
    named = XML.replace(b"embedded</calibrationMode>", b"interleaved</calibrationMode>PHASE")
    named = named.replace(b"PHASE", b"<interleavingDimension>phase</interleavingDimension>")
    assert parse_header(named).encodings[0].interleaved == "phase"
