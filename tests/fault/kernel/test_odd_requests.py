"""One MessagePack value is all that the bus asks of a request; whatever else is wrong with it the kernel refuses, and lives on."""

import contextlib
import math
import os
import signal
from pathlib import Path

import msgspec
import pytest

from dadms_ipc.client import Client
from dadms_ipc.errors import DeadlinePassed
from dadms_ipc.requests import List, Reload, Spawn, Spec, Status
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


def test_no_number_and_no_text_ends_the_kernel_that_has_to_do_with_it(short_path: Path) -> None:
    """What poll, prlimit or a path cannot take is refused, asked for by a request or written in a file, and the good ones run."""
    (short_path / "dadms.toml").write_text("")
    files = short_path / "processes.d"
    files.mkdir()
    (files / "good.toml").write_text('command = "sleep 1000"\n')
    (files / "bad.toml").write_text('command = "sleep 1000"\nwatchdog = 1e308\n')
    (files / "dump.toml").write_text('command = "sleep 1000"\n[limits]\ncore = 18446744073709551615\n')
    (files / "nul.toml").write_text('command = "sleep 1000"\nhandlers = "x\\u0000y"\nuser = "x\\u0000y"\n')
    daemon = Daemon(short_path, "--config", str(short_path / "dadms.toml"))
    with contextlib.closing(daemon), Client(daemon.runtime_dir, start_timeout=60.0, timeout=30.0) as client:
        before = client.call(Status()).os_pid
        service = {"name": "x", "kind": "service", "command": ["sleep", "1000"]}
        for fields, words in (
            ({"watchdog": 1e308}, "watchdog = 1e+308: the most is 2592000 s"),
            ({"watchdog": 2**63}, "the most is 2592000 s"),
            ({"stop_timeout": math.nan}, "stop_timeout is nan"),
            ({"limits": {"core": 2**63}}, "the most is 1024 TiB"),
            ({"limits": {"core": 2**64 - 1}}, "the most is 1024 TiB"),
            ({"directory": "/x\0y"}, "a null byte is in its directory"),
            ({"live_command": ["x\0y"]}, "a null byte is in its live_command"),
        ):
            answer = client.call_raw(msgspec.msgpack.encode({"verb": "spawn", "spec": {**service, **fields}}))
            assert answer.status == "refused"
            assert words in msgspec.msgpack.decode(answer.body)["message"]
        report = client.call(Reload())
        assert [each.partition(": ")[0] for each in report.mistakes] == [
            "bad.toml:2",
            "dump.toml:3",
            "nul.toml:2",
            "nul.toml:3",
        ]
        assert [info.name for info in client.call(List())] == ["good"]
        assert client.call(Status()).os_pid == before
