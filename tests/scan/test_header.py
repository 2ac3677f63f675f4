import dataclasses
import re
from collections.abc import Callable

import pytest

from tests.conftest import SMALL
from tests.doubles.helpers import header_xml
from untrained_recon.errors import HeaderError, UnsupportedScanError
from untrained_recon.scan.header import parse_document, parse_header

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


def limits(name: str, **values: int) -> bytes:
    """A limit with what is given."""
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in values.items())
    return f"<{name}>{inner}</{name}>".encode()


def with_limits(xml: bytes, name: str, replacement: bytes) -> bytes:
    start, end = xml.index(f"<{name}>".encode()), xml.index(f"</{name}>".encode())
    return xml[:start] + replacement + xml[end + len(name) + 3 :]


VOLUME = XML.replace(b"<z>1</z>", b"<z>9</z>", 1).replace(b"<z>1</z>", b"<z>7</z>", 1)
STEP_1, STEP_2 = "kspace_encoding_step_1", "kspace_encoding_step_2"


def test_three_dimensional_and_interleaved_encodings() -> None:
    xml = with_limits(VOLUME, STEP_2, limits(STEP_2, minimum=0, maximum=5, center=2))
    (encoding,) = parse_header(xml).encodings
    assert (encoding.partitions, encoding.recon_partitions, encoding.center_z, encoding.interleaved) == (9, 7, 2, "")
    assert (encoding.limits_y, encoding.limits_z) == ((0, 59), (0, 5))
    (silent,) = parse_header(with_limits(VOLUME, STEP_2, b"")).encodings
    assert (silent.center_z, silent.limits_z) == (4, None)
    (tpat,) = parse_header(XML.replace(b"embedded", b"interleaved")).encodings
    assert tpat.interleaved == "repetition"
    named = XML.replace(b"embedded</calibrationMode>", b"interleaved</calibrationMode>PHASE")
    named = named.replace(b"PHASE", b"<interleavingDimension>phase</interleavingDimension>")
    assert parse_header(named).encodings[0].interleaved == "phase"


@pytest.mark.parametrize(
    ("limit", "center", "remark"),
    [
        (b"", 4, ""),
        (limits(STEP_2, minimum=0, maximum=8), 4, "center is missing; taken to be 4"),
        (limits(STEP_2, minimum=0, maximum=0, center=0), 4, "center is 0; taken to be 4"),
        (limits(STEP_2, minimum=0, maximum=8, center=0), 4, "center is 0; taken to be 4"),
        (limits(STEP_2, minimum=0, maximum=6, center=0), 0, ""),
        (limits(STEP_2, minimum=0, maximum=8, center=3), 3, ""),
    ],
    ids=["no limits", "no centre", "left at 0", "all steps about 0", "some steps about 0", "given"],
)
def test_a_centre_that_is_not_given_is_that_of_the_matrix(limit: bytes, center: int, remark: str) -> None:
    header = parse_header(with_limits(VOLUME, STEP_2, limit))
    assert (header.encodings[0].partitions, header.encodings[0].center_z) == (9, center)
    assert remark in " ".join(header.remarks)
    assert bool(remark) == bool(header.remarks)


def before(element: bytes, addition: bytes) -> Callable[[bytes], bytes]:
    return lambda xml: xml.replace(element, addition + element, 1)


