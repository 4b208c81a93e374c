"""What an ordinary user gets, and what root gets over an ordinary user's process: rlimits, said as such."""

import ctypes
import json
import os
import resource
import select
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dadms_ipc.errors import HostFailure
from dadms_ipc.requests import Limits
from dadmsd.kernel import host
from dadmsd.kernel.host import Caps, limits
from dadmsd.kernel.host.mounts import Found, Hierarchy
from dadmsd.zygote.messages import Rlimit
from tests.integration.host.place import PATIENCE

NOBODY = 65534
MIB = 1 << 20
CAP_SYS_RESOURCE = 24
PR_SET_DUMPABLE = 4
LIBC = ctypes.CDLL(None)


def become_ordinary() -> None:
    """Give up root for good; dumpable, as a process is that never was root, so that its own files in /proc stay its own."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def forked(work: Callable[[], Any], *, is_ordinary: bool) -> Any:
    """Run ``work`` in a fork and give what it returned: another user may not be able to start this interpreter anew."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if is_ordinary:
                become_ordinary()
            answer = json.dumps(work())
        except BaseException:
            answer = json.dumps(traceback.format_exc())
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    try:
        assert select.select([reader], [], [], PATIENCE)[0], "the fork said nothing in time"
        return json.loads(os.read(reader, 65536))
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def waiting_nobody() -> Iterator[int]:
    """Give the pid of an ordinary user's process that waits."""
    if os.geteuid() != 0:
        pytest.skip("only root has another user's process")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        become_ordinary()
        os.write(writer, b".")
        signal.pause()
    assert os.read(reader, 1) == b"."
    yield pid
    for fd in (reader, writer):
        os.close(fd)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_an_ordinary_user_gets_rlimits_and_the_reasons() -> None:
    def work() -> list[Any]:
        backend = host.detect(f"dadms-test-{os.getpid()}")
        return [backend.name, sorted(backend.holds), backend.ends_trees, list(backend.reasons), backend.dismantle()]

    name, holds, ends_trees, reasons, is_gone = forked(work, is_ordinary=True)
    if name.startswith("cgroup"):
        pytest.skip(f'this user has a cgroup delegated: "{name}"')
    assert (name, holds, ends_trees, is_gone) == ("rlimits only (no delegated cgroup)", [], False, True)
    assert any("Permission denied" in reason or "Read-only" in reason or "no v2 hierarchy" in reason for reason in reasons)


def test_strict_limits_are_refused_to_an_ordinary_user_with_the_numbers() -> None:
    def work() -> str:
        backend = host.choose(Found(None, {}), "dadms-test")
        try:
            limits.plan(Limits(memory=64 * MIB, pids=16), backend, "process")
        except HostFailure as error:
            return str(error)
        return "it was granted"

    said = forked(work, is_ordinary=True)
    assert said.startswith("cannot enforce memory = 64 MiB for the whole tree")
    assert "pids = 16" in said


def test_rlimit_data_gives_an_ordinary_users_process_a_memory_error() -> None:
    def work() -> list[Any]:
        backend = host.choose(Found(None, {}), "dadms-test")
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        plan = limits.plan(Limits(memory=held + 256 * MIB, files=100), backend, "worker", enforcement="best-effort")
        gate, opener = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(gate, 1)
            try:
                bytearray(8 << 30)
            except MemoryError:
                os._exit(7)
            os._exit(1)
        backend.create("1001", Caps())
        backend.create("1001/w1", Caps())
        backend.attach("1001/w1", pid)
        applied = limits.apply(plan, pid)
        with open(f"/proc/{pid}/oom_score_adj") as file:  # noqa: PTH123 -- a file of /proc
            score = int(file.read())
        os.write(opener, b".")
        _, status = os.waitpid(pid, 0)
        return [os.waitstatus_to_exitcode(status), applied.enforced.limits, applied.left, applied.enforced.warnings, score]

    answer = forked(work, is_ordinary=True)
    assert isinstance(answer, list), answer
    code, texts, left, warnings, score = answer
    assert code == 7
    assert texts["memory"].endswith("by RLIMIT_DATA for each OS process, not the tree, read back")
    assert texts["files"] == "100 by RLIMIT_NOFILE, read back"
    assert (left, warnings, score) == ([], [], limits.WORKER_OOM_SCORE)


def test_root_sets_another_users_rlimits_or_leaves_them_to_the_child(waiting_nobody: int) -> None:
    lines = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    may = bool(int(lines["CapEff"], 16) >> CAP_SYS_RESOURCE & 1)
    plan = limits.plan(Limits(files=100), host.choose(Found(None, {}), "dadms-test"), "main")
    applied = limits.apply(plan, waiting_nobody)
    if may:
        assert applied.left == []
        assert applied.enforced.limits["files"] == "100 by RLIMIT_NOFILE, read back"
    else:
        assert applied.left == [Rlimit("RLIMIT_NOFILE", 100), Rlimit("RLIMIT_CORE", 0)]
        with pytest.raises(HostFailure, match="RLIMIT_NOFILE was to be 100 and reads"):
            limits.read_back(waiting_nobody, applied.left)


def test_root_puts_another_users_process_into_the_order_of_victims(waiting_nobody: int) -> None:
    plan = limits.plan(Limits(files=None, core=None), host.choose(Found(None, {}), "dadms-test"), "main")
    assert limits.apply(plan, waiting_nobody).enforced.warnings == []
    assert Path(f"/proc/{waiting_nobody}/oom_score_adj").read_text() == f"{limits.MAIN_OOM_SCORE}\n"


def test_a_directory_that_is_no_cgroup_is_not_taken_for_one(tmp_path: Path) -> None:
    place = Hierarchy(str(tmp_path), "/", frozenset({"memory"}))
    backend = host.choose(Found(place, {"memory": place}), "dadms-test")
    assert backend.name == "rlimits only (no delegated cgroup)"
    assert [reason.split(":")[0] for reason in backend.reasons] == ["v2", "v1 memory"]
    assert list(tmp_path.iterdir()) == []
