"""Whole trees of processes are ended, frozen and removed, whatever they did to get away."""

import functools
import os
import select
import signal

import pytest

from dadmsd.kernel import host
from dadmsd.kernel.host import Caps
from dadmsd.kernel.host.processes import look
from tests.integration.host.place import PATIENCE, Place, awaited, left_over

BUSY = "print('began', flush=True)\nwhile True: pass"
# A grandchild in a session of its own, whose parent is gone: the classic daemon.
ESCAPE = """
import os, signal
if os.fork() == 0:
    os.setsid()
    middle = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == middle:
        pass
    print(os.getpid(), os.getsid(0), flush=True)
    while True:
        signal.pause()
os.wait()
sys.stdin.read()
"""
# As many processes as fit under the cap, each of which forks again as soon as there is room.
BOMB = """
import os
print('began', flush=True)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


def pidfd_ended(pidfd: int) -> bool:
    """Wait for the end of any process."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(PATIENCE * 1000))


def test_a_double_forked_daemon_in_its_own_session_is_ended_too(any_place: Place) -> None:
    if not any_place.backend.ends_trees:
        pytest.skip("without cgroups such a process has escaped, which the backend says: ends_trees is False")
    any_place.backend.create("1001", Caps())
    any_place.backend.create("1001/main", Caps())
    child = any_place.child("1001/main", ESCAPE)
    pid, session = map(int, child.line().split())
    assert session not in (child.pid, os.getsid(0))
    pidfd = os.pidfd_open(pid)
    try:
        any_place.backend.kill("1001")
        assert child.ended() == -signal.SIGKILL
        assert pidfd_ended(pidfd)
    finally:
        os.close(pidfd)
    assert awaited(functools.partial(any_place.backend.is_empty, "1001"))


def test_without_cgroups_an_escape_that_was_seen_before_is_ended(rlimits: Place) -> None:
    rlimits.backend.create("1001", Caps())
    rlimits.backend.create("1001/main", Caps())
    child = rlimits.child(
        "1001/main",
        "import os, signal\nfor turn in range(2):\n    if os.fork() == 0:\n        os.setsid()\n        print(os.getpid(), flush=True)\n        while True: signal.pause()\n"
        "    sys.stdin.readline()\nos._exit(0)",
    )
    first = int(child.line())
    brief = rlimits.backend.usage("1001", is_brief=True)
    assert brief is not None
    assert (brief.pids, brief.memory > 0) == (1, True), "the one that was attached; nobody has looked for others"
    usage = rlimits.backend.usage("1001")  # a look, which finds the first one as a child of its parent
    assert usage is not None
    assert usage.pids == 2
    brief = rlimits.backend.usage("1001", is_brief=True)
    assert brief is not None
    assert brief.pids == 2
    assert child.process.stdin is not None
    child.process.stdin.write("\n")
    child.process.stdin.flush()
    second = int(child.line())
    fds = [os.pidfd_open(first), os.pidfd_open(second)]
    try:
        rlimits.backend.kill("1001")
        assert child.ended() == -signal.SIGKILL
        assert [pidfd_ended(fd) for fd in fds] == [True, True]
    finally:
        for fd in fds:
            os.close(fd)


def test_only_the_named_leaf_is_ended(any_place: Place) -> None:
    any_place.backend.create("1001", Caps())
    for leaf in ("1001/main", "1001/w1"):
        any_place.backend.create(leaf, Caps())
    main, worker = any_place.child("1001/main", BUSY), any_place.child("1001/w1", BUSY)
    assert main.line() == worker.line() == "began"
    any_place.backend.kill("1001/w1")
    assert worker.ended() == -signal.SIGKILL
    assert awaited(functools.partial(any_place.backend.is_empty, "1001/w1"))
    assert main.process.poll() is None
    assert not any_place.backend.is_empty("1001")
    any_place.backend.kill("1001")
    assert main.ended() == -signal.SIGKILL


def test_a_tree_that_forks_all_the_time_is_ended(capped: Place) -> None:
    capped.backend.create("1001", Caps(pids=12))
    capped.backend.create("1001/main", Caps())
    child = capped.child("1001/main", BOMB)
    assert child.line() == "began"
    assert awaited(lambda: (usage := capped.backend.usage("1001")) is not None and usage.pids == 12)
    capped.backend.kill("1001")
    assert child.ended() == -signal.SIGKILL
    assert awaited(functools.partial(capped.backend.is_empty, "1001"))


