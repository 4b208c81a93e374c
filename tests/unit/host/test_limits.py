"""Who enforces which limit, and what is said when nobody can."""

import math
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dadms_ipc.errors import HostFailure, RequestRefused
from dadms_ipc.requests import Limits
from dadmsd.kernel.host.caps import Caps
from dadmsd.kernel.host.limits import MAIN_OOM_SCORE, WORKER_OOM_SCORE, Plan, apply, held_caps, plan, read_back, rlimits_of
from dadmsd.kernel.host.rlimits import Rlimits
from dadmsd.zygote.messages import Rlimit

MIB = 1 << 20
ASKED = Limits(memory=64 * MIB, cpu=0.5, pids=16, worker_memory=32 * MIB)
NO_CGROUP = Rlimits(reasons=("v2: cannot create the cgroup: Permission denied",))


class Everything(Rlimits):
    """A backend that holds every cap; planning asks for nothing else."""

    kind = "cgroup v1"
    name = "cgroup v1"
    holds = frozenset({"memory", "cpu", "pids"})


@pytest.mark.parametrize(
    ("role", "caps", "oom_score"),
    [
        ("process", Caps(64 * MIB, 0.5, 16), None),
        ("main", Caps(), MAIN_OOM_SCORE),
        ("worker", Caps(memory=32 * MIB), WORKER_OOM_SCORE),
        ("zygote", Caps(64 * MIB, 0.5, 16), MAIN_OOM_SCORE),
        ("command", Caps(), MAIN_OOM_SCORE),
        ("server", Caps(64 * MIB, 0.5, 16), None),
    ],
)
def test_cgroups_hold_the_tree_and_rlimits_the_rest(role: str, caps: Caps, oom_score: int | None) -> None:
    rlimits = () if role == "process" else (("RLIMIT_NOFILE", 1024), ("RLIMIT_CORE", 0))
    assert plan(ASKED, Everything(), role) == Plan(caps, rlimits, oom_score, (), is_soft=role == "zygote")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(pids=16), "pids = 16"),
        (Limits(cpu=0.5), "cpu = 0.5 cores"),
        (Limits(memory=64 * MIB), "memory = 64 MiB for the whole tree"),
    ],
)
def test_without_cgroups_strict_refuses_and_names_limit_number_and_reason(limits: Limits, words: str) -> None:
    with pytest.raises(HostFailure, match=rf"cannot enforce {re.escape(words)}.*Permission denied"):
        plan(limits, NO_CGROUP, "process")


def test_without_cgroups_strict_takes_what_rlimits_hold() -> None:
    assert plan(Limits(), NO_CGROUP, "process") == Plan(Caps(), (), None, ())
    rlimits = plan(Limits(), NO_CGROUP, "main").rlimits
    assert rlimits == (("RLIMIT_DATA", resource.RLIM_INFINITY), ("RLIMIT_NOFILE", 1024), ("RLIMIT_CORE", 0))


def test_best_effort_warns_of_each_limit_that_nobody_holds() -> None:
    warnings = plan(ASKED, NO_CGROUP, "process", enforcement="best-effort").warnings
    assert [warning.split()[2] for warning in warnings] == ["memory", "cpu", "pids"]
    assert "each OS process to it, not their sum" in warnings[0]


@pytest.mark.parametrize(("role", "size"), [("main", 64 * MIB), ("worker", 32 * MIB)])
def test_best_effort_holds_each_os_process_to_the_memory(role: str, size: int) -> None:
    assert ("RLIMIT_DATA", size) in plan(ASKED, NO_CGROUP, role, enforcement="best-effort").rlimits


def test_a_worker_without_memory_of_its_own_gets_the_processs() -> None:
    rlimits = plan(Limits(memory=64 * MIB), NO_CGROUP, "worker", enforcement="best-effort").rlimits
    assert ("RLIMIT_DATA", 64 * MIB) in rlimits


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(memory=0), "memory = 0"),
        (Limits(cpu=0.001), r"cpu = 0.001: the least is 0.01"),
        (Limits(cpu=math.nan), "cpu = nan"),
        (Limits(pids=0), "pids = 0"),
        (Limits(files=3), "files = 3"),
        (Limits(core=-1), "core = -1"),
        (Limits(workers=-1), "workers = -1"),
    ],
)
def test_numbers_without_a_meaning_are_refused(limits: Limits, words: str) -> None:
    with pytest.raises(RequestRefused, match=words):
        plan(limits, Everything(), "process")


