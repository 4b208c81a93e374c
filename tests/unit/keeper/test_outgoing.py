"""What waits for a server that does not read, over a real channel."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from dadms_ipc import channel as channels
from dadmsd.keeper import messages
from dadmsd.keeper.outgoing import Outgoing


class Line:
    """A channel of which one end is fed and the other is read."""

    def __init__(self) -> None:
        near, far = channels.pair()
        self.near: channels.Channel[Any] = channels.Channel(near, messages.FromKernel)
        self.far: channels.Channel[Any] = channels.Channel(far, messages.FromKeeper)
        self.entries: dict[str, Sequence[int]] = {}
        self.outgoing = Outgoing(lambda name: self.entries.get(name, ()))

    def read(self) -> list[tuple[Any, int]]:
        """Feed and read until nothing is left: bodies and counts of descriptors."""
        found: list[tuple[Any, int]] = []
        while True:
            self.outgoing.feed(self.near)
            frame = self.far.receive()
            if frame is None:
                return found
            for fd in frame.fds:
                os.close(fd)
            found.append((frame.body, len(frame.fds)))


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.outgoing.close()
    made.near.close()
    made.far.close()


def test_newer_news_about_a_subject_replaces_what_was_not_sent(line: Line) -> None:
    for restarts in range(1000):
        line.outgoing.put("bus", messages.ServerChanged("bus", 1, restarts, True))
    assert len(line.outgoing) == 1
    assert line.read() == [(messages.ServerChanged("bus", 1, 999, True), 0)]


def test_a_replaced_link_closes_its_descriptor(line: Line) -> None:
    (first, first_far), (second, second_far) = os.pipe(), os.pipe()
    line.outgoing.put("bus", messages.Linked("bus", 1), first)
    line.outgoing.put("bus", messages.Linked("bus", 2), second)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(first)
    assert line.read() == [(messages.Linked("bus", 2), 1)]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(second)
    os.close(first_far)
    os.close(second_far)


def test_an_entry_is_looked_up_when_its_turn_comes_and_skipped_when_it_is_gone(line: Line) -> None:
    line.entries["v1/port/2"] = (0,)
    for name in ("v1/port/1", "v1/port/2"):
        line.outgoing.put(name, messages.Stored(name))
    line.outgoing.put("", messages.StoreSent(0))
    assert line.read() == [(messages.Stored("v1/port/2"), 1), (messages.StoreSent(1), 0)]


def test_ten_thousand_entries_for_a_reader_that_sleeps_cost_no_descriptors(line: Line) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not paths
    for number in range(10_000):
        line.entries[f"v1/port/{number}"] = (0,)
        line.outgoing.put(f"v1/port/{number}", messages.Stored(f"v1/port/{number}"))
    line.outgoing.feed(line.near)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208 - numbers, not paths
    found = line.read()
    assert [body.name for body, _ in found] == [f"v1/port/{number}" for number in range(10_000)]
    assert {count for _, count in found} == {1}


def test_an_entry_that_comes_back_cancels_the_drop_that_was_not_sent(line: Line) -> None:
    line.entries["v1/log/1.1"] = (0,)
    line.outgoing.put("v1/log/1.1", messages.Drop("v1/log/1.1"))
    line.outgoing.put("v1/log/1.1", messages.Stored("v1/log/1.1"))
    assert line.read() == [(messages.Stored("v1/log/1.1"), 1)]
