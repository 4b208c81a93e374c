"""A door by itself, with a peer that speaks ZMTP by hand: whom it hears."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from dadms_ipc.envelope import BODY_LIMIT, Door
from dadmsd.bus.core.events import Forget, Received
from dadmsd.bus.doors import ECHO, Router
from tests.integration.bus.daemon import await_true

GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)  # ZeroMQ RFC 23
READY = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
BROKEN = b"\x01\x01\xc1\x00\x00"  # a message: a header that is none, and an empty body
SAID = 200  # messages: fewer than wait in libzmq for one connection, so that it has read them all, and the end, before anybody asks


@pytest.fixture
def door(short_path: Path) -> Iterator[Router]:
    """Give an open door."""
    context = zmq.Context(io_threads=len(Door))  # each door has one
    router = Router(context, Door.DATA, short_path / "data.sock", body_limit=BODY_LIMIT, ceiling=100, mode=0o600)
    yield router
    router.close()
    context.term()


def _say_and_go(door: Router) -> None:
    """Connect, say it all, and be gone before the door has looked."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(5.0)
        peer.connect(str(door.path))
        peer.sendall(GREETING + READY)
        heard = b""
        while b"READY" not in heard:
            heard += peer.recv(1000)
            assert heard
        await_true(lambda: not [*door.count()] and len(door.guests) == 1, "it is known")
        peer.sendall(BROKEN * SAID)
    await_true(lambda: not [*door.count()] and len(door.guests) == 0, "its end is known")


def _next(door: Router) -> Received:
    await_true(door.has_more, "a message")
    received = door.receive()
    assert received is not None
    return received


def test_what_is_left_of_a_connection_that_is_cut_after_its_end_is_dropped(door: Router) -> None:
    """It would be taken for the first words of another, as the door has forgotten who it was."""
    _say_and_go(door)
    first = _next(door)
    door.cut(first.peer.route, time.monotonic())
    door.forget(Forget(first.peer))
    while door.has_more():
        assert door.receive() is None
    assert [*door.execute(time.monotonic() + ECHO / 2)] == []
    assert door.next_cut() is not None
    assert [*door.execute(time.monotonic() + 2 * ECHO)] == []
    assert door.next_cut() is None


def test_what_is_left_of_one_that_was_not_cut_is_heard(door: Router) -> None:
    """Its last words count, however soon it went."""
    _say_and_go(door)
    route = _next(door).peer.route
    assert [_next(door).peer.route for _ in range(SAID - 1)] == [route] * (SAID - 1)
