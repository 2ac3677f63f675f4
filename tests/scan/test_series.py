import ismrmrd
import numpy as np
import pytest

from untrained_recon.config import load_config
from untrained_recon.scan.series import PER_ENCODING, SERIES, counters_of, expected_series, possible_series, series_index, series_of


def test_numbers_are_their_own_and_leave_room_for_the_next_encoding_space() -> None:
    numbers = [series.number for series in SERIES.values()]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= number < PER_ENCODING for number in numbers)
    assert next(iter(SERIES)) == "magnitude"  # whose brightness is every other series'


def test_what_was_asked_for_is_expected_and_evidence_may_be_missing() -> None:
    assert expected_series(load_config("fast")) == possible_series(load_config("fast")) == ["magnitude"]
    more = load_config(
        "fast",
        {"output.complex": "true", "output.phase": "true", "recon.runs": "2", "evidence.spread": "true", "evidence.replicas": "4"},
    )
    assert expected_series(more) == ["magnitude", "complex", "phase"]
    assert possible_series(more) == ["magnitude", "complex", "spread", "noise", "phase"]


@pytest.mark.parametrize("kind", SERIES)
def test_an_image_is_known_by_its_series_index(kind: str) -> None:
    pixels = np.zeros((2, 2), np.float32)
    image = ismrmrd.Image.from_array(pixels, transpose=False, slice=3, image_series_index=series_index(kind, 2))
    assert series_of(image) is SERIES[kind]
    assert (counters_of(image).encoding, counters_of(image).slice) == (2, 3)