def test_a_frozen_group_uses_no_cpu_and_goes_on_when_it_is_thawed(any_place: Place) -> None:
    any_place.backend.create("1001", Caps())
    any_place.backend.create("1001/main", Caps())
    child = any_place.child("1001/main", BUSY)
    assert child.line() == "began"
    assert not any_place.backend.is_frozen("1001")
    any_place.backend.freeze("1001")
    assert awaited(functools.partial(any_place.backend.is_frozen, "1001"))

    def used() -> float:
        seen = look(child.pid)
        assert seen is not None
        return seen.cpu_seconds

    stood = used()
    poll = select.poll()
    poll.register(child.process.stdout or 0, select.POLLIN)
    assert poll.poll(200) == []  # 200 ms in which a busy loop would have used 20 ticks
    assert used() == stood
    any_place.backend.thaw("1001")
    assert awaited(lambda: used() > stood)
    assert not any_place.backend.is_frozen("1001")


def test_a_frozen_group_can_be_ended(any_place: Place) -> None:
    any_place.backend.create("1001", Caps())
    any_place.backend.create("1001/main", Caps())
    child = any_place.child("1001/main", BUSY)
    assert child.line() == "began"
    any_place.backend.freeze("1001")
    assert awaited(functools.partial(any_place.backend.is_frozen, "1001"))
    any_place.backend.kill("1001")
    assert child.ended() == -signal.SIGKILL
    assert awaited(functools.partial(any_place.backend.is_empty, "1001"))


def test_a_group_in_use_is_not_removed_and_an_ended_one_is(any_place: Place) -> None:
    any_place.backend.create("1001", Caps())
    any_place.backend.create("1001/main", Caps())
    child = any_place.child("1001/main", BUSY)
    assert child.line() == "began"
    assert not any_place.backend.remove("1001")
    any_place.backend.kill("1001")
    assert child.ended() == -signal.SIGKILL
    assert awaited(functools.partial(any_place.backend.remove, "1001"))
    assert any_place.backend.groups() == []
    assert any_place.backend.usage("1001") is None
    assert any_place.backend.is_empty("1001")
    assert any_place.backend.remove("1001")  # again, as a new kernel may
    any_place.backend.kill("1001")


def test_another_kernel_finds_what_a_dead_one_left(any_place: Place) -> None:
    if not any_place.backend.ends_trees:
        pytest.skip("without cgroups nothing outlives the kernel that knew it")
    for group in ("1001", "1001/main", "zygote-3"):
        any_place.backend.create(group, Caps())
    child = any_place.child("1001/main", BUSY)
    again = host.choose(any_place.found, any_place.instance)
    assert {"1001", "1001/main", "zygote-3"} <= set(again.groups())
    again.kill("1001")
    assert child.ended() == -signal.SIGKILL
    for group in ("1001", "zygote-3"):
        assert awaited(functools.partial(again.remove, group))
    assert again.groups() == []


def test_the_events_file_tells_the_end(any_place: Place) -> None:
    any_place.backend.create("zygote-3", Caps())
    path = any_place.backend.watch_path("zygote-3")
    if path is None:
        pytest.skip("there is no such file without a v2 hierarchy")
    child = any_place.child("zygote-3", BUSY)
    with open(path) as events:  # noqa: PTH123 -- a file of the kernel's
        assert "populated 1" in events.read()
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        any_place.backend.kill("zygote-3")
        assert child.ended() == -signal.SIGKILL
        assert poll.poll(PATIENCE * 1000)
        events.seek(0)
        assert "populated 0" in events.read()


def test_a_host_without_cgroup_kill_ends_trees_all_the_same(any_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    unified = getattr(any_place.backend, "unified", None) or getattr(any_place.backend, "_unified", None)
    if unified is None:
        pytest.skip("there is no v2 hierarchy in this backend")
    monkeypatch.setattr(unified, "has_kill", False)
    any_place.backend.create("1001", Caps())
    any_place.backend.create("1001/main", Caps())
    child = any_place.child("1001/main", ESCAPE)
    pid = int(child.line().split()[0])
    pidfd = os.pidfd_open(pid)
    try:
        any_place.backend.kill("1001")
        assert child.ended() == -signal.SIGKILL
        assert pidfd_ended(pidfd)
    finally:
        os.close(pidfd)


def test_dismantling_waits_for_the_last_group_and_leaves_nothing(any_place: Place) -> None:
    any_place.backend.create("1001", Caps())
    any_place.backend.create("1001/main", Caps())
    child = any_place.child("1001/main", BUSY)
    assert not any_place.backend.dismantle()
    any_place.backend.kill("1001")
    assert child.ended() == -signal.SIGKILL
    assert awaited(functools.partial(any_place.backend.remove, "1001"))
    again = host.choose(any_place.found, any_place.instance)
    assert again.dismantle()
    assert left_over(any_place.instance) == []
