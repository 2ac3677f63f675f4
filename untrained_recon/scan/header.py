"""The ISMRMRD XML header: reduced to what reconstruction needs and checked before any data arrive."""

from typing import Any, NamedTuple

from untrained_recon.encoding import Encoding, Header, ImageIndex, Measurement, StepLimits
from untrained_recon.errors import HeaderError, ReconError, UnsupportedScanError
from untrained_recon.scan.document import Notes, read_document

DEFAULT_NOISE_BANDWIDTH = 0.793  # Gadgetron's assumption where the header does not say
SEPARATE_MODES = ("separate", "external")
LARGEST = 65536  # ISMRMRD's matrices and counters have 16 bits
SHORTEST_MM = 1e-4
MOST_SAMPLES = 1 << 28  # of a matrix: 2 GiB for each coil
MOST_SHOWN = 8

Triple = tuple[float, float, float]


def parse_header(xml: bytes) -> Header:
    """Parse an ISMRMRD XML header, and check what reconstruction takes from it.

    What it does not need may be missing or senseless, and is named in ``remarks``. An encoding space that cannot be used is
    refused with the first readout that refers to it, as there may be none.

    Args:
        xml: The document; NUL bytes around it are ignored, as some hosts append one.

    Raises:
        HeaderError: Not XML, not an ISMRMRD header, or a needed value missing or senseless in every encoding space.
        UnsupportedScanError: Non-Cartesian or multi-band encoding.
    """
    document, notes = read_document(xml)
    if not document.encoding:
        raise HeaderError("the ISMRMRD header has no <encoding>")
    remarks: list[str] = []
    encodings = [_encoding_or_refusal(e, f"encoding[{n}]", notes, remarks) for n, e in enumerate(document.encoding)]
    refusals = [encoding.refusal for encoding in encodings if encoding.refusal is not None]
    if len(refusals) == len(encodings):
        raise refusals[0]
    remarks += [f"{refusal}; a readout of this encoding space would be refused" for refusal in refusals]
    bandwidth = getattr(document.acquisitionSystemInformation, "relativeReceiverNoiseBandwidth", None) or 0.0
    return Header(
        encodings=tuple(encodings),
        noise_bandwidth=bandwidth if 1e-3 < bandwidth < 1e3 else DEFAULT_NOISE_BANDWIDTH,
        protocol_name=getattr(document.measurementInformation, "protocolName", None) or "",
        diffusion=bool(getattr(document.sequenceParameters, "diffusion", None)),
        remarks=tuple(remarks + _left_out(notes)),
        measurement=Measurement(
            measurement_id=getattr(document.measurementInformation, "measurementID", None) or "",
            patient_position=getattr(getattr(document.measurementInformation, "patientPosition", None), "value", ""),
        ),
    )


def parse_document(xml: bytes) -> Any:
    """The document as ``ismrmrd.xsd`` binds it; what of it could not be read is None, be it required or not.

    Raises:
        HeaderError: It is not an ISMRMRD header.
    """
    return read_document(xml)[0]


class _Space(NamedTuple):
    """An ``encodedSpace`` or ``reconSpace``, both ``(x, y, z)``; a field of view along z that is not given is 0."""

    matrix: tuple[int, int, int]
    fov: Triple


class _Limit(NamedTuple):
    minimum: int
    maximum: int
    center: int | None


def _left_out(notes: Notes) -> list[str]:
    """What could not be read or not as it stands, in one line."""
    if not notes:
        return []
    named = "; ".join(f"{path} is {note}" for path, note in list(notes.items())[:MOST_SHOWN])
    more = f"; and {len(notes) - MOST_SHOWN} more" if len(notes) > MOST_SHOWN else ""
    return [f"in the ISMRMRD header, {named}{more}"]


def _encoding_or_refusal(e: Any, where: str, notes: Notes, remarks: list[str]) -> Encoding:
    try:
        return _encoding(e, where, notes, remarks)
    except ReconError as error:
        none = ImageIndex(*[0] * len(ImageIndex._fields))
        return Encoding((1, 1), (1, 1), (0.0, 1.0, 1.0), (0.0, 1.0, 1.0), 0, none, False, 1.0, refusal=error)


def _encoding(e: Any, where: str, notes: Notes, remarks: list[str]) -> Encoding:
    _require_cartesian(e, where, notes)
    encoded = _space(e.encodedSpace, f"{where}.encodedSpace", notes)
    recon = encoded if e.reconSpace is None else _space(e.reconSpace, f"{where}.reconSpace", notes)
    n_x, n_y, n_z = encoded.matrix
    step_1, step_2 = (_limit(e, f"kspace_encoding_step_{n}") for n in (1, 2))
    if n_z > 1:
        for space in ("encodedSpace", "reconSpace"):
            _needed(getattr(e, space) or e.encodedSpace, "fieldOfView_mm", "z", f"{where}.{space}", notes)
    _require_memory((n_x, n_y, n_z), encoded, recon, where)
    mode = getattr(getattr(e.parallelImaging, "calibrationMode", None), "value", None)
    factor = getattr(getattr(e.parallelImaging, "accelerationFactor", None), "kspace_encoding_step_1", None) or 1
    return Encoding(
        encoded_shape=(n_y, n_x),
        recon_shape=(recon.matrix[1], recon.matrix[0]),
        encoded_fov=_fov(encoded, recon),
        recon_fov=_fov(recon, encoded),
        center_y=_center(step_1, n_y, f"{where}.encodingLimits.kspace_encoding_step_1", remarks),
        counts=ImageIndex(1, *(_count(_limit(e, name)) for name in ImageIndex._fields[1:])),
        separate_calibration=mode in SEPARATE_MODES,
        acceleration=float(max(factor, 1)),
        partitions=n_z,
        recon_partitions=recon.matrix[2] if n_z > 1 else 1,
        center_z=0 if n_z == 1 else _center(step_2, n_z, f"{where}.encodingLimits.kspace_encoding_step_2", remarks),
        interleaved=_interleaving(e.parallelImaging) if mode == "interleaved" else "",
        limits_y=_steps(step_1),
        limits_z=_steps(step_2),
    )


