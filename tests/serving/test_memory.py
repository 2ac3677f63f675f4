"""Memory is planned before it is taken, from counts as products, and refused by name."""

import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ismrmrd
import numpy as np
import pytest

from tests.conftest import SMALL
from tests.doubles.helpers import acquisition, header_xml, read_raw
from untrained_recon.config import ScanConfig
from untrained_recon.encoding import Header
from untrained_recon.errors import ScanTooLargeError, ServiceBusyError
from untrained_recon.memory import usable_memory
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.serving.memory import Budget, image_bytes
from untrained_recon.serving.session import Session

MIB = 1 << 20
HUGE = header_xml(SMALL)
for small, huge in ((b"<x>96<", b"<x>16000<"), (b"<y>64<", b"<y>8000<"), (b"<x>48<", b"<x>8000<")):
    HUGE = HUGE.replace(small, huge)


@pytest.fixture
def header() -> Header:
    return parse_header(header_xml(SMALL))


def test_a_header_that_asks_for_too_much_is_refused_before_any_data() -> None:
    with Budget(1 << 30).account() as account, pytest.raises(ScanTooLargeError, match=r"1 coils, 1 x 8000 x 16000 encoded"):
        Session(HUGE, {}, account)


def test_coils_count_too(header: Header) -> None:
    budget = Budget(image_bytes(header.encodings[0], 4))
    with budget.account() as account:
        session = Session(header_xml(SMALL), {}, account)
        readout = acquisition(np.ones((5, 96), np.complex64), 0)
        with pytest.raises(ScanTooLargeError, match=r"an image of 5 coils.*serve --scan-memory"):
            list(session.assemble([[readout]]))
    assert budget.taken == 0


def test_readouts_that_never_make_an_image_are_bounded(header: Header) -> None:
    budget = Budget(4 * MIB)
    readout = acquisition(np.ones((4, 96), np.complex64), 0)
    with budget.account() as account:
        session = Session(header_xml(SMALL), {}, account)
        with pytest.raises(ScanTooLargeError, match="readout"):
            list(session.assemble([readout] for _ in range(10_000)))


def test_a_scan_takes_no_more_for_many_images_than_for_one(small_scan: Path) -> None:
    xml, acquisitions = read_raw(small_scan)
    one = [acq for acq in acquisitions[1:] if acq.idx.slice == 0]
    budget = Budget(8 * MIB)
    with budget.account() as account:
        session = Session(xml, {}, account)

        def many() -> Iterator[list[ismrmrd.Acquisition]]:
            for repetition in range(50):
                for acq in one:
                    acq.idx.repetition = repetition
                    yield [acq]

        assert sum(1 for _ in session.assemble(many())) == 50
    assert budget.taken == 0


def test_the_plan_holds_what_gridding_takes(header: Header) -> None:
    for shape in ((256, 192), (64, 512)):
        simulation = replace(SMALL, shape=shape, coils=8)
        header = parse_header(header_xml(simulation))
        encoding = header.encodings[0]
        line = np.ones((8, encoding.encoded_shape[1]), np.complex64)
        noise = acquisition(np.random.default_rng(0).standard_normal((8, 4096)).astype(np.complex64), flags=[19])
        lines = [noise, *(acquisition(line, n) for n in range(shape[0]))]
        tracemalloc.start()
        try:
            (image,) = assemble([lines], header, ScanConfig())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert image.ksp.nbytes < peak < image_bytes(encoding, 8)


def test_a_scan_waits_for_memory_of_others_and_is_refused_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget(100, 80)
    with budget.account() as first, budget.account() as second:
        first.take(60, "a")
        assert not second.try_take(50)
        monkeypatch.setattr("untrained_recon.serving.memory.PATIENCE_S", 0.05)
        with pytest.raises(ServiceBusyError, match="serve --memory"):
            second.take(50, "b")
        monkeypatch.setattr("untrained_recon.serving.memory.PATIENCE_S", 30.0)
        threading.Timer(0.1, first.give, [60]).start()
        second.take(50, "b")
    assert budget.taken == 0


def test_the_machines_memory_is_known() -> None:
    assert 100 * MIB < usable_memory() < 1 << 50
