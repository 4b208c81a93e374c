"""Races and refusals of the kernel, each as a list of events."""

import msgspec
import pytest

from dadms_ipc import port, requests
from dadms_ipc.requests import Limits, Spawn, Spec
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.kernel import Kernel
from dadmsd.worker.messages import Outcome
from tests.property.kernel.world import World, settings

NIL = msgspec.Raw(b"\xc0")


class Driver:
    """A kernel, with the events of a machine on which everything works at once."""

    def __init__(self, **changes: object) -> None:
        self.kernel = Kernel(settings(**changes))
        self.kernel.adopt([], now=0.0, wall=1000.0)
        self.now = 0.0
        self.sequence = 0

    def give(self, *batch: events.Event, after: float = 0.0) -> list[effects.AnyEffect]:
        self.now += after
        done = self.kernel.handle(batch, now=self.now, wall=1000.0 + self.now)
        self.kernel.take_rows()
        self.kernel.check()
        return done

    def ask(self, request: requests.Request, *, uid: int = 0, role: str = "admin", sequence: int = 0) -> effects.Reply | None:
        self.sequence = sequence or self.sequence + 1
        done = self.give(events.RequestArrived(b"c", self.sequence, uid, role, f"uid {uid}", request))
        replies = [effect for effect in done if isinstance(effect, effects.Reply)]
        return replies[0] if replies else None

    def refusal(self, request: requests.Request, *, uid: int = 0, role: str = "admin") -> str:
        reply = self.ask(request, uid=uid, role=role)
        assert reply is not None
        assert reply.status == "refused", reply
        assert isinstance(reply.answer, dict)
        return str(reply.answer["message"])

    def open(self, name: str, os_pid: int) -> None:
        self.give(events.Forked(name, os_pid, 1))
        self.give(events.GateOpened(name))

    def run(self, *, workers: int = 2) -> int:
        """Start a process up to running; gives its pid."""
        reply = self.ask(Spawn(Spec("p", "decision", limits=Limits(workers=workers))))
        assert reply is not None
        assert isinstance(reply.answer, dict)
        pid = int(reply.answer["pid"])
        zygote = next(iter(self.kernel.state.zygotes.values()))
        if self.kernel.state.children[zygote].phase == "forking":
            self.open(zygote, 50)
            self.give(events.ZygoteReady(zygote, "1", [], [], 0.1))
        self.open(f"{pid}.1", 100)
        self.give(events.MainReady(f"{pid}.1", ["work"], []))
        return pid

    def submit(self, pid: int, count: int = 1, *, timeout: float | None = None) -> list[effects.AnyEffect]:
        sequence = self.kernel.state.processes[pid].submitted + 1
        return self.give(events.Submitted(f"{pid}.1", port.Submit(sequence, "work", [NIL] * count, [], timeout)))

    def worker(self, name: str, os_pid: int) -> list[effects.AnyEffect]:
        self.open(name, os_pid)
        return self.give(events.WorkerReady(name))


def names(done: list[effects.AnyEffect], kind: type[effects.Effect]) -> list[str]:
    return [getattr(effect, "name", "") for effect in done if isinstance(effect, kind)]


def test_a_process_goes_from_admitted_to_running() -> None:
    """Zygote, import, fork, gate, handshake."""
    driver = Driver()
    pid = driver.run()
    assert driver.kernel.state.processes[pid].status == "running"


