"""Who may start what: refusals change nothing and say why, with the numbers."""

import msgspec
import pytest

from dadms_ipc import requests
from dadms_ipc.requests import IoLimit, Limits, Spawn, Spec
from dadmsd.kernel.core import effects, events
from tests.unit.kernel.driver import Driver, names


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Spec("x", "bpnm"), 'did you mean "bpmn"?'),
        (Spec("x", "zzz"), "there are bpmn, decision"),
        (Spec("x", "decision", limits=Limits(memory=5)), "memory is 5 B, at least 20 MiB is needed by an orchestrator"),
        (Spec("x", "decision", limits=Limits(memory=16 << 20)), "memory is 16 MiB, at least 20 MiB is needed"),
        (Spec("x", "decision", limits=Limits(pids=5)), "pids is 5, at least 6 is needed by an orchestrator and its worker"),
        (Spec("x", "decision", limits=Limits(pids=4_194_305)), "pids = 4194305: the most is 4194304 tasks"),
        (Spec("x", "decision", limits=Limits(cpu=2.5)), "2.5 cores asked, all processes together may use 2 (cpu_limit_percent)"),
        (Spec("x", kind="tool", command=["true"], limits=Limits(memory=1 << 20)), "memory is 1 MiB, at least 8 MiB is needed"),
        (Spec("x", "decision", limits=Limits(memory=1 << 40)), "a memory limit of 1 TiB asked"),
        (Spec("x", "decision", limits=Limits(cpu=-1.0)), "cpu is -1.0"),
        (Spec("x", "decision", limits=Limits(cpu=float("nan"))), "cpu is nan"),
        (Spec("x", "decision", limits=Limits(workers=0)), "workers is 0"),
        (Spec("x", "decision", limits=Limits(workers=100_000)), "workers = 100000: the most is 256 a process"),
        (Spec("x", "decision", stop_timeout=float("inf")), "stop_timeout = inf: the most is 2592000 s"),
        (Spec("x", "decision", thread_timeout=float("inf")), "thread_timeout = inf: the most is 2592000 s"),
        (Spec("x", "decision", enforcement="lax"), 'enforcement is "strict"'),
        (Spec("x", "decision", group="g" * 201), "a group has at most 200 characters, not 201"),
        (Spec("", "decision"), "a name has 1 to 200"),
        (Spec("a\nb", "decision"), "a name has 1 to 200"),
        (Spec("1001", "decision"), "a name of digits alone would be taken for a pid"),
        (Spec("group:night", "decision"), 'a name that begins with "group:" would be taken for a group'),
        (Spec("x", "decision", memory_request=1 << 50), "free of 4 GiB"),
        (Spec("x", "decision", cpu_request=3.0), "3 cores asked, 2 free of 2"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_and_changes_nothing(spec: Spec, words: str) -> None:
    """The refusal names what is wrong; no row, no grant, no effect but the answer."""
    driver = Driver()
    assert words in driver.refusal(Spawn(spec))
    assert not driver.state.processes
    assert not driver.state.children
    assert not driver.state.ledger.grants


@pytest.mark.parametrize("name", ["a.b:c|0", "a:b|1001", "a b:c", "a:", ":b", "a:b:c", "../x:y", "a..b:c"])
def test_code_is_a_module_and_an_attribute_and_nothing_else(name: str) -> None:
    """Zygotes are found by code, user and process: a name that holds a separator could be taken for the zygote of another user's process."""
    assert "no orchestrator" in Driver().refusal(Spawn(Spec("x", name)), uid=1001, role="operate")


def test_code_of_ones_own_is_admitted() -> None:
    """A dotted module and an attribute of it."""
    driver = Driver()
    driver.answer(Spawn(Spec("x", "my.models.bpmn:ORCHESTRATOR")))
    assert driver.child("zygote/1").key == "my.models.bpmn:ORCHESTRATOR|0"


@pytest.mark.parametrize(
    "limits",
    [
        Limits(memory=100_000_000),
        Limits(worker_memory=100_000_000),
        Limits(cpu=1.0),
        Limits(pids=100),
        Limits(memory_high=100_000_000),
        Limits(swap=4096),
        Limits(cpu_weight=10_000),
        Limits(io={"/": IoLimit(read_bytes=1)}),
    ],
)
def test_a_limit_that_nobody_can_enforce_is_refused_unless_best_effort_is_good_enough(limits: Limits) -> None:
    """Strictly, a cap that the backend does not hold is an error at once."""
    driver = Driver(holds=frozenset())
    assert "cannot be enforced here" in driver.refusal(Spawn(Spec("x", "decision", limits=limits)))
    driver.answer(Spawn(Spec("x", "decision", limits=limits, enforcement="best-effort")))


def test_a_wish_for_more_cores_than_there_are_is_lowered_and_said() -> None:
    """With best-effort; what a command needs at least is less than what an orchestrator does."""
    driver = Driver()
    pid = int(driver.answer(Spawn(Spec("x", "decision", limits=Limits(cpu=2.5), enforcement="best-effort")))["pid"])
    assert driver.process(pid).spec.limits.cpu == 2.0
    assert driver.process(pid).warnings == ["2.5 cores asked, held to the 2 that all processes together may use (cpu_limit_percent)"]
    driver.answer(Spawn(Spec("y", kind="tool", command=["true"], limits=Limits(memory=8 << 20, pids=2))))


def test_an_observer_may_look_and_not_touch() -> None:
    """The role decides, and the refusal says which one is needed."""
    driver = Driver()
    pid = driver.run()
    assert 'needs the role "operate"' in driver.refusal(requests.Kill(pid), role="observe")
    assert 'has "nobody"' in driver.refusal(requests.List(), role="nobody")
    assert len(driver.answer(requests.List(), role="observe")) == 1


def test_another_users_process_is_out_of_reach() -> None:
    """Who is neither root, nor the daemon's user, nor the owner may not kill it, its threads, or read its log."""
    driver = Driver()
    pid = driver.run()
    driver.submit(pid)
    for request in (requests.Kill(pid), requests.KillThread(1), requests.ReadLog(pid)):
        assert "belongs to user 0" in driver.refusal(request, uid=1000, role="operate")
    assert "is not root" in driver.refusal(Spawn(Spec("x", "decision", uid=0)), uid=1000, role="operate")


def test_root_may_start_a_process_for_another_user() -> None:
    """It gets a zygote of that user."""
    driver = Driver()
    driver.answer(Spawn(Spec("x", "decision", uid=1000)))
    assert driver.process().uid == 1000
    assert driver.child("zygote/1").uid == 1000


def test_a_daemon_without_rights_runs_its_own_user_only() -> None:
    """It could not change the user; it says so instead of trying."""
    driver = Driver(uid=1000)
    assert "the daemon runs as user 1000" in driver.refusal(Spawn(Spec("x", "decision")), uid=1001, role="operate")
    driver.answer(Spawn(Spec("x", "decision")), uid=1000, role="operate")


def test_a_retry_gets_the_same_answer_and_starts_nothing() -> None:
    """The same (client, sequence) twice is one process."""
    driver = Driver()
    first = driver.ask(Spawn(Spec("p", "decision")), sequence=7)
    again = driver.ask(Spawn(Spec("p", "decision")), sequence=7)
    assert first is not None
    assert again is not None
    assert again.encoded is not None
    assert msgspec.msgpack.decode(again.encoded) == first.answer
    assert len(driver.state.processes) == 1


def test_a_refusal_is_no_answer_to_keep() -> None:
    """What was refused for want of room may succeed when it is asked again."""
    driver = Driver(max_processes=1)
    pid = driver.run()
    refused = driver.ask(Spawn(Spec("q", "decision")), sequence=50)
    assert refused is not None
    assert refused.status == "refused"
    driver.end(pid)
    again = driver.ask(Spawn(Spec("q", "decision")), sequence=50)
    assert again is not None
    assert again.status == "ok"


def test_what_a_process_reserved_is_free_when_nothing_is_left_of_it_and_not_before() -> None:
    """Its main is gone, its group not yet: the ledger still counts it."""
    driver = Driver(memory_limit=100)
    pid = driver.run(memory_request=80)
    driver.give(events.Exited(f"{pid}.1", 1, 0))
    assert "20 B free of 100 B" in driver.refusal(Spawn(Spec("q", "decision", memory_request=80)))
    driver.give(events.GroupGone(pid))
    driver.answer(Spawn(Spec("q", "decision", memory_request=80)))


def test_a_daemon_that_ends_starts_nothing() -> None:
    """The refusal says why."""
    driver = Driver()
    driver.give(events.StopAsked("SIGTERM"))
    assert "the daemon is shutting down" in driver.refusal(Spawn(Spec("x", "decision")))


def test_processes_of_one_code_and_user_share_a_zygote() -> None:
    """The code is imported once; the second process is forked at once."""
    driver = Driver()
    driver.run()
    done = driver.give(events.RequestArrived(b"d", 1, 0, "admin", "uid 0", Spawn(Spec("q", "decision"))))
    assert names(done, effects.Fork) == ["1002.1"]
    assert [child.role for child in driver.state.children.values()] == ["zygote", "main", "main"]
