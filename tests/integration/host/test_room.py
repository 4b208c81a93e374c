"""A shared zygote's group holds what its children copy of it: they take no charge with them when they move."""

import os
import signal
from pathlib import Path

import pytest

from dadmsd.kernel.confine import Confinement
from dadmsd.kernel.core.records import Child
from dadmsd.kernel.host import detect


def test_the_cap_of_a_zygote_grows_when_it_has_its_code() -> None:
    backend = detect(f"dadms-room-{os.getpid()}")
    if "memory" not in backend.holds:
        backend.dismantle()
        pytest.skip(f"no memory caps here: {backend.name}")
    confinement = Confinement(backend, memory_limit=64 << 30, children=100)
    os_pid = os.fork()
    if os_pid == 0:
        signal.pause()
        os._exit(0)
    child = Child(name="zygote/1", role="zygote", parent="base", os_pid=os_pid)
    try:
        assert confinement.confine(child, None).limits["memory"].startswith("1 GiB ")
        child.ready_at = 1.0
        assert confinement.confine(child, None).limits["memory"].startswith("1.391 GiB ")
        lines = [line for line in Path(f"/proc/{os_pid}/cgroup").read_text().splitlines() if line.endswith("/zygote-1")]
        assert lines, "it is where it was"
    finally:
        os.kill(os_pid, signal.SIGKILL)
        os.waitpid(os_pid, 0)
        assert confinement.end_all()
