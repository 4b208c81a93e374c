"""A small machine for the kernel's core, and a kernel that can be killed between any two of its acts, its adoption included.

What is real: the core, its rows, and the promises of the other programs: forks are idempotent by name, zygotes report again at a hello, children of a dead zygote
fall to the keeper, a main repeats what was not answered, a page outlives worker and kernel, a worker drops sequences that it has seen. Each channel keeps its order;
between channels there is none. What is simulated is the machine alone.
"""

import random
from collections import deque
from typing import Any

import msgspec

from dadms_ipc import port
from dadms_ipc.requests import MUTATING, Kill, KillThread, Limits, Request, Spawn, Spec
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.kernel import Kernel
from dadmsd.kernel.core.kinds import PLAIN
from dadmsd.kernel.core.lifecycle import ALIVE
from dadmsd.kernel.core.records import Record
from tests.property.kernel.looper import Looper
from tests.property.kernel.machine import End, Keeper, Main, Program, Steady, Submission, Worker, Zygote, settings

OWN = "kernel"  # the channel of what a kernel finds out by itself: it dies with it
CLIENT = b"client"
EPOCH = 1_700_000_000.0  # the wall clock when the simulated machine was started


class Orphaned(events.Event, frozen=True):
    """The keeper reaped a child of a zygote that is gone; it knows no names."""

    os_pid: int


