"""A small machine for the kernel's core: zygotes, mains and workers as plain objects, and a kernel that can be killed between any two of its acts.

What is real: the core, its rows, and the promises of the other programs (docs/reference): forks are idempotent by name, zygotes report again at a hello, a main
repeats what was not answered, a page outlives worker and kernel, a worker drops sequences that it has seen. What is simulated is the machine alone.
"""

import random
from collections import deque
from typing import Any

import msgspec

from dadms_ipc import port
from dadms_ipc.requests import Kill, KillThread, Limits, Request, Spawn, Spec
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.kernel import Kernel
from dadmsd.kernel.core.records import Record
from dadmsd.kernel.core.state import Settings
from dadmsd.worker.messages import Item, Outcome

OWN = (events.GateOpened, events.GroupGone, events.RequestArrived, events.BusLinked)  # what is the kernel's own, or said again by the bus
NIL = msgspec.Raw(b"\xc0")


def settings(**changes: Any) -> Settings:
    """Make settings for a test."""
    defaults: dict[str, Any] = {
        "epoch": 1,
        "boot_id": "boot",
        "version": "test",
        "instance_key": b"k" * 32,
        "uid": 0,
        "runtime_dir": "/run/test",
        "state_dir": "/state/test",
        "is_private": False,
        "limits_backend": "simulated",
        "max_processes": 100,
        "slots": 8,
        "ready_timeout": 60.0,
        "thread_timeout": 30.0,
        "memory_limit": 1 << 32,
        "cpu_limit": 2.0,
    }
    return Settings(**{**defaults, **changes})


