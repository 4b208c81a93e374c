"""What the options that cap a process come to: strict for what was asked for, and a wish for what a run has by default."""

from pathlib import Path

import pytest

from dadmsctl.commands.limiting import read_change
from dadmsctl.limits import DEFAULTS, beyond_private, demand, held_by
from dadmsd.kernel.host.rlimits import Rlimits
from dadmsd.kernel.host.tree import Tree
from dadmsd.kernel.host.v1 import V1
from dadmsd.kernel.host.v2 import V2

RLIMITS = Rlimits(reasons=()).name
MIB = 1 << 20


@pytest.mark.parametrize("backend", ["cgroup v1", "cgroup v2 (no pids)", RLIMITS])
def test_a_limit_that_nobody_asked_for_is_never_strict(backend: str) -> None:
    wanted = demand({"memory": None, "cpu": None, "workers": 2, "best_effort": False}, backend)
    assert (wanted.enforcement, wanted.warnings) == ("best-effort", [])
    assert {name: getattr(wanted.limits, name) for name in DEFAULTS} == DEFAULTS
    assert wanted.limits.workers == 2


def test_a_limit_that_was_asked_for_is_strict_and_stands_beside_the_defaults_that_hold() -> None:
    wanted = demand({"memory": 64 * MIB, "pids": None}, "cgroup v1")
    assert (wanted.enforcement, wanted.warnings) == ("strict", [])
    assert (wanted.limits.memory, wanted.limits.pids, wanted.limits.worker_memory) == (64 * MIB, 256, 1024 * MIB)


def test_a_default_that_does_not_hold_is_left_out_beside_a_strict_limit_and_this_is_said() -> None:
    wanted = demand({"memory": 64 * MIB}, "cgroup v2 (no cpu, no pids)")
    assert (wanted.enforcement, wanted.limits.memory, wanted.limits.pids) == ("strict", 64 * MIB, None)
    assert wanted.warnings == ["not enforced: pids = 256, which a run has by default: limits are held by cgroup v2 (no cpu, no pids)"]
    wanted = demand({"pids": 9}, RLIMITS)
    assert (wanted.limits.memory, wanted.limits.worker_memory, wanted.limits.pids) == (None, None, 9)
    assert "memory = 2 GiB, worker_memory = 1 GiB" in wanted.warnings[0]


def test_best_effort_makes_a_wish_of_what_was_asked_for() -> None:
    wanted = demand({"memory": 64 * MIB, "best_effort": True}, RLIMITS)
    assert (wanted.enforcement, wanted.limits.memory, wanted.limits.pids) == ("best-effort", 64 * MIB, 256)


def test_on_an_ordinary_users_own_daemon_everything_is_a_wish() -> None:
    wanted = demand({"memory": 64 * MIB}, RLIMITS, is_own=True)
    assert (wanted.enforcement, wanted.limits.memory, wanted.warnings) == ("best-effort", 64 * MIB, [])


def test_what_a_backend_holds_is_read_from_the_name_that_it_gives_itself(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path))
    unified = V2(tree, tree, "/")
    for held in (set(), {"memory"}, {"memory", "pids"}, {"memory", "cpu", "pids"}):
        unified.holds = frozenset(held)
        assert held_by(unified.name) == held
        if held:
            assert held_by(V1(dict.fromkeys(held, tree), {}, None).name) == held
    assert held_by(RLIMITS) == set()
    tree.close()


def test_rates_of_a_device_are_changed_live_as_they_are_spawned_with() -> None:
    assert read_change("io=/dev/sda:read_bytes=10M,write_ops=100") == ("io", {"/dev/sda": {"read_bytes": 10 << 20, "write_ops": 100}})
    assert read_change("io=none") == ("io", {})
    assert read_change("nice=-5") == ("nice", -5)


@pytest.mark.parametrize(
    ("caps", "is_own", "why"),
    [
        ({"memory": 4096 * MIB, "cpu": 1.6}, False, ""),
        ({"memory": None, "cpu": None}, False, ""),
        ({"memory": 1 << 40}, True, "a memory limit of 1 TiB asked, all processes together may use 4 GiB (memory_limit_mb)"),
        ({"cpu": 2.0}, False, "2 cores asked, all processes together may use 1.6 (cpu_limit_percent)"),
        ({"cpu": 2.0, "best_effort": True}, False, ""),
        ({"cpu": 2.0}, True, ""),
    ],
)
def test_what_a_private_daemon_would_refuse_for_all_its_processes_is_known_before_it_starts(
    caps: dict[str, object], is_own: bool, why: str
) -> None:
    assert beyond_private(caps, cores=2, is_own=is_own) == why
