"""A private daemon takes its logs with it, but not those of an error of ours."""

import os
import re
import resource
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from dadms_ipc.client import Client
from dadms_ipc.errors import RequestRefused
from dadms_ipc.requests import Spawn, Spec, Status
from dadmsctl.private import PrivateDaemon


def test_an_error_of_a_server_is_told_and_its_words_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with PrivateDaemon(30.0) as daemon, Client(daemon.door.runtime_dir, timeout=30.0) as client:
        before: Any = client.call(Status())
        _, hard = resource.prlimit(before.os_pid, resource.RLIMIT_AS)
        resource.prlimit(before.os_pid, resource.RLIMIT_AS, (1 << 20, hard))  # less than it has: it gets no more
        spec = Spec("one", kind="tool", command=["/bin/true"], environment={"LARGE": "x" * 500_000})
        for _ in range(20):
            client.call(Spawn(spec))
        assert client.call(Status()).epoch > before.epoch
    said = capsys.readouterr().err
    found = re.fullmatch(
        r"dadmsctl: warning: the kernel of the private daemon failed \(exit 1\) and was started again; what it wrote is in (\S+)\n", said
    )
    assert found, said
    kept = Path(found[1])
    assert kept.parent == Path(tempfile.gettempdir())
    assert re.search(r"exit 1: .+; it is started again", kept.read_text())
    kept.unlink()


def test_a_killed_server_leaves_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    with PrivateDaemon(30.0) as daemon, Client(daemon.door.runtime_dir, timeout=30.0) as client:
        before: Any = client.call(Status())
        os.kill(before.os_pid, 9)
        assert client.call(Status()).epoch > before.epoch
    assert capsys.readouterr().err == ""


def test_a_kernel_that_cannot_write_refuses_what_is_new_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with PrivateDaemon(60.0) as daemon, Client(daemon.door.runtime_dir, timeout=60.0) as client:
        before: Any = client.call(Status())
        for os_pid in (psutil.Process(before.os_pid).ppid(), before.os_pid):  # the keeper, for the kernels to come, and this one
            _, hard = resource.prlimit(os_pid, resource.RLIMIT_FSIZE)
            resource.prlimit(os_pid, resource.RLIMIT_FSIZE, (30_000, hard))
        with pytest.raises(RequestRefused, match=r'^cannot keep process "one": file too large'):  # noqa: PT012 - one of many is refused
            for _ in range(1000):
                client.call(Spawn(Spec("one", kind="tool", command=["/bin/true"])))
        assert client.call(Status()).os_pid == before.os_pid
    assert capsys.readouterr().err == ""
