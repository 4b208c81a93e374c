"""Caps are the kernel's: whoever reaches one meets it, and nobody else does."""

import signal
import time

import pytest

from dadms_ipc.errors import HostFailure
from dadms_ipc.requests import Limits
from dadmsd.kernel.host import Caps, limits, oom
from tests.integration.host.place import Place, awaited

MIB = 1 << 20
GROW = "blob = bytearray(200 << 20)\nprint('grew', flush=True)\nsys.stdin.read()"
WAIT = "print('began', flush=True)\nsys.stdin.read()"


def test_a_process_beyond_its_leafs_memory_ends_and_the_leaf_tells(capped: Place) -> None:
    capped.backend.create("1001", Caps(memory=256 * MIB))
    capped.backend.create("1001/main", Caps())
    assert capped.backend.create("1001/w3", Caps(memory=48 * MIB)) == Caps(memory=48 * MIB)
    main = capped.child("1001/main", WAIT)
    before = oom.read(capped.backend, "1001/w3")
    worker = capped.child("1001/w3", GROW)
    code = worker.ended()
    assert code == -signal.SIGKILL
    verdict = oom.attribute(before, oom.read(capped.backend, "1001/w3"), -code)
    assert verdict is not None
    assert (verdict.where, verdict.group, verdict.is_certain) == ("leaf", "1001/w3", True)
    usage = capped.backend.usage("1001/w3")
    assert usage is not None
    assert usage.oom_kills == 1
    assert 40 * MIB < usage.memory_peak <= 48 * MIB
    assert main.line() == "began"
    assert main.process.poll() is None
    assert capped.backend.refusals("1001/main") == (0, 0)


def test_the_groups_cap_takes_the_worker_and_leaves_the_main(capped: Place) -> None:
    asked = Limits(memory=64 * MIB)
    capped.backend.create("1001", limits.plan(asked, capped.backend, "process").caps)
    for leaf in ("1001/main", "1001/w1"):
        capped.backend.create(leaf, Caps())
    main = capped.child("1001/main", "blob = bytearray(20 << 20)\n" + WAIT)
    assert main.line() == "began"
    before = oom.read(capped.backend, "1001/w1")
    worker = capped.child("1001/w1", f"print('began', flush=True)\nsys.stdin.readline()\n{GROW}")
    assert worker.line() == "began"
    limits.apply(limits.plan(asked, capped.backend, "main"), main.pid)
    limits.apply(limits.plan(asked, capped.backend, "worker"), worker.pid)
    assert worker.process.stdin is not None
    worker.process.stdin.write("\n")
    worker.process.stdin.flush()
    assert worker.ended() == -signal.SIGKILL
    verdict = oom.attribute(before, oom.read(capped.backend, "1001/w1"), signal.SIGKILL)
    assert verdict is not None
    assert (verdict.where, verdict.group, verdict.is_certain) == ("group", "1001", True)
    assert main.process.poll() is None


def test_a_kill_by_somebody_is_not_the_oom_killers(capped: Place) -> None:
    capped.backend.create("1001", Caps(memory=64 * MIB))
    capped.backend.create("1001/main", Caps())
    before = oom.read(capped.backend, "1001/main")
    child = capped.child("1001/main", WAIT)
    child.process.kill()
    assert child.ended() == -signal.SIGKILL
    assert oom.attribute(before, oom.read(capped.backend, "1001/main"), signal.SIGKILL) is None


def test_a_fifth_of_a_core_is_a_fifth_of_a_core(capped: Place) -> None:
    assert capped.backend.create("1001", Caps(cpu=0.2)) == Caps(cpu=0.2)
    capped.backend.create("1001/main", Caps())
    began = time.monotonic()
    child = capped.child(
        "1001/main", "import time\nend = time.monotonic() + 1.0\nwhile time.monotonic() < end: pass\nprint(time.process_time(), flush=True)"
    )
    child.line()
    wall = time.monotonic() - began
    usage = capped.backend.usage("1001")
    assert usage is not None
    assert 0.05 < usage.cpu_seconds / wall < 0.32  # one period of 100 ms more or less, and a machine that others use


def test_a_fork_beyond_the_cap_on_tasks_fails(capped: Place) -> None:
    assert capped.backend.create("1001", Caps(pids=3)) == Caps(pids=3)
    capped.backend.create("1001/main", Caps())
    child = capped.child(
        "1001/main",
        "import os, signal, errno\n"
        "made = 0\n"
        "try:\n"
        "    while made < 10:\n"
        "        if os.fork() == 0:\n"
        "            signal.pause()\n"
        "        made += 1\n"
        "except OSError as error:\n"
        "    print(made, errno.errorcode[error.errno], flush=True)\n"
        "sys.stdin.read()",
    )
    assert child.line() == "2 EAGAIN"
    usage = capped.backend.usage("1001")
    assert usage is not None
    assert usage.pids == 3


def test_caps_change_under_a_living_process_in_both_directions(capped: Place) -> None:
    capped.backend.create("1001", Caps(memory=64 * MIB, cpu=0.5, pids=8))
    capped.backend.create("1001/main", Caps())
    assert capped.child("1001/main", WAIT).line() == "began"
    for caps in (Caps(128 * MIB, 1.5, 16), Caps(32 * MIB, 0.25, 4)):
        assert capped.backend.change("1001", caps) == caps
    assert capped.backend.change("1001", Caps()) == Caps()
    assert capped.child("1001/main", GROW).line() == "grew"