def test_an_unknown_enforcement_is_refused() -> None:
    with pytest.raises(RequestRefused, match='"maybe"'):
        plan(Limits(), Everything(), "process", enforcement="maybe")


def test_caps_are_said_with_their_holder() -> None:
    assert held_caps(Caps(64 * MIB, 0.5, 16), Everything()) == {
        "memory": "64 MiB by cgroup v1 memory, read back",
        "cpu": "0.5 cores by cgroup v1 cpu, read back",
        "pids": "16 by cgroup v1 pids, read back",
    }


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that waits for the end of its input."""
    code = "import sys\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_rlimits_are_set_from_outside_and_read_back(child: subprocess.Popen[bytes]) -> None:
    applied = apply(plan(Limits(files=64), Everything(), "main"), child.pid)
    assert applied.left == []
    assert applied.enforced.limits == {"files": "64 by RLIMIT_NOFILE, read back", "core": "0 B by RLIMIT_CORE, read back"}
    assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE) == (64, 64)
    assert {name: rlimits_of(child.pid)[name] for name in ("RLIMIT_NOFILE", "RLIMIT_CORE")} == {
        "RLIMIT_NOFILE": (64, 64),
        "RLIMIT_CORE": (0, 0),
    }


def test_a_limit_is_only_ever_lowered_and_less_than_asked_is_said(child: subprocess.Popen[bytes]) -> None:
    resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (50, 50))
    applied = apply(plan(Limits(files=64), Everything(), "main"), child.pid)
    assert applied.enforced.limits["files"] == "50 by RLIMIT_NOFILE, read back"
    assert applied.enforced.warnings == [
        "RLIMIT_NOFILE is 50, not the 64 that were asked: that is its hard limit, which is only ever lowered"
    ]


def test_what_a_zygote_is_held_to_does_not_hold_what_it_forks(child: subprocess.Popen[bytes]) -> None:
    hard = resource.prlimit(child.pid, resource.RLIMIT_NOFILE)[1]
    held = apply(plan(Limits(memory=512 * MIB, files=64), NO_CGROUP, "zygote", enforcement="best-effort"), child.pid)
    assert held.enforced.limits["memory"] == "512 MiB by RLIMIT_DATA for each OS process, not the tree, read back"
    assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE) == (64, hard)
    assert resource.prlimit(child.pid, resource.RLIMIT_DATA)[0] == 512 * MIB
    applied = apply(plan(Limits(files=200, core=MIB), NO_CGROUP, "main"), child.pid)  # as if it had been forked from there
    assert applied.enforced.limits == {"files": "200 by RLIMIT_NOFILE, read back", "core": "1 MiB by RLIMIT_CORE, read back"}
    assert resource.prlimit(child.pid, resource.RLIMIT_DATA)[0] == resource.getrlimit(resource.RLIMIT_DATA)[1]


def test_the_order_of_victims_is_set_and_never_lowered(child: subprocess.Popen[bytes]) -> None:
    scores = []
    for role in ("worker", "main"):
        apply(plan(Limits(), Everything(), role), child.pid)
        with open(f"/proc/{child.pid}/oom_score_adj") as file:  # noqa: PTH123 -- a file of /proc
            scores.append(int(file.read()))
    assert scores == [WORKER_OOM_SCORE, WORKER_OOM_SCORE]


def test_memory_that_a_process_is_over_already_is_refused_with_the_numbers(child: subprocess.Popen[bytes]) -> None:
    with pytest.raises(HostFailure, match=r"cannot hold process \d+ to 1 MiB by RLIMIT_DATA: it holds .* MiB before it begins"):
        apply(plan(Limits(memory=MIB), NO_CGROUP, "main", enforcement="best-effort"), child.pid)


def test_what_a_child_was_to_set_itself_is_read_from_outside(child: subprocess.Popen[bytes]) -> None:
    resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (64, 64))
    assert read_back(child.pid, [Rlimit("RLIMIT_NOFILE", 64)]).limits == {"files": "64 by RLIMIT_NOFILE, read back"}
    with pytest.raises(HostFailure, match=r"RLIMIT_NOFILE was to be 32 and reads 64 and 64"):
        read_back(child.pid, [Rlimit("RLIMIT_NOFILE", 32)])


def test_a_process_that_is_gone_cannot_be_limited() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(HostFailure, match=f"process {pid}"):
        apply(plan(Limits(), Everything(), "main"), pid)