def test_a_second_process_shares_the_zygote() -> None:
    """The code is imported once for all processes of an orchestrator and a user."""
    driver = Driver()
    driver.run()
    driver.run()
    assert len([child for child in driver.kernel.state.children.values() if child.role == "zygote"]) == 1


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Spec("x", "bpnm"), "did you mean bpmn?"),
        (Spec("x", "decision", limits=Limits(memory=5)), "memory is 5, at least"),
        (Spec("x", "decision", limits=Limits(cpu=-1.0)), "cpu is -1.0"),
        (Spec("x", "decision", limits=Limits(cpu=float("nan"))), "cpu is nan"),
        (Spec("x", "decision", limits=Limits(workers=0)), "workers is 0"),
        (Spec("x", "decision", limits=Limits(workers=100_000)), "at most 256"),
        (Spec("x", "decision", enforcement="lax"), 'enforcement is "strict"'),
        (Spec("", "decision"), "a name has 1 to 200"),
        (Spec("a\nb", "decision"), "a name has 1 to 200"),
        (Spec("x", "decision", memory_request=1 << 50), "free of 4 GiB"),
        (Spec("x", "decision", cpu_request=3.0), "3 cores asked, 2 free of 2"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_and_changes_nothing(spec: Spec, words: str) -> None:
    """The refusal names what is wrong; no row, no grant, no effect but the answer."""
    driver = Driver()
    assert words in driver.refusal(Spawn(spec))
    assert not driver.kernel.state.processes
    assert not driver.kernel.state.children
    assert not driver.kernel.state.ledger.grants


def test_an_observer_may_look_and_not_touch() -> None:
    """The role decides, and the refusal says which one is needed."""
    driver = Driver()
    pid = driver.run()
    assert 'needs the role "operate"' in driver.refusal(requests.Kill(pid), role="observe")
    reply = driver.ask(requests.List(), role="observe")
    assert reply is not None
    assert reply.status == "ok"


def test_another_users_process_is_out_of_reach() -> None:
    """Who is neither root, nor the daemon's user, nor the owner may not kill it."""
    driver = Driver()
    pid = driver.run()
    assert "belongs to user 0" in driver.refusal(requests.Kill(pid), uid=1000, role="operate")
    assert "is not root" in driver.refusal(Spawn(Spec("x", "decision", uid=0)), uid=1000, role="operate")


def test_a_retry_gets_the_same_answer_and_starts_nothing() -> None:
    """The same (client, sequence) twice is one process."""
    driver = Driver()
    first = driver.ask(Spawn(Spec("p", "decision")), sequence=7)
    again = driver.ask(Spawn(Spec("p", "decision")), sequence=7)
    assert first is not None
    assert again is not None
    assert again.encoded is not None
    assert msgspec.msgpack.decode(again.encoded) == first.answer
    assert len(driver.kernel.state.processes) == 1


def test_stop_escalates_to_sigkill_at_the_deadline() -> None:
    """A process that ignores SIGTERM is killed, tree and all, when its stop time-out passes."""
    driver = Driver()
    pid = driver.run()
    reply_and_more = driver.give(events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.Kill(pid)))
    assert effects.Signal(f"{pid}.1", 15) in reply_and_more
    assert not [effect for effect in driver.give(events.TimePassed(), after=4.9) if isinstance(effect, effects.Signal)]
    done = driver.give(events.TimePassed(), after=0.2)
    assert effects.Signal(f"{pid}.1", 9) in done
    assert effects.KillGroup(pid) in done


def test_a_late_report_changes_nothing() -> None:
    """Reports about a child that has gone on are ignored by the table."""
    driver = Driver()
    pid = driver.run()
    before = driver.kernel.state.children[f"{pid}.1"].phase
    driver.give(events.Forked(f"{pid}.1", 4711, 1), events.GateOpened(f"{pid}.1"), events.GateShut(f"{pid}.1", "late"))
    assert driver.kernel.state.children[f"{pid}.1"].phase == before
    assert driver.kernel.state.children[f"{pid}.1"].os_pid == 100


def test_an_exit_of_a_stranger_is_buried() -> None:
    """A zygote that did not hear the acknowledgement gets it again."""
    driver = Driver()
    assert names(driver.give(events.Exited("1001.9", 1, 0)), effects.Bury) == ["1001.9"]


def test_a_killed_worker_costs_its_thread_and_nothing_else() -> None:
    """The thread that it had begun ends in error with the cause; the other one runs elsewhere; the slot is free."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 2)
    driver.worker(f"{pid}.1/w1", 201)
    done = driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=1))
    finished = [effect.message for effect in done if isinstance(effect, effects.Tell) and isinstance(effect.message, port.Finished)]
    assert [(result.tid, result.status, result.cause) for result in finished[0].results] == [(1, "error", "worker_lost")]
    assert names(done, effects.Fork) == [f"{pid}.1/w2"]
    done = driver.worker(f"{pid}.1/w2", 202)
    assert [item.tid for effect in done if isinstance(effect, effects.SendBatch) for item in effect.items] == [2]


def test_a_thread_that_was_not_begun_is_not_lost_with_its_worker() -> None:
    """A worker that is killed before it began the thread gives it back."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1", 201)
    done = driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=0))
    assert not [effect for effect in done if isinstance(effect, effects.Tell)]
    done = driver.worker(f"{pid}.1/w2", 202)
    assert [item.tid for effect in done if isinstance(effect, effects.SendBatch) for item in effect.items] == [1]


