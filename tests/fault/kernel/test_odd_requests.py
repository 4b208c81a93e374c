"""One MessagePack value is all that the bus asks of a request; whatever else is wrong with it the kernel refuses, and lives on."""

import os
import signal

import pytest

from dadms_ipc.client import Client
from dadms_ipc.errors import DeadlinePassed
from dadms_ipc.requests import List, Spawn, Spec, Status
from tests.conftest import Daemon

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_request_that_cannot_be_read_is_refused_and_ends_no_kernel(keeper_daemon: Daemon) -> None:
    """Texts that are no UTF-8 above all: their error is not msgspec's own."""
    with Client(keeper_daemon.runtime_dir, start_timeout=60.0, timeout=30.0) as client:
        before = client.call(Status()).os_pid
        for body in (
            b"\x81\xa4verb\xa1\xff",
            b"\x81\xa1\xff\x01",
            b"\xcf" + b"\xff" * 8,
            b"\x92\x00\x01",
            b"\x91" * 600 + b"\xc0",
            b"\x81\x01\x02",
        ):
            assert client.call_raw(body).status == "refused"
            assert client.call_raw(body, to="bus").status == "refused"
        assert client.call(Status()).os_pid == before


def test_what_a_stopped_kernel_finds_too_late_is_not_done(keeper_daemon: Daemon) -> None:
    """Its client was told that the time was up; what was asked with more patience is done when the kernel goes on."""
    with Client(keeper_daemon.runtime_dir, start_timeout=60.0, timeout=30.0) as client:
        kernel = client.call(Status()).os_pid
        os.kill(kernel, signal.SIGSTOP)
        with pytest.raises(DeadlinePassed):
            client.call(Spawn(Spec("late", kind="tool", command=["/bin/true"], enforcement="best-effort")), timeout=0.3)
        os.kill(kernel, signal.SIGCONT)
        in_time = client.call(Spawn(Spec("in-time", kind="tool", command=["/bin/true"], enforcement="best-effort")))
        assert [info.name for info in client.call(List())] == ["in-time"]
        assert in_time["pid"] == 1001