class World:
    """The machine, the rows on its disk, and the kernel of the moment."""

    def __init__(self, seed: int | None, **changes: Any) -> None:
        self.random = Steady() if seed is None else random.Random(seed)
        self.now = 0.0
        self.disk: dict[tuple[str, object], Record] = {}
        self.settings = settings(**{"retention": 1e9, **changes})  # time passes by leaps here: who ended stays, to be looked at
        self.kernel = Kernel(self.settings)
        self.channels: dict[str, deque[events.Event]] = {}
        self.zygotes: dict[str, Zygote] = {"base": Zygote()}
        self.keeper = Keeper()
        self.is_look_due = False  # a second after the keeper told of a stranger
        self.mains: dict[str, Main | Program] = {}
        self.probe_end: tuple[int, int] | None = (1, 0)  # how probes end
        self.ends: dict[int, list[tuple[int, int] | None]] = {}  # of each command, how its incarnations end; None: not by themselves
        self.workers: dict[str, Worker | Looper] = {}
        self.begun: dict[int, int] = {}
        self.allowed: dict[int, int] = {}  # attempts of threads with a retry policy
        self.finished: set[int] = set()
        self.results: dict[int, dict[int, port.Result]] = {}  # of each process, as it got them
        self.replies: dict[tuple[bytes, int], Any] = {}
        self.asked: dict[tuple[bytes, int], Request] = {}
        self.plans: dict[int, list[Submission]] = {}  # by the sequence of the spawn, which makes processes 1001, 1002 …
        self.groups: set[int] = set()
        self.next_os_pid = 5000
        self.crashes = 0
        self.is_stop_asked = False
        self.is_stopped = False
        self.kills_left = 0  # of workers and zygotes, by chance
        self.adoption_dies_at: int | None = None  # the act before which the next adoption ends; None: by chance
        self._do(self.kernel.adopt([], now=0.0, wall=EPOCH), None)

    # clients

    def ask(self, sequence: int, request: Request) -> None:
        """Have a client ask; the bus repeats it to each kernel until it is answered."""
        self.asked[(CLIENT, sequence)] = request
        self._arrive((CLIENT, sequence))

    def _arrive(self, key: tuple[bytes, int]) -> None:
        self._say("bus", events.RequestArrived(key[0], key[1], 0, "admin", "uid 0", self.asked[key]))

    def spawn(self, sequence: int, plan: list[Submission], *, workers: int = 2, handlers: bool = False, **spec: Any) -> None:
        """Start a process that does what the plan says; the n-th spawn has the sequence n."""
        self.plans[1000 + sequence] = plan
        self.ask(sequence, Spawn(Spec("p", "decision", limits=Limits(workers=workers), handlers="/h.py" if handlers else None, **spec)))

    def command(self, sequence: int, ends: list[tuple[int, int] | None], **spec: Any) -> None:
        """Start a service or tool whose incarnations end like this; the n-th spawn has the sequence n."""
        self.ends[1000 + sequence] = ends
        self.ask(sequence, Spawn(Spec(**{"name": "c", "kind": "tool", "command": ["c"], **spec})))

    def stop(self) -> None:
        """Have the keeper end everything; it says so to each kernel."""
        self.is_stop_asked = True
        self._say("keeper", events.StopAsked("SIGTERM"))

    # channels

    def _say(self, channel: str, event: events.Event) -> None:
        self.channels.setdefault(channel, deque()).append(event)

    def _read(self) -> list[events.Event]:
        """Read some of what waits: what is the kernel's own first, then a part of each channel."""
        found: list[events.Event] = list(self.channels.pop(OWN, ()))
        names = sorted(self.channels)
        self.random.shuffle(names)
        for name in names:
            channel = self.channels.get(name, deque())
            for _ in range(self.random.randint(0, len(channel))):
                if channel:  # an exit may have drained it
                    self._take(channel.popleft(), found)
        return found

    def _take(self, event: events.Event, found: list[events.Event]) -> None:
        if isinstance(event, events.WorkerReady):  # a doorbell: the page is read
            found.append(event)
            self._read_page(event.name, found)
        elif isinstance(event, events.Yielded):  # what was ended before it is read before it
            self._read_page(event.name, found)
            found.append(event)
        elif isinstance(event, Orphaned):
            self._take_orphan(event.os_pid, found)
        elif isinstance(event, events.Exited):  # everything that it had sent comes before
            for early in list(self.channels.pop(event.name, ())):
                self._take(early, found)
            self._read_page(event.name, found)
            begun = self.workers[event.name].begun if event.name in self.workers else 0
            found.append(msgspec.structs.replace(event, begun=begun))
        else:
            found.append(event)

    def _take_orphan(self, os_pid: int, found: list[events.Event]) -> None:
        """Find out who it is, as far as the kernel knows; a stranger is forgotten, and the kernel looks for losses a little later."""
        end = self.keeper.dead.get(os_pid)
        if end is None:
            return
        known = next((child.name for child in self.kernel.state.children.values() if child.os_pid == os_pid), None)
        if known is None:
            del self.keeper.dead[os_pid]
            self.is_look_due = True
        else:
            self._take(_exit(end), found)

    def _read_page(self, name: str, found: list[events.Event]) -> None:
        worker = self.workers.get(name)
        if worker is not None and worker.page:
            found.append(events.ResultsRead(name, list(worker.page)))

    # the kernel's turn

    def turn(self, *, crash_at: int | None = None) -> int:
        """Give the kernel what has come and do what it says; with ``crash_at`` it dies before its n-th act: 0 is the commit, 1 the first effect.

        Gives the number of acts.
        """
        done = self.kernel.handle(self._read() or [events.TimePassed()], now=self.now, wall=EPOCH + self.now)
        if self._do(done, crash_at):
            self.kernel.check()
        return len(done)

    def _do(self, done: list[effects.AnyEffect], crash_at: int | None) -> bool:
        if crash_at == 0:
            self.crash()
            return False
        for address, record in self.kernel.take_rows().items():
            if record is None:
                self.disk.pop(address, None)
            else:
                self.disk[address] = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record))
        for place, effect in enumerate(done, 1):
            if crash_at == place:
                self.crash()
                return False
            self.perform(effect)
        if crash_at is not None:
            self.crash()
        return crash_at is None

    def crash(self) -> None:
        """Kill the kernel; the next one adopts, and may be killed between any two acts of that as well."""
        self.crashes += 1
        self.channels.pop(OWN, None)
        self.channels.pop("bus", None)  # the link is a fresh one for each kernel: what was not read is said again
        self.kernel = Kernel(msgspec.structs.replace(self.settings, epoch=self.crashes + 1))
        rows = [msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record)) for record in self.disk.values()]
        done = self.kernel.adopt(rows, now=self.now, wall=EPOCH + self.now)
        crash_at, self.adoption_dies_at = self.adoption_dies_at, None
        if crash_at is None and self.random.random() < 0.2:
            crash_at = self.random.randint(0, len(done))
        if not self._do(done, crash_at):
            return
        for name, zygote in self.zygotes.items():
            self._report_all(name, zygote)
        for name, main in self.mains.items():
            main.hello()
            if isinstance(main, Program):
                self._say(name, events.Executed(name))  # the closed port is found closed again
        for name, worker in self.workers.items():
            self._say(name, events.WorkerReady(name))
            if isinstance(worker, Worker) and worker.waits and not worker.says_so:
                self._say(name, events.Yielded(name, worker.yields, worker.begun))
        for os_pid in self.keeper.dead:
            self._say("keeper", Orphaned(os_pid))
        if self.is_stop_asked:
            self._say("keeper", events.StopAsked("SIGTERM"))
        for key in self.asked:
            if key not in self.replies:
                self._arrive(key)
        self._say("bus", events.BusLinked())
        self._look_for_lost()
        self.kernel.check()

    def _report_all(self, name: str, zygote: Zygote) -> None:
        for child, os_pid in zygote.alive.items():
            self._say(name, events.Forked(child, os_pid, 1))
        for end in zygote.dead.values():
            self._say(name, _exit(end))
        if name != "base":
            self._say(name, events.ZygoteReady(name, "1", [], [], 0.1))
        self._say(name, events.ParentReported(name, frozenset([*zygote.alive, *zygote.dead])))

    def _look_for_lost(self) -> None:
        """Find children that the kernel takes for living and that are nowhere, not even as zombies."""
        self.is_look_due = False
        known = {*self.keeper.alive.values(), *self.keeper.dead}
        for zygote in self.zygotes.values():
            known |= {*zygote.alive.values(), *(end.os_pid for end in zygote.dead.values())}
        for child in self.kernel.state.children.values():
            if child.phase in ALIVE and child.os_pid not in known:
                self._say("keeper", events.Exited(child.name, 0, 0))

    def alive(self) -> set[str]:
        """Give the names of the children that live."""
        return {*self.keeper.alive, *(name for zygote in self.zygotes.values() for name in zygote.alive)}

    # effects

    def perform(self, effect: effects.AnyEffect) -> None:
        """Do what an effect says, to the simulated machine."""
        match effect:
            case effects.Fork():
                self._fork(effect)
            case effects.OpenGate():
                self._open(effect.name)
            case effects.Signal():
                main = self.mains.get(effect.name)
                if effect.signal == 9 or main is None:
                    self.end(effect.name, 2, effect.signal)
                elif not main.is_stubborn:
                    self.end(effect.name, 1, 0)
            case effects.KillGroup():
                self._kill_group(effect.pid)
            case effects.SetLimits():
                self._say(OWN, events.LimitsSet(effect.pid, effect.incarnation))
            case effects.Freeze():
                self._say(OWN, events.Frozen(effect.pid, effect.incarnation))
            case effects.SignalGroup():
                assert effect.besides.partition(".")[0] == str(effect.pid)
            case effects.Bury():
                for zygote in self.zygotes.values():
                    zygote.dead.pop(effect.name, None)
                self.keeper.dead = {os_pid: end for os_pid, end in self.keeper.dead.items() if end.name != effect.name}
                self.mains.pop(effect.name, None)
                self.workers.pop(effect.name, None)
                self.channels.pop(effect.name, None)
                self.keeper.alive.pop(effect.name, None)  # its port is closed: if it waits at its gate it exits, a stranger to everybody
            case effects.ClearGroup():
                self._kill_group(effect.pid)
                self.groups.discard(effect.pid)
                self._say(OWN, events.GroupGone(effect.pid, incarnation=effect.incarnation))
            case effects.Tell():
                if effect.name in self.mains and effect.name in self.alive() and self.mains[effect.name].hear(effect.message):
                    self.end(effect.name, 1, 0)
            case effects.SendBatch():
                self._note_policies(effect)
                if effect.name in self.workers:
                    self.workers[effect.name].batch(effect.first_sequence, effect.items)
            case effects.Consume():
                worker = self.workers.get(effect.name)
                if worker is not None:
                    worker.page = [outcome for outcome in worker.page if outcome.sequence > effect.sequence]
            case effects.SteerWorker():
                looper = self.workers.get(effect.name)
                if isinstance(looper, Looper) and effect.name in self.alive():
                    looper.steer(effect.verb, effect.tids)
            case effects.FreezeWorker():
                worker = self.workers.get(effect.name)
                if isinstance(worker, Worker) and effect.name in self.alive():
                    worker.is_frozen = True
                    found: list[events.Event] = []
                    self._read_page(effect.name, found)
                    for event in (*found, events.WorkerFrozen(effect.name, self.workers[effect.name].begun)):
                        self._say(OWN, event)
            case effects.ThawWorker():
                worker = self.workers.get(effect.name)
                if isinstance(worker, Worker):
                    worker.is_frozen = False
            case effects.Revoke():
                worker = self.workers.get(effect.name)
                if isinstance(worker, Worker):
                    worker.revoke(effect.first, effect.last)
            case effects.GoOn():
                waiting = self.workers.get(effect.name)
                if isinstance(waiting, Worker) and effect.number == waiting.yields:
                    waiting.waits = False
            case effects.Retire():
                if effect.name in self.workers:
                    self.workers[effect.name].is_finishing = True
            case effects.Reply():
                key = (effect.client, effect.sequence)
                answer = effect.answer if effect.encoded is None else msgspec.msgpack.decode(effect.encoded)
                assert key not in self.replies or key in self.asked
                if key in self.replies and isinstance(self.asked[key], MUTATING):
                    assert self.replies[key][1] == answer, "a retry was answered differently"
                self.replies[key] = (effect.status, answer)
            case effects.SayStopped():
                self.is_stopped = True

    def _note_policies(self, effect: effects.SendBatch) -> None:
        child = self.kernel.state.children[effect.name]
        pool = self.kernel.state.pools[child.pid]
        process = self.kernel.state.processes[child.pid]
        for item in effect.items:
            assert process.kinds.get(item.entry, PLAIN) == child.kind, f"{item.entry} was sent to a worker of another kind"
            policy = pool.chunk_of(item.tid).retry
            if policy is not None:
                self.allowed[item.tid] = policy.attempts

    def _fork(self, effect: effects.Fork) -> None:
        zygote = self.zygotes.get(effect.parent)
        if zygote is None:
            return
        self.keeper.alive.pop(effect.name, None)  # one that an earlier zygote made under this name: its port is replaced, and it exits
        if effect.name not in zygote.alive and effect.name not in zygote.dead:
            self.next_os_pid += 1
            zygote.alive[effect.name] = self.next_os_pid
        if effect.name in zygote.alive:
            self._say(effect.parent, events.Forked(effect.name, zygote.alive[effect.name], 1))

    def _open(self, name: str) -> None:
        if name not in self.alive():
            return
        self._say(OWN, events.GateOpened(name))
        child = self.kernel.state.children[name]
        if child.pid:
            self.groups.add(child.pid)
        if child.role == "zygote" and name not in self.zygotes:
            self.zygotes[name] = Zygote()
            self._say(name, events.ZygoteReady(name, "1", [], [], 0.1))
        elif child.role == "probe" and name not in self.mains:
            self.mains[name] = Program(self.probe_end, is_stubborn=False)
        elif child.is_command and name not in self.mains:
            ends = self.ends[child.pid]
            self.mains[name] = Program(ends[min(child.incarnation, len(ends)) - 1], is_stubborn=self.random.random() < 0.3)
            self._say(name, events.Executed(name))
        elif child.role == "main" and name not in self.mains:
            main = Main(self.plans[child.pid], is_stubborn=self.random.random() < 0.3)
            self.mains[name] = main
            self.results[child.pid] = main.results
        elif child.role == "worker" and name not in self.workers:
            is_async = child.kind.is_async
            self.workers[name] = Looper(self.begun, self.finished, self.random) if is_async else Worker(self.begun, self.finished)
            self._say(name, events.WorkerReady(name))

    # what happens by itself

    def _kill_group(self, pid: int) -> None:
        owned = {child.name for child in self.kernel.state.children.values() if child.pid == pid}
        for name in sorted(owned & self.alive(), reverse=True):  # zygotes first: they report none of it
            self.end(name, 2, 9)

    def end(self, name: str, how: int, status: int, oom: str = "") -> None:
        """End a child. Those of a zygote fall to the keeper, the dead ones too."""
        owner = next((each for each, zygote in self.zygotes.items() if name in zygote.alive), "")
        parent = self.zygotes.get(owner, self.keeper)
        if name not in parent.alive:
            return
        end = End(name, parent.alive.pop(name), how, status, oom)
        orphans = self.zygotes.pop(name, Zygote())
        self.keeper.alive.update(orphans.alive)
        if name in self.mains:
            self._speak(name, self.mains[name])
        if owner:
            self.zygotes[owner].dead[name] = end
            self._say(owner, _exit(end))
        for orphan in [*([] if owner else [end]), *orphans.dead.values()]:
            self.keeper.dead[orphan.os_pid] = orphan
            self._say("keeper", Orphaned(orphan.os_pid))

    def _speak(self, name: str, main: Main | Program) -> None:
        while main.outbox:
            message = main.outbox.popleft()
            match message:
                case port.Ready():
                    self._say(name, events.MainReady(name, message.entries, [], {}, message.declarations))
                case port.Submit():
                    self._say(name, events.Submitted(name, message))
                case port.Cancel():
                    self._say(name, events.CancelAsked(name, message.sequence, message.tids))
                case port.Seen():
                    self._say(name, events.ResultsSeen(name, message.sequence))
                case port.Note():
                    self._say(name, events.NoteGiven(name, message))
                case port.Outcome():
                    self._say(name, events.OutcomeGiven(name, message))

    def happen(self) -> None:
        """Let one thing happen somewhere, and some time pass; when nobody can do anything, all the time until something is due."""
        self.now += self.random.choice((0.0, 0.001, 0.01))
        alive = self.alive()
        actors = sorted(name for name in [*self.mains, *self.workers] if name in alive)
        if self.kills_left and self.random.random() < 0.03:
            self.kills_left -= 1
            victims = sorted(name for name in alive if name not in self.mains)
            if victims:
                self.end(self.random.choice(victims), 2, 9)
            return
        if actors and self._act(self.random.choice(actors)):
            return
        due = self.kernel.next_deadline()
        if any(self.channels.values()) or any(self._can_act(name) for name in actors):
            return
        if self.is_look_due:
            self._look_for_lost()
        elif due is not None:
            self.now = max(self.now, due)

    def _can_act(self, name: str) -> bool:
        if name in self.mains:
            main = self.mains[name]
            return bool(main.outbox) or (isinstance(main, Program) and main.end is not None)
        return self.workers[name].can_act

    def _act(self, name: str) -> bool:
        if not self._can_act(name):
            return False
        if name in self.mains:
            main = self.mains[name]
            self._speak(name, main)
            if isinstance(main, Program) and main.end is not None:
                self.end(name, *main.end)
            return True
        worker = self.workers[name]
        if isinstance(worker, Worker) and worker.says_so:
            worker.says_so = False
            self._say(name, events.Yielded(name, worker.yields, worker.begun))
            return True
        ended = worker.step()
        if ended is not None:
            self.end(name, *ended)
        elif worker.wants_to_ring and (worker.is_idle or self.random.random() < 0.5):
            worker.wants_to_ring = False
            self._say(name, events.WorkerReady(name))
        return True

    def is_over(self) -> bool:
        """Tell whether every process has ended for good."""
        return bool(self.kernel.state.processes) and not self.kernel.state.live_processes() and not any(self.channels.values())


def _exit(end: End) -> events.Exited:
    return events.Exited(end.name, end.how, end.status, end.oom)


__all__ = ["Kill", "KillThread", "Submission", "World", "settings"]
