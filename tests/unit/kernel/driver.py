"""Drives a kernel by hand: a machine on which everything works at once, unless a test says otherwise."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from dadms_ipc import port, requests
from dadms_ipc.requests import Limits, Spawn, Spec, ThreadInfo
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.kernel import Kernel
from dadmsd.kernel.core.records import Child, Process, Record
from dadmsd.kernel.core.state import State
from dadmsd.worker.messages import Outcome
from tests.property.kernel.world import settings

NIL = msgspec.Raw(b"\xc0")
START = 1000.0  # wall clock, seconds

Kind = TypeVar("Kind", bound=effects.Effect)


class Driver:
    """A kernel and its journal, event by event."""

    def __init__(self, **changes: Any) -> None:
        self.settings = settings(**changes)
        self.kernel = Kernel(self.settings)
        self.kernel.adopt([], now=0.0, wall=START)
        self.now = 0.0
        self.wall = START  # what the wall clock is ahead of that
        self.sequence = 0
        self.rows: dict[tuple[str, object], Record] = {}
        self._keep()

    @property
    def state(self) -> State:
        """What the kernel knows."""
        return self.kernel.state

    def process(self, pid: int = 1001) -> Process:
        """Give a process of the table."""
        return self.state.processes[pid]

    def child(self, name: str) -> Child:
        """Give a child."""
        return self.state.children[name]

    def thread(self, tid: int) -> ThreadInfo:
        """Give how a thread ended."""
        (info,) = [info for info in self.state.threads if info.tid == tid]
        return info

    def kinds(self, start: str = "") -> list[str]:
        """Give the kinds of the events that were told."""
        return [info.kind for info in self.state.events if info.kind.startswith(start)]

    def give(self, *batch: events.Event, after: float = 0.0) -> list[effects.AnyEffect]:
        """Let events happen, some seconds after the last ones; gives what is to be done."""
        self.now += after
        done = self.kernel.handle(batch or [events.TimePassed()], now=self.now, wall=self.wall + self.now)
        self._keep()
        self.kernel.check()
        return done

    def _keep(self) -> None:
        for address, record in self.kernel.take_rows().items():
            if record is None:
                self.rows.pop(address, None)
            else:
                self.rows[address] = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record))

    def next_kernel(self, *, interruption: str = "", without: tuple[str, ...] = ()) -> list[effects.AnyEffect]:
        """Kill the kernel after a commit and have another one adopt its rows; gives what that one does first."""
        self.kernel = Kernel(msgspec.structs.replace(self.state.settings, epoch=self.state.settings.epoch + 1))
        rows = [msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=type(row)) for row in self.rows.values()]
        done = self.kernel.adopt(rows, now=self.now, wall=self.wall + self.now, interruption=interruption)
        self._keep()
        self.kernel.check()
        return done

    def ask(self, request: requests.Request, *, uid: int = 0, role: str = "admin", sequence: int = 0) -> effects.Reply | None:
        """Have a client ask; gives the reply, None while the request waits."""
        self.sequence = sequence or self.sequence + 1
        replies = only(self.give(events.RequestArrived(b"c", self.sequence, uid, role, f"uid {uid}", request)), effects.Reply)
        return replies[0] if replies else None

    def answer(self, request: requests.Request, *, uid: int = 0, role: str = "admin") -> Any:
        """Have a client ask something that is answered at once."""
        reply = self.ask(request, uid=uid, role=role)
        assert reply is not None
        assert reply.status == "ok", reply
        return reply.answer

    def refusal(self, request: requests.Request, *, uid: int = 0, role: str = "admin") -> str:
        """Have a client ask something that is refused; gives the sentence."""
        reply = self.ask(request, uid=uid, role=role)
        assert reply is not None
        assert reply.status == "refused", reply
        assert isinstance(reply.answer, dict)
        return str(reply.answer["message"])

    def open(self, name: str, os_pid: int) -> None:
        """Have a child forked and limited."""
        self.give(events.Forked(name, os_pid, 1))
        self.give(events.GateOpened(name))

    def spawn(self, *, workers: int = 2, **changes: Any) -> int:
        """Have a process admitted; gives its pid."""
        return int(self.answer(Spawn(Spec("p", "decision", limits=Limits(workers=workers), **changes)))["pid"])

    def import_code(self, name: str = "zygote/1", os_pid: int = 50) -> list[effects.AnyEffect]:
        """Have a zygote forked, limited, and import its code."""
        self.open(name, os_pid)
        return self.give(events.ZygoteReady(name, "1", [], [], 0.1))

    def run(self, *, workers: int = 2, declarations: Sequence[port.Declaration] = (), **changes: Any) -> int:
        """Start a process up to running; gives its pid."""
        pid = self.spawn(workers=workers, **changes)
        while f"{pid}.1" not in self.state.children:
            self.import_code(next(name for name, child in self.state.children.items() if child.phase == "forking"))
        self.open(f"{pid}.1", 100)
        self.give(events.MainReady(f"{pid}.1", [*(each.entry for each in declarations), "work", "other"], [], {}, declarations))
        return pid

    def submit(
        self, pid: int, count: int = 1, *, entry: str = "work", timeout: float | None = None, **fields: Any
    ) -> list[effects.AnyEffect]:
        """Have a process ask for threads."""
        process = self.process(pid)
        request = port.Submit(process.asked + 1, entry, [NIL] * count, [], timeout, **fields)
        return self.give(events.Submitted(f"{pid}.{process.incarnation}", request))

    def cancel(self, pid: int, *tids: int) -> list[effects.AnyEffect]:
        """Have a process give threads up."""
        return self.give(events.CancelAsked(f"{pid}.1", self.process(pid).asked + 1, list(tids)))

    def worker(self, name: str, os_pid: int = 201) -> list[effects.AnyEffect]:
        """Have a worker forked, limited and ready."""
        self.open(name, os_pid)
        return self.give(events.WorkerReady(name))

    def finish(
        self, name: str, *, count: int = 1, seconds: float = 0.01, status: str = "completed", **fields: Any
    ) -> list[effects.AnyEffect]:
        """Have a worker end the oldest threads that it was given."""
        flying = list(self.state.pools[self.child(name).pid].workers[name].in_flight)[:count]
        outcomes = [Outcome(sequence, tid, status, NIL, run_seconds=seconds, **fields) for sequence, tid in flying]
        return self.give(events.ResultsRead(name, outcomes))

    def freeze(self, name: str) -> list[effects.AnyEffect]:
        """Have a worker stand still in the thread at its head."""
        return self.give(events.WorkerFrozen(name, self.state.pools[self.child(name).pid].workers[name].head[0]))

    def flying(self, name: str) -> list[int]:
        """Give the threads that a worker has."""
        return [tid for _, tid in self.state.pools[self.child(name).pid].workers[name].in_flight]

    def end(self, pid: int, how: int = 1, status: int = 0, **fields: Any) -> list[effects.AnyEffect]:
        """Have the main of a process exit, and whatever is left of it with it."""
        done = self.give(events.Exited(f"{pid}.1", how, status, **fields))
        while left := self.state.owned(pid):
            ended: list[events.Event] = [events.Exited(child.name, 2, 9) for child in left if child.phase == "killing"]
            ended += [events.ForkFailed(child.name, "it was not forked") for child in left if child.phase == "forking"]
            assert ended, f"nothing ends {[(child.name, child.phase) for child in left]}"
            done += self.give(*ended)
        return done + self.give(events.GroupGone(pid))


def short(driver: Driver, *, workers: int = 1, count: int = 30) -> int:
    """Start a process whose entry is known to be short, and submit threads that travel together."""
    pid = driver.run(workers=workers)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1", seconds=0.0001)
    driver.submit(pid, count)
    return pid


def only(done: list[effects.AnyEffect], *kinds: type[Kind]) -> list[Kind]:
    """Give the effects of these kinds."""
    return [effect for effect in done if isinstance(effect, kinds)]


def names(done: list[effects.AnyEffect], kind: type[effects.Effect]) -> list[str]:
    """Give whom the effects of one kind are about."""
    return [getattr(effect, "name", "") for effect in done if isinstance(effect, kind)]


def told(done: list[effects.AnyEffect], kind: type[Any]) -> list[Any]:
    """Give the messages of one kind that processes are told."""
    return [effect.message for effect in done if isinstance(effect, effects.Tell) and isinstance(effect.message, kind)]


def results(done: list[effects.AnyEffect]) -> list[port.Result]:
    """Give the results that processes are told."""
    return [result for message in told(done, port.Finished) for result in message.results]


def sent(done: list[effects.AnyEffect]) -> dict[str, list[int]]:
    """Give the threads that workers are sent."""
    return {effect.name: [item.tid for item in effect.items] for effect in done if isinstance(effect, effects.SendBatch)}
