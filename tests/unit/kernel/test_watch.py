"""Descriptors that the kernel's loop looks at: who is called for which, and what is left of one that was let go of."""

import os
import socket
from collections.abc import Iterator

import pytest

from dadmsd.kernel.watch import READ, WRITE, Watch


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def said(watch: Watch, seconds: float | None = 0.0) -> list[str]:
    """Wait, and call who is to be called."""
    return [read(mask) for read, mask in watch.wait(seconds)]


def test_who_has_something_to_read_is_called_and_nobody_else(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    watch = Watch()
    watch.see(ours, lambda mask: f"ours {mask & READ}")
    watch.see(theirs, lambda mask: f"theirs {mask & READ}")
    assert said(watch) == []
    theirs.send(b".")
    assert said(watch, None) == [f"ours {READ}"]


def test_room_to_write_is_told_to_those_who_wait_for_it(ends: tuple[socket.socket, socket.socket]) -> None:
    watch = Watch()
    watch.see(ends[0], lambda mask: f"{mask & WRITE}", is_written=True)
    assert said(watch) == [f"{WRITE}"]
    watch.see(ends[0], lambda mask: f"{mask & WRITE}")
    assert said(watch) == []


def test_what_was_let_go_of_is_not_told_though_a_duplicate_is_open(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    watch = Watch()
    watch.see(ours, lambda _mask: "ours")
    duplicate = os.dup(ours.fileno())
    try:
        watch.forget(ours)
        watch.forget(ours)
        ours.close()
        watch.forget(ours)
        theirs.send(b".")
        assert said(watch) == []
    finally:
        os.close(duplicate)


def test_one_that_closed_its_end_is_told_to_its_reader(ends: tuple[socket.socket, socket.socket]) -> None:
    watch = Watch()
    watch.see(ends[0], lambda _mask: "ours")
    ends[1].close()
    assert said(watch, None) == ["ours"]
