"""A keeper that does not read for a while: what it is to keep waits for it, and so do forks before that is too much."""

import os
import signal
from pathlib import Path

from dadms_ipc.client import Client
from dadms_ipc.requests import Spawn, Spec, Status
from tests.fault.kernel.daemon import client, daemon, ended

TOOLS = 1160  # of four words to the keeper each: more than its socket and a channel hold


def test_a_keeper_that_stands_still_under_a_thousand_starts_costs_no_kernel(short_path: Path) -> None:
    """The kernel of before goes on, and every process is started, and logged."""
    with daemon(short_path) as made, client(made) as door:
        kernel = door.call(Status()).os_pid
        os.kill(made.process.pid, signal.SIGSTOP)
        try:
            pids = [_start(door) for _ in range(TOOLS)]
        finally:
            os.kill(made.process.pid, signal.SIGCONT)
        assert {ended(door, pid).status for pid in pids} == {"completed"}
        assert door.call(Status()).os_pid == kernel


def _start(door: Client) -> int:
    spec = Spec("t", kind="tool", command=["/bin/true"])
    return int(door.call(Spawn(spec))["pid"])