def test_out_of_memory_is_the_cause_when_it_was() -> None:
    """A thread whose worker the OOM killer took says so, with whose limit."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1", 201)
    done = driver.give(events.Exited(f"{pid}.1/w1", 2, 9, oom="its own limit", begun=1))
    result = next(
        effect.message for effect in done if isinstance(effect, effects.Tell) and isinstance(effect.message, port.Finished)
    ).results[0]
    assert (result.cause, result.message) == ("oom", "out of memory: its own limit")
    assert driver.kernel.state.processes[pid].status == "running"


def test_a_thread_that_runs_too_long_times_out() -> None:
    """Its worker is ended at the deadline, and the thread says how long it had."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, timeout=2.0)
    driver.worker(f"{pid}.1/w1", 201)
    assert not names(driver.give(events.TimePassed(), after=1.9), effects.Signal)
    assert names(driver.give(events.TimePassed(), after=0.2), effects.Signal) == [f"{pid}.1/w1"]
    done = driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=1))
    result = next(
        effect.message for effect in done if isinstance(effect, effects.Tell) and isinstance(effect.message, port.Finished)
    ).results[0]
    assert (result.status, result.message) == ("timed_out", "did not end within 2 s")


def test_slots_bound_what_runs() -> None:
    """With two slots, two processes with two workers each run two threads at a time."""
    driver = Driver(slots=2)
    pids = [driver.run(), driver.run()]
    for pid in pids:
        driver.submit(pid, 3)
    workers = [name for name, child in driver.kernel.state.children.items() if child.role == "worker"]
    for number, name in enumerate(workers):
        driver.worker(name, 300 + number)
    assert sum(len(worker.in_flight) for pool in driver.kernel.state.pools.values() for worker in pool.workers.values()) == 2


def test_a_worker_that_claims_another_threads_result_is_ended() -> None:
    """A result for a thread that it was not given is a violation, not a result."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1", 201)
    done = driver.give(events.ResultsRead(f"{pid}.1/w1", [Outcome(1, 99, "completed", NIL)]))
    assert effects.Signal(f"{pid}.1/w1", 9) in done
    assert driver.kernel.state.processes[pid].threads_done == 0


def test_workers_that_never_come_up_fail_the_threads_that_wait() -> None:
    """After five in a row the threads end in error with the reason, instead of being tried for ever."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    for number in range(1, 6):
        driver.give(events.Forked(f"{pid}.1/w{number}", 200 + number, 1))
        driver.give(events.GateShut(f"{pid}.1/w{number}", "no room"), events.Exited(f"{pid}.1/w{number}", 2, 9))
    info = driver.kernel.state.threads[-1]
    assert (info.state, info.cause) == ("error", "worker_lost")
    assert "no room" in info.message


def test_a_handlers_module_that_does_not_import_fails_its_process_with_the_reason() -> None:
    """The zygote says why; the process ends as failed, and everything is given back."""
    driver = Driver()
    driver.ask(Spawn(Spec("p", "decision", handlers="/x.py")))
    driver.open("zygote/1", 50)
    driver.give(events.ZygoteReady("zygote/1", "1", [], [], 0.1))
    driver.open("zygote/2", 51)
    driver.give(events.ChildFailed("zygote/2", 'cannot import handlers "x.py": line 3'))
    done = driver.give(events.Exited("zygote/2", 1, 70))
    assert effects.ClearGroup(1001) in done
    driver.give(events.GroupGone(1001))
    process = driver.kernel.state.processes[1001]
    assert (process.status, process.cause, process.reason) == ("failed", "import failed", 'cannot import handlers "x.py": line 3')


def test_an_import_that_does_not_end_is_ended() -> None:
    """After the import time-out the zygote is killed, and the process fails with that reason."""
    driver = Driver()
    driver.ask(Spawn(Spec("p", "decision", handlers="/x.py")))
    driver.open("zygote/1", 50)
    driver.give(events.ZygoteReady("zygote/1", "1", [], [], 0.1))
    driver.open("zygote/2", 51)
    assert names(driver.give(events.TimePassed(), after=30.1), effects.Signal) == ["zygote/2"]
    driver.give(events.Exited("zygote/2", 2, 9))
    driver.give(events.GroupGone(1001))
    assert "not finished after 30 s" in driver.kernel.state.processes[1001].reason