class FakeMain:
    """A process that runs ``wanted`` threads and ends with the number of those that completed."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.is_open = False
        self.unanswered: list[port.Submit] = []  # in order
        self.tids: set[int] = set()
        self.results: dict[int, str] = {}
        self.seen = 0
        self.outcome: port.Outcome | None = None
        self.outbox: deque[Any] = deque()

    def open(self) -> None:
        self.is_open = True
        self.outbox.append(port.Ready(["work"]))
        self._submit()

    def hello(self) -> None:
        if not self.is_open:
            return
        self.outbox.append(port.Ready(["work"]))
        self.outbox.extend(self.unanswered)
        if self.seen:
            self.outbox.append(port.Seen(self.seen))
        if self.outcome is not None:
            self.outbox.append(self.outcome)

    def _submit(self) -> None:
        for sequence, first in enumerate(range(0, self.wanted, 3), 1):
            request = port.Submit(sequence, "work", [NIL] * min(3, self.wanted - first))
            self.unanswered.append(request)
            self.outbox.append(request)

    def hear(self, message: Any) -> bool:
        """Take a message in; True when the process exits with 0."""
        match message:
            case port.Accepted():
                if self.unanswered and message.sequence == self.unanswered[0].sequence:
                    request = self.unanswered.pop(0)
                    tids = set(range(message.first_tid, message.first_tid + len(request.arguments)))
                    assert not tids & self.tids, "a submission was answered with another's threads"
                    self.tids |= tids
            case port.Refused():
                raise AssertionError(message.reason)
            case port.Finished():
                first = message.sequence - len(message.results) + 1
                assert first <= self.seen + 1, "a delivery was skipped"
                for offset, result in enumerate(message.results):
                    if first + offset > self.seen:
                        assert result.tid not in self.results, f"thread {result.tid} ended twice"
                        self.results[result.tid] = result.status
                if message.sequence > self.seen:
                    self.seen = message.sequence
                    self.outbox.append(port.Seen(self.seen))
                if len(self.results) == self.wanted and self.outcome is None:
                    self.outcome = port.Outcome("completed", msgspec.Raw(msgspec.msgpack.encode({"done": len(self.results)})))
                    self.outbox.append(self.outcome)
            case port.Recorded():
                return True
        return False


class FakeWorker:
    """A worker with its page."""

    def __init__(self, ledger: dict[int, int]) -> None:
        self.begun_by_tid = ledger
        self.is_open = False
        self.seen = self.begun = self.done = 0
        self.queue: deque[tuple[int, Item]] = deque()
        self.page: list[Outcome] = []
        self.rings = 0

    def batch(self, first: int, items: list[Item]) -> None:
        for offset, item in enumerate(items):
            if first + offset > self.seen:
                self.seen = first + offset
                self.queue.append((first + offset, item))

    def step(self) -> None:
        """Begin the next thread, or finish the one that was begun."""
        if self.begun > self.done:
            sequence, item = self.queue.popleft()
            self.page.append(Outcome(sequence, item.tid, "completed", NIL, run_seconds=0.0001))
            self.done = sequence
            self.rings += 1
        elif self.queue:
            self.begun, item = self.queue[0]
            self.begun_by_tid[item.tid] = self.begun_by_tid.get(item.tid, 0) + 1


class Zygote:
    """The reports of one zygote."""

    def __init__(self) -> None:
        self.children: dict[str, int] = {}  # name -> OS pid
        self.dead: dict[str, tuple[int, int]] = {}  # unreaped: name -> (how, status)


class World:
    """The machine, the rows on its disk, and the kernel of the moment."""

    def __init__(self, seed: int, *, wanted: int = 7, workers: int = 2, **changes: Any) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.disk: dict[tuple[str, object], Record] = {}
        self.settings = settings(**changes)
        self.kernel = Kernel(self.settings)
        self.kernel.adopt([], now=0.0, wall=0.0)
        self.inbox: list[events.Event] = []
        self.zygotes: dict[str, Zygote] = {"base": Zygote()}
        self.parent: dict[str, str] = {}
        self.mains: dict[str, FakeMain] = {}
        self.workers: dict[str, FakeWorker] = {}
        self.begun: dict[int, int] = {}
        self.replies: dict[tuple[bytes, int], Any] = {}
        self.asked: dict[tuple[bytes, int], Request] = {}
        self.groups: set[int] = set()
        self.next_os_pid = 5000
        self.crashes = 0
        self.is_stopped = False
        self.spec = Spec("p", "decision", limits=Limits(workers=workers))
        self.wanted = wanted
        self.kills = 0

    # clients

    def ask(self, sequence: int, request: Request) -> None:
        """Have a client ask; the bus repeats it to each kernel until it is answered."""
        self.asked[(b"client", sequence)] = request
        self._arrive((b"client", sequence))

    def _arrive(self, key: tuple[bytes, int]) -> None:
        self.inbox.append(events.RequestArrived(key[0], key[1], 0, "admin", "uid 0", self.asked[key]))

    def spawn(self, sequence: int) -> None:
        self.ask(sequence, Spawn(self.spec))

    # the kernel's turn

    def turn(self, *, crash_at: int | None = None) -> None:
        """Give the kernel what has come; with ``crash_at`` it dies before its n-th act: 0 is the commit, 1 the first effect."""
        read = self.random.randint(0, len(self.inbox))  # what a turn does not read waits in sockets
        batch, self.inbox = self.inbox[:read], self.inbox[read:]
        done = self.kernel.handle(batch or [events.TimePassed()], now=self.now, wall=self.now)
        if crash_at == 0:
            self.crash()
            return
        for address, record in self.kernel.take_rows().items():
            if record is None:
                self.disk.pop(address, None)
            else:
                self.disk[address] = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record))
        for place, effect in enumerate(done, 1):
            if crash_at == place:
                self.crash()
                return
            self.perform(effect)
        if crash_at is not None:
            self.crash()
            return
        self.kernel.check()

    def crash(self) -> None:
        """Kill the kernel; the next one adopts, which may be killed as well."""
        self.crashes += 1
        self.inbox = [event for event in self.inbox if not isinstance(event, OWN)]
        self.kernel = Kernel(msgspec.structs.replace(self.settings, epoch=self.crashes + 1))
        rows = [msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record)) for record in self.disk.values()]
        done = self.kernel.adopt(rows, now=self.now, wall=self.now)
        for address, record in self.kernel.take_rows().items():
            if record is None:
                self.disk.pop(address, None)
            else:
                self.disk[address] = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record))
        if self.random.random() < 0.2:
            self.crash()
            return
        for effect in done:
            self.perform(effect)
        for name, zygote in self.zygotes.items():
            self._report_all(name, zygote)
        for main in self.mains.values():
            main.hello()
        for worker in self.workers.values():
            worker.rings += worker.is_open
        for key in self.asked:
            if key not in self.replies:
                self._arrive(key)
        self.inbox.append(events.BusLinked())
        self.kernel.check()

    def _report_all(self, name: str, zygote: Zygote) -> None:
        if name in self.mains or (name != "base" and name not in self.parent):
            return
        if name != "base" and self.parent.get(name) and name not in self._alive():
            return
        for child, os_pid in zygote.children.items():
            self.inbox.append(events.Forked(child, os_pid, 1))
        for child, (how, status) in zygote.dead.items():
            self._drain(child)
            self.inbox.append(events.Exited(child, how, status, begun=self._begun(child)))
        if name != "base":
            self.inbox.append(events.ZygoteReady(name, "1", [], [], 0.1))
        self.inbox.append(events.ParentReported(name, frozenset([*zygote.children, *zygote.dead])))

    def _alive(self) -> set[str]:
        return {child for zygote in self.zygotes.values() for child in zygote.children}

    # effects

    def perform(self, effect: effects.AnyEffect) -> None:
        """Do what an effect says, to the simulated machine."""
        match effect:
            case effects.Fork():
                self._fork(effect)
            case effects.OpenGate():
                self._open(effect.name)
            case effects.Signal():
                self.end(effect.name, 2, effect.signal)
            case effects.KillGroup():
                for name in [each for each in self._alive() if each.startswith(f"{effect.pid}.")]:
                    self.end(name, 2, 9)
            case effects.Bury():
                for zygote in self.zygotes.values():
                    zygote.dead.pop(effect.name, None)
                self.mains.pop(effect.name, None)
                self.workers.pop(effect.name, None)
            case effects.ClearGroup():
                self.groups.discard(effect.pid)
                self.inbox.append(events.GroupGone(effect.pid))
            case effects.Tell():
                main = self.mains.get(effect.name)
                if main is not None and main.is_open and effect.name in self._alive() and main.hear(effect.message):
                    self.end(effect.name, 1, 0)
            case effects.SendBatch():
                worker = self.workers.get(effect.name)
                if worker is not None:
                    worker.batch(effect.first_sequence, effect.items)
            case effects.Consume():
                worker = self.workers.get(effect.name)
                if worker is not None:
                    worker.page = [outcome for outcome in worker.page if outcome.sequence > effect.sequence]
            case effects.Retire():
                worker = self.workers.get(effect.name)
                if worker is not None and not worker.queue:
                    self.end(effect.name, 1, 0)
            case effects.Reply():
                key = (effect.client, effect.sequence)
                answer = effect.answer if effect.encoded is None else msgspec.msgpack.decode(effect.encoded)
                if key in self.replies:
                    assert self.replies[key][1] == answer, "a retry was answered differently"
                self.replies[key] = (effect.status, answer)
            case effects.SayStopped():
                self.is_stopped = True
            case _:
                pass

    def _fork(self, effect: effects.Fork) -> None:
        zygote = self.zygotes.get(effect.parent)
        if zygote is None or (effect.parent != "base" and effect.parent not in self._alive()):
            return
        if effect.name not in zygote.children and effect.name not in zygote.dead:
            self.next_os_pid += 1
            zygote.children[effect.name] = self.next_os_pid
            self.parent[effect.name] = effect.parent
        if effect.name in zygote.children:
            self.inbox.append(events.Forked(effect.name, zygote.children[effect.name], 1))

    def _open(self, name: str) -> None:
        if name not in self._alive():
            return
        self.inbox.insert(0, events.GateOpened(name))  # the kernel's own, and so the first of its next turn
        child = self.kernel.state.children[name]
        if child.role == "zygote" and name not in self.zygotes:
            self.zygotes[name] = Zygote()
            self.inbox.append(events.ZygoteReady(name, "1", [], [], 0.1))
        elif child.role == "main" and name not in self.mains:
            self.groups.add(child.pid)
            self.mains[name] = FakeMain(self.wanted)
            self.mains[name].open()
        elif child.role == "worker" and name not in self.workers:
            self.workers[name] = FakeWorker(self.begun)
            self.workers[name].is_open = True
            self.inbox.append(events.WorkerReady(name))

    # what happens by itself

    def end(self, name: str, how: int, status: int) -> None:
        """End a child."""
        zygote = self.zygotes.get(self.parent.get(name, ""))
        if zygote is None or name not in zygote.children:
            return
        del zygote.children[name]
        zygote.dead[name] = (how, status)
        self._drain(name)
        self.inbox.append(events.Exited(name, how, status, begun=self._begun(name)))

    def _begun(self, name: str) -> int:
        worker = self.workers.get(name)
        return worker.begun if worker is not None else 0

    def _drain(self, name: str) -> None:
        worker = self.workers.get(name)
        if worker is not None and worker.page:
            self.inbox.append(events.ResultsRead(name, list(worker.page)))
        main = self.mains.get(name)
        if main is not None:
            self._speak(name, main)

    def _speak(self, name: str, main: FakeMain) -> None:
        while main.outbox:
            message = main.outbox.popleft()
            match message:
                case port.Ready():
                    self.inbox.append(events.MainReady(name, message.entries, []))
                case port.Submit():
                    self.inbox.append(events.Submitted(name, message))
                case port.Seen():
                    self.inbox.append(events.ResultsSeen(name, message.sequence))
                case port.Outcome():
                    self.inbox.append(events.OutcomeGiven(name, message))

    def happen(self, *, may_kill: bool) -> None:
        """Let one thing happen somewhere."""
        self.now += self.random.choice((0.0, 0.001, 0.01))
        alive = self._alive()
        choices: list[str] = sorted(name for name in [*self.mains, *self.workers] if name in alive)
        if not choices:
            return
        name = self.random.choice(choices)
        worker = self.workers.get(name)
        if worker is not None:
            if may_kill and self.kills < 4 and self.random.random() < 0.05:
                self.kills += 1
                self.end(name, 2, 9)
                return
            worker.step()
            if worker.rings:
                worker.rings = 0
                self.inbox.append(events.WorkerReady(name))
                if worker.page:
                    self.inbox.append(events.ResultsRead(name, list(worker.page)))
        else:
            self._speak(name, self.mains[name])

    def is_over(self) -> bool:
        """Tell whether every process has ended for good."""
        return bool(self.kernel.state.processes) and not self.kernel.state.live_processes() and not self.inbox


__all__ = ["Kill", "KillThread", "World", "settings"]