def instead(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda xml: xml.replace(old, new)


END = b"</ismrmrdHeader>"
SYSTEM = b"<acquisitionSystemInformation>"
HARMLESS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a frequency with decimals": (instead(b">123200000<", b">123200000.4<"), "Hz is '123200000.4', read as 123200000"),
    "no number for a frequency": (instead(b">123200000<", b">NaN<"), "experimentalConditions.H1resonanceFrequency_Hz is 'NaN'"),
    "no experimental conditions": (
        lambda xml: re.sub(rb"<experimentalConditions>.*</experimentalConditions>", b"", xml, flags=re.DOTALL),
        "",
    ),
    "a date of dashes": (before(SYSTEM, b"<studyInformation><studyDate>--</studyDate></studyInformation>"), "studyDate is '--'"),
    "a short time": (before(SYSTEM, b"<studyInformation><studyTime>12:30</studyTime></studyInformation>"), "studyTime is '12:30'"),
    "no patient position": (instead(b"<patientPosition>HFS</patientPosition>", b""), ""),
    "an unknown patient position": (instead(b">HFS<", b">supine<"), "measurementInformation.patientPosition is 'supine'"),
    "a train without length": (before(b"</encoding>", b"<echoTrainLength/>"), "encoding[0].echoTrainLength is empty"),
    "echo times": (before(b"<flipAngle_deg>", b"<TE>NaN</TE>"), "TE[1] is 'NaN'"),
    "a parameter of another type": (
        before(END, b"<userParameters><userParameterLong><name>a</name><value>true</value></userParameterLong></userParameters>"),
        "userParameters.userParameterLong[0].value is 'true'",
    ),
    "parameters within parameters": (
        before(END, b"<userParameters><userParameters/></userParameters>"),
        "userParameters.userParameters is unknown",
    ),
    "an unknown element": (before(END, b"<siteExtension><a/></siteExtension>"), "siteExtension is unknown"),
    "a unit": (instead(b">2.89<", b">3T<"), "systemFieldStrength_T is '3T'"),
    "a label without a number": (before(b"<receiverChannels>", b"<coilLabel><coilName>H</coilName></coilLabel>"), ""),
    "no acceleration along z": (instead(b"<kspace_encoding_step_2>1</kspace_encoding_step_2>", b""), ""),
    "an acceleration with decimals": (instead(b"<kspace_encoding_step_1>2<", b"<kspace_encoding_step_1>2.0<"), "'2.0', read as 2"),
    "an unknown calibration": (instead(b">embedded<", b">tgrappa<"), "calibrationMode is 'tgrappa'"),
    "a trajectory in capitals": (instead(b">cartesian<", b">Cartesian<"), ""),
    "no trajectory": (instead(b"<trajectory>cartesian</trajectory>", b""), ""),
    "no thickness": (instead(b"<z>5.0</z>", b"<z/>"), "fieldOfView_mm.z is empty"),
    "no partitions": (instead(b"<z>1</z>", b"<z></z>"), "matrixSize.z is empty"),
    "nearly whole": (instead(b"<z>1</z>", b"<z>0.9996</z>"), "matrixSize.z is '0.9996', read as 1"),
    "sizes with decimals": (instead(b"<x>96</x>", b"<x>96.0</x>"), "matrixSize.x is '96.0', read as 96"),
    "a version": (before(b"<experimentalConditions>", b"<version>3</version>"), ""),
    "twice": (before(b"<trajectory>", b"<trajectory>cartesian</trajectory>"), "trajectory is there 2 times"),
    "another order": (
        lambda xml: xml.replace(b"<trajectory>cartesian</trajectory>", b"").replace(
            b"<encoding>", b"<encoding><trajectory>cartesian</trajectory>"
        ),
        "",
    ),
    "a prefix": (
        lambda xml: re.sub(rb"<(/?)(?=[a-zA-Z])", rb"<\1m:", xml).replace(b"xmlns=", b"xmlns:m="),
        "",
    ),
    "no namespace": (lambda xml: re.sub(rb' xmlns="[^"]*"', b"", xml), ""),
    "a space without a matrix": (
        before(END, b"<encoding><encodedSpace/></encoding>"),
        "matrixSize.x of the ISMRMRD header is missing",
    ),
    "a space with a spiral": (
        before(END, b"<encoding><trajectory>spiral</trajectory></encoding>"),
        "encoding[1]: trajectory spiral; only Cartesian scans are reconstructed; a readout of this encoding space would be refused",
    ),
}


@pytest.mark.parametrize(("change", "remark"), HARMLESS.values(), ids=list(HARMLESS))
def test_what_reconstruction_does_not_need_may_be_wrong(change: Callable[[bytes], bytes], remark: str) -> None:
    plain, changed = parse_header(XML), change(XML)
    assert changed != XML
    header = parse_header(changed)
    thick = (encoding.__dict__ | {"encoded_fov": None, "recon_fov": None} for encoding in (plain.encodings[0], header.encodings[0]))
    assert len({str(encoding) for encoding in thick}) == 1
    assert [fov[1:] for fov in (header.encodings[0].encoded_fov, header.encodings[0].recon_fov)] == [(300.0, 480.0), (300.0, 240.0)]
    assert remark in "; ".join(header.remarks)
    assert bool(remark) == bool(header.remarks)


