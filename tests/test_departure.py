"""Hosts that leave are noticed, those that stay are not taken for others."""

import socket
import threading

from gadgets.departure import Departures


def test_a_host_that_closes_has_left_and_others_have_not() -> None:
    departures, left = Departures(), threading.Event()
    ours, theirs = socket.socketpair()
    stays, other = socket.socketpair()
    with ours, stays, other, departures.watched(stays, lambda: other.sendall(b"?")), departures.watched(ours, left.set):
        theirs.sendall(b"the rest of its data")
        assert not left.wait(0.5)
        theirs.close()
        assert left.wait(5.0)
        stays.setblocking(False)
        assert stays.fileno() > 0
    departures.close()


def test_numbers_of_closed_connections_are_used_again_without_harm() -> None:
    departures, wrong = Departures(), threading.Event()
    for _ in range(300):
        ours, theirs = socket.socketpair()
        with departures.watched(ours, lambda: None):
            theirs.close()
        ours.close()
        ours, theirs = socket.socketpair()
        with departures.watched(ours, wrong.set):
            pass
        ours.close()
        theirs.close()
    departures.close()
    assert not wrong.is_set()
