"""The socket over which a process says how it is: who speaks is known, and no descriptor that comes along stays open."""

import os
import select
import socket
from pathlib import Path

import pytest

from dadmsd.kernel.core import events
from dadmsd.kernel.notify import FDS_MOST, Notify


def spoken(notify: Notify, text: bytes, fds: list[int]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(str(notify.path))
        socket.send_fds(sock, [text], fds)


@pytest.mark.parametrize("count", [0, 1, FDS_MOST, FDS_MOST + 1, 200])
def test_descriptors_that_come_along_are_closed_however_many_and_what_is_said_is_heard(short_path: Path, count: int) -> None:
    """Beyond what there is room for, Linux drops them itself; the credentials come first, and are not lost with them."""
    notify = Notify.make("1001.1", str(short_path), is_open_to_all=False)
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not walked
    spoken(notify, b"READY=1\nSTATUS=up", [writer] * count)
    assert notify.receive(lambda name, os_pid: (name, os_pid) == ("1001.1", os.getpid())) == [
        events.Notified("1001.1", is_ready=True, status="up")
    ]
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above
    os.close(writer)
    assert select.select([reader], [], [], 1.0)[0], "a copy of the other end is open somewhere"
    assert os.read(reader, 1) == b""
    os.close(reader)
    notify.close()


def test_a_stranger_is_told_of_once_for_each_reading(short_path: Path) -> None:
    notify = Notify.make("1001.1", str(short_path), is_open_to_all=False)
    for _ in range(3):
        spoken(notify, b"READY=1", [])
    assert notify.receive(lambda _name, _os_pid: False) == [events.NotifyRefused("1001.1", os.getpid())]
    notify.close()
