"""Damaged streams: never a hang, never memory beyond the limit, always a named error."""

import random
import struct
import tracemalloc
from collections import deque
from collections.abc import Iterator
from typing import Any

import ismrmrd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gadgets.buckets import batches
from gadgets.buffers import kspaces_of
from gadgets.connection import GadgetConnection
from tests.conftest import SMALL
from tests.doubles.helpers import acquisition, header_xml, stream
from tests.doubles.streams import bucket_bytes, recon_data_bytes
from tests.fuzz import KINDS, one
from untrained_recon.config import ScanConfig
from untrained_recon.errors import ReconError
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.wire import ACQUISITION, BUCKET, CLOSE, IMAGE_ARRAY, RECON_DATA

XML = header_xml(SMALL)
HEADER = parse_header(XML)
LIMIT = 1 << 20
CASES = 3500  # of each of three kinds of input
DEADLINE_MS = 5000
RUNS = 12  # of each kind through the whole gadget; ``python -m tests.fuzz`` makes more
ABSURD = (2**63, 2**64 - 1, 2**62, 2**40, 2**32 - 1, 2**31, LIMIT, 65535, 0)

ONES = np.ones((2, 96), np.complex64)
LINES = [acquisition(ONES, n, slice=n % 2) for n in range(30, 36)]
WAVEFORM = ismrmrd.Waveform.from_array(np.ones((2, 5), np.uint32))


def recon_data() -> bytes:
    data = np.ones((48, 64, 1, 2, 1, 1, 2), np.complex64, order="F")
    headers = np.empty((64, 1, 1, 1, 2), object)
    for row, _, _, _, loc in np.ndindex(headers.shape):
        acquired = acquisition(ONES[:, :48], row, slice=loc)
        headers[row, 0, 0, 0, loc] = acquired.getHead() if row % 2 else ismrmrd.AcquisitionHeader()
    return recon_data_bytes(data, headers, (data[:, :16], headers[:16]))


def with_messages(*messages: bytes) -> bytes:
    return stream({"config": "fast"}, XML, [], close=False) + b"".join(messages) + struct.pack("<H", CLOSE)


STREAMS = {
    ACQUISITION: stream({"config": "fast"}, XML, [LINES[0], WAVEFORM, *LINES[1:]]),
    BUCKET: with_messages(bucket_bytes(LINES, LINES[:2], [WAVEFORM]), bucket_bytes(LINES[1:3], [])),
    RECON_DATA: with_messages(recon_data()),
}
START = STREAMS[ACQUISITION].index(b"</ismrmrdHeader>") + len(b"</ismrmrdHeader>")


class Wire:
    """A socket that hands out bytes in pieces of random size, then the end of the stream."""

    def __init__(self, data: bytes, seed: int) -> None:
        self._data, self._at, self._random = data, 0, random.Random(seed)
        self.sent = 0

    def recv(self, n: int) -> bytes:
        piece = self._data[self._at : self._at + self._random.choice((1, 2, 3, 7, 64, 4096, n))][:n]
        self._at += len(piece)
        return piece

    def sendall(self, data: bytes) -> None:
        self.sent += len(data)

    def settimeout(self, seconds: float | None) -> None:
        pass


def kspace_of(connection: GadgetConnection, kind: int) -> Iterator[Any]:
    connection.accept(kind)
    if kind == ACQUISITION:
        yield from assemble(([acq] for acq in connection), HEADER, ScanConfig())
    elif kind == BUCKET:
        yield from assemble(batches(connection), HEADER, ScanConfig())
    else:
        yield from kspaces_of(connection, HEADER, ScanConfig(), deque())


def consume(data: bytes, kind: int, seed: int) -> str:
    """Take a stream to its end as a gadget does; returns how it ended. Anything but a named error is let through."""
    connection = GadgetConnection(Wire(data, seed), LIMIT)  # type: ignore[arg-type]  # a double
    try:
        connection.open()
        for image in kspace_of(connection, kind):
            assert image.ksp.shape == (2, 64, 48)
            assert np.isfinite(image.ksp).all()
    except ReconError as error:
        connection.drain()
        return type(error).__name__
    return "images"