def test_waiting_ends_when_the_process_does() -> None:
    """A parked request is answered by the turn that ends the process."""
    driver = Driver()
    pid = driver.run()
    assert driver.ask(requests.Wait(pid, timeout=60.0)) is None
    driver.give(events.OutcomeGiven(f"{pid}.1", port.Outcome("completed", msgspec.Raw(msgspec.msgpack.encode({"x": 1})))))
    driver.give(events.Exited(f"{pid}.1", 1, 0))
    done = driver.give(events.GroupGone(pid))
    replies = [effect.answer for effect in done if isinstance(effect, effects.Reply)]
    assert len(replies) == 1
    assert isinstance(replies[0], requests.ProcessInfo)
    assert (replies[0].status, replies[0].outcome) == ("completed", {"x": 1})


def test_waiting_ends_when_its_time_does() -> None:
    """At the time-out the answer is what is, not an error."""
    driver = Driver()
    pid = driver.run()
    assert driver.ask(requests.Wait(pid, timeout=2.0)) is None
    done = driver.give(events.TimePassed(), after=2.1)
    infos = [effect.answer for effect in done if isinstance(effect, effects.Reply)]
    assert isinstance(infos[0], requests.ProcessInfo)
    assert infos[0].status == "running"


def test_events_have_consecutive_numbers_and_can_be_read_on() -> None:
    """A reader that goes on from the last number misses none."""
    driver = Driver()
    driver.run()
    page = driver.ask(requests.Events(after=0, limit=2))
    assert page is not None
    assert isinstance(page.answer, requests.EventPage)
    rest = driver.ask(requests.Events(after=page.answer.last))
    assert rest is not None
    assert isinstance(rest.answer, requests.EventPage)
    numbers = [info.number for info in [*page.answer.events, *rest.answer.events]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_after_a_reboot_everything_that_lived_has_ended() -> None:
    """Rows of another boot: no process is taken for a living one."""
    world = World(1, wanted=5)
    world.spawn(1)
    for _ in range(10):
        world.happen(may_kill=False)
        world.turn()
    kernel = Kernel(settings(epoch=2, boot_id="other"))
    done = kernel.adopt(list(world.disk.values()), now=0.0, wall=0.0, interruption="the machine was restarted")
    kernel.take_rows()
    cleared = [effect.pid for effect in done if isinstance(effect, effects.ClearGroup)]
    kernel.handle([events.GroupGone(pid) for pid in cleared], now=0.0, wall=0.0)
    kernel.check()
    process = kernel.state.processes[1001]
    assert process.status == "failed"
    assert process.reason == "the machine was restarted"


def test_a_cancellation_takes_its_number_like_a_submission() -> None:
    """Both share one counter; what follows a cancellation is accepted, and a submission before it is answered again."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 2)
    name = f"{pid}.1"
    driver.give(events.CancelAsked(name, 2, [1, 2]))
    again = driver.give(events.Submitted(name, port.Submit(1, "work", [NIL] * 2)))
    assert [effect.message for effect in again if isinstance(effect, effects.Tell)] == [port.Accepted(1, 1)]
    after = driver.give(events.Submitted(name, port.Submit(3, "work", [NIL])))
    assert port.Accepted(3, 3) in [effect.message for effect in after if isinstance(effect, effects.Tell)]
    assert [info.state for info in driver.kernel.state.threads] == ["terminated", "terminated"]


def test_a_submission_that_runs_ahead_waits_for_its_repetition() -> None:
    """What came before it was read by a kernel that died: it is not accepted out of order."""
    driver = Driver()
    pid = driver.run()
    assert not driver.give(events.Submitted(f"{pid}.1", port.Submit(2, "work", [NIL])))
    assert driver.kernel.state.processes[pid].asked == 0


def test_a_process_that_somebody_waits_for_is_told_so() -> None:
    """Only one that lives, and is past its gate."""
    driver = Driver()
    pid = driver.run()
    assert driver.give(events.LineWanted(pid)) == [effects.Tell(f"{pid}.1", port.Listen())]
    assert driver.give(events.LineWanted(4711)) == []