NEEDED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "fov empty": (instead(b"<x>480.0</x>", b"<x/>"), "encodedSpace.fieldOfView_mm.x of the ISMRMRD header is empty"),
    "fov NaN": (instead(b"<x>240.0</x>", b"<x>NaN</x>"), "reconSpace.fieldOfView_mm.x of the ISMRMRD header is 'NaN'"),
    "fov tiny": (instead(b"<x>240.0</x>", b"<x>1e-300</x>"), "reconSpace.fieldOfView_mm.x of the ISMRMRD header is 1e-300"),
    "fov infinite": (instead(b"<x>240.0</x>", b"<x>1e999</x>"), "reconSpace.fieldOfView_mm.x of the ISMRMRD header is '1e999'"),
    "fov missing": (
        lambda xml: re.sub(rb"<fieldOfView_mm>.*?</fieldOfView_mm>", b"", xml, count=1, flags=re.DOTALL),
        "encodedSpace.fieldOfView_mm.x of the ISMRMRD header is missing",
    ),
    "lines empty": (instead(b"<y>60</y>", b"<y></y>"), "matrixSize.y of the ISMRMRD header is empty"),
    "lines with decimals": (instead(b"<y>60</y>", b"<y>60.5</y>"), "matrixSize.y of the ISMRMRD header is '60.5'"),
    "lines negative": (instead(b"<y>60</y>", b"<y>-60</y>"), "matrixSize.y of the ISMRMRD header is -60"),
    "lines in words": (instead(b"<y>60</y>", b"<y>sixty</y>"), "matrixSize.y of the ISMRMRD header is 'sixty'"),
    "far too large": (lambda xml: re.sub(rb">(96|60|48)<", b">65000<", xml), "is too large"),
    "far too fine": (instead(b"<x>480.0</x>", b"<x>0.001</x>"), "is too large"),
    "trajectory": (instead(b">cartesian<", b">stack of stars<"), "trajectory 'stack of stars'; only Cartesian"),
}


@pytest.mark.parametrize(("change", "message"), NEEDED.values(), ids=list(NEEDED))
def test_what_reconstruction_needs_is_named(change: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises((HeaderError, UnsupportedScanError), match=re.escape(message)):
        parse_header(change(XML))


def test_without_a_space_to_deliver_it_is_the_encoded_one() -> None:
    bare = re.sub(rb"<(reconSpace|encodingLimits|parallelImaging)>.*</\1>", b"", XML, flags=re.DOTALL)
    (encoding,) = parse_header(bare).encodings
    assert (encoding.recon_shape, encoding.recon_fov) == ((60, 96), (5.0, 300.0, 480.0))
    assert (encoding.center_y, encoding.limits_y, encoding.acceleration) == (30, None, 1.0)
    assert set(encoding.counts) == {1}


TEXT = XML.decode()
ENCODINGS: dict[str, bytes] = {
    "byte order mark": b"\xef\xbb\xbf" + XML,
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16 without a mark": TEXT.encode("utf-16-le") + b"\0\0",
    "declared as UTF-16, stored as UTF-8": TEXT.replace('"ascii"', '"UTF-16"').replace("phantom", "Schädel").encode(),
    "declared as Latin-1": TEXT.replace('"ascii"', '"ISO-8859-1"').replace("phantom", "Schädel").encode("latin-1"),
    "declared as ASCII, stored as Latin-1": TEXT.replace("phantom", "Schädel").encode("latin-1"),
    "declared as nonsense": TEXT.replace('"ascii"', '"nonsense"').encode(),
    "another version": TEXT.replace('version="1.0"', 'version="1.1"').encode(),
    "blanks before it": b"\n  " + XML,
    "NUL after it": XML + bytes(9),
}


@pytest.mark.parametrize("xml", ENCODINGS.values(), ids=list(ENCODINGS))
def test_the_text_may_be_stored_in_any_encoding(xml: bytes) -> None:
    header = parse_header(xml)
    assert header.encodings == parse_header(XML).encodings
    assert header.protocol_name in ("phantom", "Schädel")
    assert not header.remarks


def test_values_of_the_patient_stay_out_of_logs() -> None:
    private = b"<subjectInformation><patientBirthdate>May 1970</patientBirthdate></subjectInformation>"
    (remark,) = parse_header(before(SYSTEM, private)(XML)).remarks
    assert "subjectInformation.patientBirthdate is of an unknown form" in remark
    assert "1970" not in remark


def test_documents_have_none_where_nothing_could_be_read() -> None:
    document = parse_document(instead(b">HFS<", b">supine<")(XML))
    assert document.measurementInformation.patientPosition is None
    assert document.measurementInformation.protocolName == "phantom"
    assert parse_document(XML).measurementInformation.patientPosition.value == "HFS"
    assert parse_document(b"<ismrmrdHeader/>").measurementInformation is None


def test_a_centre_outside_its_limits_is_the_middle() -> None:
    header = parse_header(with_limits(XML, STEP_1, limits(STEP_1, minimum=0, maximum=63, center=99)))
    n_y = header.encodings[0].encoded_shape[0]
    assert header.encodings[0].center_y == n_y // 2
    assert any("center is 99, outside its limits" in remark for remark in header.remarks)