def damage(data: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    damaged = bytearray(data)
    for how, where, value in changes:
        first = 0 if value % 5 == 0 else START  # now and then in configuration and header, else in the data
        room = len(damaged) - first - 8
        if room <= 0:
            break
        at = first + int(where * room)
        if how == "flip":
            damaged[at] ^= 1 << (value % 8)
        elif how == "length":
            damaged[at : at + 8] = struct.pack("<Q", ABSURD[value % len(ABSURD)])
        elif how == "id":
            damaged[at : at + 2] = struct.pack("<H", value % 1100)
        elif how == "cut":
            del damaged[at : at + 1 + value % 400]
        else:
            del damaged[at:]
    return bytes(damaged)


CHANGES = st.lists(
    st.tuples(st.sampled_from(["flip", "length", "id", "cut", "end"]), st.floats(0, 1), st.integers(0, 2**16)),
    min_size=1,
    max_size=4,
)
FUZZ = settings(
    max_examples=CASES, deadline=DEADLINE_MS, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.parametrize("shape", [(0, 2**63), (2**62, 2**62, 0), (2**40, 2**40)])
def test_shapes_that_no_array_has_are_refused(shape: tuple[int, ...]) -> None:
    announced = struct.pack(f"<H{len(shape) + 1}Q", IMAGE_ARRAY, len(shape), *shape)
    assert consume(with_messages(announced + bytes(64)), BUCKET, 0) == "ProtocolError"


@pytest.mark.slow
@FUZZ
@given(CHANGES, st.integers(0, 2**16))
def test_damaged_acquisitions(changes: list[tuple[str, float, int]], seed: int) -> None:
    consume(damage(STREAMS[ACQUISITION], changes), ACQUISITION, seed)


@pytest.mark.slow
@FUZZ
@given(CHANGES, st.integers(0, 2**16))
def test_damaged_buckets(changes: list[tuple[str, float, int]], seed: int) -> None:
    consume(damage(STREAMS[BUCKET], changes), BUCKET, seed)


@FUZZ
@given(CHANGES, st.integers(0, 2**16))
def test_damaged_buffers(changes: list[tuple[str, float, int]], seed: int) -> None:
    consume(damage(STREAMS[RECON_DATA], changes), RECON_DATA, seed)


def test_sound_streams_make_images_however_they_are_split() -> None:
    for kind, data in STREAMS.items():
        assert {consume(data, kind, seed) for seed in range(5)} == {"images"}


def test_every_truncation_of_a_short_stream_is_a_named_error() -> None:
    data = STREAMS[ACQUISITION]
    places = [*range(0, START, 97), *range(START, START + 1500), *range(START, len(data), 37)]
    ends = {consume(data[:n], ACQUISITION, n) for n in places}
    assert ends == {"ProtocolError"}


def test_absurd_lengths_take_no_memory() -> None:
    header = bytearray(LINES[0].to_bytes())
    header[34:40] = struct.pack("<3H", 65535, 65535, 65535)  # samples, channels: 34 GB announced
    messages = [struct.pack("<H", ACQUISITION) + bytes(header)]
    messages += [struct.pack("<HQ", RECON_DATA, n) for n in ABSURD[:4]]
    messages += [struct.pack("<HQ9Q", RECON_DATA, 1, 7, *[n] * 8) for n in ABSURD[:6]]
    messages += [struct.pack("<H13Q", BUCKET, *[n] * 13) for n in ABSURD[:7]]
    tracemalloc.start()
    try:
        for message in messages:
            for kind in STREAMS:
                assert consume(with_messages(message), kind, 0) == "ProtocolError"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LIMIT


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_scan_ends_in_images_or_a_named_error(kind: str) -> None:
    outcomes = [one(kind, seed) for seed in range(RUNS)]
    assert not [outcome for outcome in outcomes if outcome.bad]