def _require_cartesian(e: Any, where: str, notes: Notes) -> None:
    """A trajectory that is not given is Cartesian. Raises UnsupportedScanError."""
    trajectory = "" if e.trajectory is None else e.trajectory.value
    unknown = notes.get(f"{where}.trajectory", "empty")
    if trajectory not in ("", "cartesian") or (not trajectory and unknown != "empty"):
        raise UnsupportedScanError(f"{where}: trajectory {trajectory or unknown}; only Cartesian scans are reconstructed")
    bands = getattr(getattr(e.parallelImaging, "multiband", None), "multiband_factor", None) or 1
    if bands > 1:
        raise UnsupportedScanError(f"{where}: {bands} slices are excited at once; multi-band scans are not reconstructed")


def _require_memory(matrix: tuple[int, int, int], encoded: _Space, recon: _Space, where: str) -> None:
    """Raises HeaderError where an image would not fit into memory by a wide margin."""
    acquired = delivered = 1.0
    for axis, n in enumerate(matrix):
        widened = recon.fov[axis] / encoded.fov[axis] if n > 1 else 1.0
        acquired *= n * max(1.0, widened)
        delivered *= recon.matrix[axis] if n > 1 else 1
    if max(acquired, delivered) > MOST_SAMPLES:
        raise HeaderError(
            f"{where} of the ISMRMRD header: a matrix of {matrix} over {encoded.fov} mm, delivered as {recon.matrix} over "
            f"{recon.fov} mm, is too large"
        )


def _center(limit: _Limit | None, n: int, where: str, remarks: list[str]) -> int:
    """The step of the centre of k-space along an axis of n, the middle one where the header is silent.

    It is silent without the limit or its centre, where that lies outside the limits, and if it is 0 while the steps are none or all
    of 0 … n - 1, as writers leave it that set no limits, or no centre: those steps fit the matrix about ``n // 2`` only.
    """
    if limit is None:
        return n // 2
    if limit.center is None or (limit.center == limit.minimum == 0 and limit.maximum in (0, n - 1)):
        if n > 1:
            given = "missing" if limit.center is None else limit.center
            remarks.append(f"{where}.center is {given}; taken to be {n // 2}, the middle of the matrix")
        return n // 2
    if limit.maximum > limit.minimum and not limit.minimum <= limit.center <= limit.maximum:
        remarks.append(f"{where}.center is {limit.center}, outside its limits; taken to be {n // 2}, the middle of the matrix")
        return n // 2
    return limit.center


def _steps(limit: _Limit | None) -> StepLimits | None:
    """Minimum and maximum; None where they name one step, as writers leave it that set no limits."""
    return None if limit is None or limit.maximum <= limit.minimum else (limit.minimum, limit.maximum)


def _interleaving(parallel: Any) -> str:
    """The counter over which undersampling is interleaved; repetitions where the header does not name one."""
    dimension = getattr(parallel.interleavingDimension, "value", None)
    return dimension if dimension in ImageIndex._fields else "repetition"


def _space(space: Any, where: str, notes: Notes) -> _Space:
    if space is None:
        parent = where.rpartition(".")[0]
        others = [path for path, note in notes.items() if note == "unknown" and path.rpartition(".")[0] == parent]
        raise HeaderError(f"{where} of the ISMRMRD header is missing" + (f"; unknown is {', '.join(others)}" if others else ""))
    x, y = (int(_needed(space, "matrixSize", axis, where, notes)) for axis in "xy")
    fov_x, fov_y = (_needed(space, "fieldOfView_mm", axis, where, notes) for axis in "xy")
    z = getattr(space.matrixSize, "z", None) or 1
    fov_z = getattr(space.fieldOfView_mm, "z", None) or 0.0
    return _Space((x, y, z if 0 < z < LARGEST else 1), (fov_x, fov_y, fov_z if SHORTEST_MM <= fov_z < LARGEST else 0.0))


def _needed(space: Any, element: str, axis: str, where: str, notes: Notes) -> float:
    value = getattr(getattr(space, element), axis, None)
    place = f"{where}.{element}.{axis}"
    if value is None:
        note = notes.get(place) or notes.get(place.removesuffix(f".{axis}")) or "missing"
        raise HeaderError(f"{place} of the ISMRMRD header is {note}; it must be a positive number")
    if not (1 if element == "matrixSize" else SHORTEST_MM) <= value < LARGEST:
        raise HeaderError(f"{place} of the ISMRMRD header is {value}; it must be positive, and below {LARGEST}")
    return float(value)


def _fov(space: _Space, other: _Space) -> Triple:
    """``(z, y, x)``; the thickness is the other space's where this one has none, and 0 where neither has."""
    return space.fov[2] or other.fov[2], space.fov[1], space.fov[0]


def _limit(e: Any, name: str) -> _Limit | None:
    limit = getattr(e.encodingLimits, name, None)
    if limit is None:
        return None
    minimum, maximum = (min(max(value or 0, 0), LARGEST - 1) for value in (limit.minimum, limit.maximum))
    return _Limit(minimum, maximum, limit.center)


def _count(limit: _Limit | None) -> int:
    return 1 if limit is None else limit.maximum + 1
