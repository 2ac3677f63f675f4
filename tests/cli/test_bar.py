"""Bars on a terminal, and nothing elsewhere."""

import pytest

from untrained_recon.cli.bar import Bar, duration


def test_a_terminal_shows_counts_and_the_time_left(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    now = iter([10.0, 30.0, 50.0, 51.0])
    with Bar("images") as bar:
        monkeypatch.setattr("untrained_recon.cli.bar.monotonic", lambda: next(now))
        bar.count(4, 10)  # were there before
        bar.count(5, 10)
        assert bar.note == "about 2 min left"
        bar.count(10, 10)
        assert bar.note == ""
        bar.count(0, 3)
        assert bar.note == ""
    out, err = capfd.readouterr()
    assert out == ""
    assert "images" in err


def test_elsewhere_there_is_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Bar("images") as bar:
        bar.count(1, 2)
    assert capfd.readouterr() == ("", "")


def test_durations_are_in_a_unit_that_suits_them() -> None:
    assert [duration(seconds) for seconds in (4.4, 600, 7200)] == ["4 s", "10 min", "2.0 h"]