def test_lowering_memory_below_what_is_held_is_told_with_the_numbers(capped: Place) -> None:
    capped.backend.create("1001", Caps(memory=256 * MIB))
    capped.backend.create("1001/main", Caps())
    assert capped.child("1001/main", "blob = bytearray(64 << 20)\n" + WAIT).line() == "began"
    with pytest.raises(HostFailure, match=r'(limit_in_bytes|memory.max) of "1001" to 16777216: .* \(\d+ bytes are in use\)'):
        capped.backend.change("1001", Caps(memory=16 * MIB))


def test_memory_is_rounded_up_to_a_page_and_read_back(capped: Place) -> None:
    assert capped.backend.create("1001", Caps(memory=64 * MIB + 1)) == Caps(memory=64 * MIB + 4096)


def test_creating_again_finds_what_is_there(capped: Place) -> None:
    for _ in range(2):
        assert capped.backend.create("1001", Caps(memory=64 * MIB, cpu=0.5, pids=8)) == Caps(64 * MIB, 0.5, 8)
    assert capped.backend.groups() == ["1001"]


def test_a_cap_that_the_host_refuses_leaves_no_group(capped: Place) -> None:
    with pytest.raises(HostFailure, match=r'cannot set cpu.(cfs_quota_us|max) of "1001" to 100( 100000)?: Invalid argument'):
        capped.backend.create("1001", Caps(memory=64 * MIB, cpu=0.001))
    assert capped.backend.groups() == []


def test_a_process_that_is_gone_cannot_be_attached(capped: Place) -> None:
    capped.backend.create("1001", Caps())
    capped.backend.create("1001/main", Caps())
    child = capped.child("1001/main", "")
    assert child.ended() == 0
    with pytest.raises(HostFailure, match=f"cannot move process {child.pid}"):
        capped.backend.attach("1001/main", child.pid)


def test_a_process_never_lands_in_a_group_that_was_not_made(capped: Place) -> None:
    child = capped.child_unattached(WAIT)
    with pytest.raises(HostFailure, match=f'cannot move process {child.pid} into "1001/main"'):
        capped.backend.attach("1001/main", child.pid)


def test_memory_now_falls_when_it_is_given_back(capped: Place) -> None:
    capped.backend.create("1001", Caps(memory=128 * MIB))
    capped.backend.create("1001/main", Caps())
    child = capped.child("1001/main", "blob = bytearray(64 << 20)\nprint('held', flush=True)\nsys.stdin.readline()\ndel blob\n" + WAIT)
    assert child.line() == "held"
    held = capped.backend.usage("1001")
    assert held is not None
    assert held.memory >= 64 * MIB
    assert child.process.stdin is not None
    child.process.stdin.write("\n")
    child.process.stdin.flush()
    assert child.line() == "began"

    def is_given_back() -> bool:
        usage = capped.backend.usage("1001")
        return usage is not None and usage.memory < 32 * MIB and usage.memory_peak >= 64 * MIB

    assert awaited(is_given_back)


SPIN = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nprint('began', flush=True)\nwhile True:\n    pass"


def test_a_weight_divides_a_cpu_that_both_want(capped: Place) -> None:
    """Nine times the weight on one CPU: well over twice the time, whoever else uses that CPU."""
    if "cpu_weight" not in capped.backend.steers:
        pytest.skip(f"no CPU weight with {capped.backend.name}")
    for group, weight in (("1001", 900), ("1002", 100)):
        assert capped.backend.create(group, Caps(cpu_weight=weight)) == Caps(cpu_weight=weight)
        capped.backend.create(f"{group}/main", Caps())
    for group in ("1001", "1002"):
        assert capped.child(f"{group}/main", SPIN).line() == "began"

    def used(group: str) -> float:
        usage = capped.backend.usage(group)
        assert usage is not None
        return usage.cpu_seconds

    before = used("1001"), used("1002")
    assert awaited(lambda: used("1002") - before[1] > 0.1)
    assert used("1001") - before[0] > 2 * (used("1002") - before[1])


def test_swap_is_beside_the_memory_and_lifted_with_it(capped: Place) -> None:
    if "swap" not in capped.backend.steers:
        pytest.skip(f"swap is not accounted with {capped.backend.name}")
    asked = Caps(memory=64 * MIB, swap=32 * MIB)
    assert capped.backend.create("1001", asked) == asked
    assert capped.backend.change("1001", Caps(memory=96 * MIB)) == Caps(memory=96 * MIB)
    assert capped.backend.change("1001", asked) == asked


def test_a_wait_for_the_cpu_is_measured(capped: Place) -> None:
    """A process that is held to a twentieth of a core is held back, and the usage says for how long."""
    capped.backend.create("1001", Caps(cpu=0.05))
    capped.backend.create("1001/main", Caps())
    assert capped.child("1001/main", SPIN).line() == "began"

    def held_back() -> float:
        usage = capped.backend.usage("1001")
        assert usage is not None
        return usage.throttled_seconds

    assert awaited(lambda: held_back() > 0.1)
