"""Performs the effects of the core. It decides nothing: what it finds out is an event of the next turn.

Order of a start (docs/reference/zygote.md): journal, store in the keeper, fork request; and later limits, read back, gate. Order of an end: exit reported,
journaled, then acknowledged (reap), then the descriptors go.
"""

import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc import channel
from dadms_ipc.artifacts import FOLDER
from dadms_ipc.channel import Channel
from dadms_ipc.errors import ChannelClosed, DadmsError, HostFailure
from dadmsd.keeper import messages as keeper
from dadmsd.kernel import link, proofs
from dadmsd.kernel.answering import encode_answer
from dadmsd.kernel.confine import Confinement, group_of
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.bounds import SECONDS_MOST
from dadmsd.kernel.core.records import Child, Process
from dadmsd.kernel.core.state import PROBE, State
from dadmsd.kernel.gates import Gates
from dadmsd.kernel.groups import Groups
from dadmsd.kernel.host import limits
from dadmsd.kernel.host.processes import look
from dadmsd.kernel.notify import Notify
from dadmsd.kernel.ports import Port
from dadmsd.kernel.survey import Surveyor
from dadmsd.kernel.tidying import Tidying
from dadmsd.worker import messages as worker
from dadmsd.worker.page import Page
from dadmsd.zygote import messages as zygote

KEEPER_BEHIND = 1024  # frames that the keeper has not read: what it is to keep would wait here, descriptors and all, so nothing more is forked until it has

_READY = (events.MainReady, events.WorkerReady, events.Executed)  # words of a child that has set the limits it had to set on itself


class Hands:
    """What the shell holds: ports, the link, the store's client side, groups."""

    def __init__(
        self,
        state: State,
        confinement: Confinement,
        to_keeper: Channel[Any],
        watch: Callable[[Port], None],
        unwatch: Callable[[Port], None],
    ) -> None:
        self._state = state
        self._settings = state.settings
        self.confinement = confinement
        self._keeper = to_keeper
        self._watch = watch
        self._unwatch = unwatch
        self.ports: dict[str, Port] = {}
        self.base: Port | None = None
        self.link: Channel[Any] | None = None
        self.events_wanted = False  # by anybody on the bus
        self._unforked: deque[effects.Fork] = deque()
        self.logs: dict[str, tuple[int, int]] = {}  # name -> read and write end of the pipe
        self.reported_by: dict[str, str] = {}  # children that nobody knows any more -> the zygote that waits to reap them
        self.orphans: dict[str, int] = {}  # child -> OS pid of those whose exit the keeper holds
        self.found: list[events.Event] = []  # for the next turn
        self.notify: dict[str, Notify] = {}  # main -> where it says how it is
        self.watch_notify: Callable[[Notify], None] = lambda _notify: None  # the loop's
        self.unwatch_notify: Callable[[Notify], None] = lambda _notify: None
        self.last_look: Callable[[], str] = lambda: ""  # the journal's
        self._gates = Gates(state)
        self.tidying = Tidying(state)
        self.groups = Groups(state, confinement, self.ports, self._report, self._close_log, self.tidying)
        state_dir = Path(self._settings.state_dir)
        self.surveyor = Surveyor([Path(self._settings.work_dir), state_dir / "logs"])
        self._perform: dict[type[Any], Callable[[Any], None]] = {
            effects.Fork: self._fork,
            effects.OpenGate: self._open_gate,
            effects.Signal: self._signal,
            effects.KillGroup: self.groups.kill,
            effects.SignalGroup: self.groups.signal,
            effects.SetLimits: self._set_limits,
            effects.Freeze: self.groups.freeze,
            effects.Thaw: self.groups.thaw,
            effects.Bury: self._bury,
            effects.ClearGroup: self.groups.clear,
            effects.Tell: self._tell,
            effects.AnswerCall: self._tell,
            effects.MeasureDisk: lambda _effect: self.surveyor.measure(),
            effects.DropArtifacts: lambda effect: self.drop_artifacts(effect.pid),
            effects.SendBatch: self._send_batch,
            effects.Consume: self._consume,
            effects.FreezeWorker: self.groups.freeze_worker,
            effects.ThawWorker: self.groups.thaw_worker,
            effects.Revoke: self._revoke,
            effects.AskYield: self._ask_yield,
            effects.GoOn: self._go_on,
            effects.SteerWorker: lambda effect: self._say(effect.name, worker.Steer(effect.verb, effect.tids)),
            effects.LookAt: self._look_at,
            effects.Retire: self._retire,
            effects.MakeRoom: self._make_room,
            effects.Reply: self._reply,
            effects.Enroll: self._enroll,
            effects.Expect: lambda effect: self.tell_bus(link.Expected(effect.pid, effect.name, effect.group, effect.parent, effect.type)),
            effects.Pause: lambda effect: self.tell_bus(link.Paused(effect.pid, effect.is_paused)),
            effects.Discharge: lambda effect: self.tell_bus(link.Discharged(effect.pid, effect.incarnation, effect.returns)),
            effects.FinishRoster: lambda effect: self.tell_bus(link.RosterSent(effect.count)),
            effects.Publish: self._publish,
            effects.Greet: self._greet,
            effects.KillBase: self._kill_base,
            effects.AskReload: self._ask_reload,
            effects.AskShutdown: lambda effect: self.tell_keeper(keeper.ShutdownAsked(effect.reason)),
            effects.SayStopped: self._say_stopped,
        }

    def _report(self, event: events.Event) -> None:
        self.found.append(event)  # the loop takes the whole list away each turn

    def perform(self, effect: effects.AnyEffect) -> None:
        """Do one effect."""
        self._perform[type(effect)](effect)

    def zygote_port(self, name: str) -> Port | None:
        """Give the control channel of a zygote."""
        return self.base if name == "base" else self.ports.get(name)

    # children

    def _fork(self, effect: effects.Fork) -> None:
        if self._keeper.backlog > KEEPER_BEHIND:
            self._unforked.append(effect)
            return
        parent = self.zygote_port(effect.parent)
        child = self._state.children.get(effect.name)
        if parent is None or parent.is_closed or child is None:
            return  # the base zygote is being replaced and will be asked again; a version zygote's end is an event of its own
        old = self.ports.pop(effect.name, None)
        if old is not None:
            self._unwatch(old)
            old.close()
        ours, theirs = channel.pair()
        made = Port(effect.name, effect.role, effect.parent, ours, epoch=self._settings.epoch)
        fds = [theirs.fileno(), *([self._log(child)[1]] * 2)]
        try:
            self._store(f"v1/port/{effect.name}", [ours.fileno()])
            if effect.role == "worker":
                made.page, made.page_fd = Page.create(effect.name)
                self._store(f"v1/page/{effect.name}", [made.page_fd])
                fds.append(made.page_fd)
            self.ports[effect.name] = made
            self._watch(made)
            self._order(parent, zygote.Fork(effect.name, effect.role, self._settings.gate_timeout), fds)
        finally:
            theirs.close()

    def fork_on(self) -> None:
        """Fork what waited for the keeper to read."""
        while self._unforked and self._keeper.backlog <= KEEPER_BEHIND:
            self._fork(self._unforked.popleft())

    def _greet(self, effect: effects.Greet) -> None:
        parent = self.zygote_port(effect.parent)
        if parent is not None and not parent.is_closed:
            self._order(parent, zygote.Hello())

    def _order(self, parent: Port, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        """Tell a zygote something. A thousand forks are more than its socket holds: the rest follows as it reads."""
        parent.send(message, fds)
        if parent.channel.waits_to_write:
            self._watch(parent)

    def _kill_base(self, effect: effects.KillBase) -> None:
        """Kill the base zygote by its pid: only what is a child of our keeper can be it."""
        with contextlib.suppress(OSError):  # it has ended meanwhile
            pidfd = os.pidfd_open(effect.os_pid)
            try:
                seen = look(effect.os_pid)
                if seen is not None and seen.parent == os.getppid():
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)

    def _log(self, child: Child) -> tuple[int, int]:
        name = self._state.log_name(child)
        if name not in self.logs:
            self.logs[name] = os.pipe2(os.O_CLOEXEC)
            self._store(f"v1/log/{name}", list(self.logs[name]))
        return self.logs[name]

    def _store(self, name: str, fds: list[int]) -> None:
        self.tell_keeper(keeper.Store(name), fds)

    def tell_keeper(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        """Say something to the keeper; that it is gone is found out where it is read."""
        with contextlib.suppress(ChannelClosed):
            self._keeper.send(message, fds)

    def _make_room(self, effect: effects.MakeRoom) -> None:
        child = self._state.children.get(effect.name)
        if child is not None:
            with contextlib.suppress(DadmsError):  # it ended, or forks as far as it comes
                self.confinement.confine(child, None)

    def _open_gate(self, effect: effects.OpenGate) -> None:
        child = self._state.children.get(effect.name)
        held = self.ports.get(effect.name)
        if child is None or held is None:
            return
        process = self._state.processes.get(child.pid)
        try:
            confined = self.confinement.confine(child, process)
            held.left = confined.left
            told = self._notify_of(child, process) if child.is_command and process is not None else {}
            if child.is_command and child.role == "main" and process is not None:
                self._gates.give_secret(child, process)
            held.channel.send(self._gates.make(child, process, confined, told))
        except ChannelClosed:
            if not child.is_command:
                return  # it exited at its gate: its zygote reports it
            # an earlier kernel opened the gate and died: it has become its program, or has ended, which its zygote reports
        except DadmsError as error:
            self.found.append(events.GateShut(child.name, str(error)))
            return
        except (ValueError, ArithmeticError) as error:  # what an older daemon took in, and no call takes: it costs this process only
            self.found.append(events.GateShut(child.name, f"cannot prepare {child.name}: {error}"))
            return
        self.found.append(events.GateOpened(child.name, confined.limits, confined.warnings, confined.values))

    def verified(self, event: events.Event) -> events.Event:
        """Read back, of a child that says it is ready, the limits that it had to set on itself; without them it is ended."""
        if not isinstance(event, _READY):
            return event
        held = self.ports.get(event.name)
        child = self._state.children.get(event.name)
        if held is None or child is None or not held.left:
            return event
        try:
            enforced = limits.read_back(child.os_pid, held.left)
        except HostFailure as error:
            return events.PortViolated(event.name, str(error))
        held.left = []
        if not isinstance(event, events.MainReady):
            return event
        return msgspec.structs.replace(event, limits=enforced.limits, values=enforced.values)

    def _signal(self, effect: effects.Signal) -> None:
        held = self.ports.get(effect.name)
        if held is not None:
            held.signal(effect.signal)

    def _ask_reload(self, _effect: effects.AskReload) -> None:
        if self._settings.config_source:
            os.kill(os.getppid(), signal.SIGUSR1)  # as `systemctl reload` does (docs/reference/keeper.md)

    def _set_limits(self, effect: effects.SetLimits) -> None:
        process = self._state.processes.get(effect.pid)
        if process is None or process.before is None:
            return
        children = [child for child in self._state.owned(process.pid) if child.os_pid and child.phase in ("opened", "ready", "stopping")]
        try:
            changed = self.confinement.change(process, process.before, children)
        except DadmsError as error:
            self.found.append(events.LimitsSet(process.pid, effect.incarnation, reason=str(error)))
            return
        except (ValueError, ArithmeticError) as error:  # as for a gate
            self.found.append(events.LimitsSet(process.pid, effect.incarnation, reason=f"no call of the host takes them: {error}"))
            return
        self.found.append(events.LimitsSet(process.pid, effect.incarnation, changed.limits, changed.warnings, values=changed.values))

    def _notify_of(self, child: Child, process: Process) -> dict[str, str]:
        """Make the socket over which a main says how it is, and give what it has to know of it."""
        spec = process.spec
        if child.role != "main" or (spec.ready != "notify" and not spec.watchdog):
            return {}
        if child.name not in self.notify:
            made = Notify.make(child.name, self._settings.runtime_dir, is_open_to_all=process.uid != self._settings.uid)
            self.notify[child.name] = made
            self._store(f"v1/notify/{child.name}", [made.fileno()])
            self.watch_notify(made)
        told = {"NOTIFY_SOCKET": str(self.notify[child.name].path)}
        if spec.watchdog:
            told["WATCHDOG_USEC"] = str(int(min(spec.watchdog, SECONDS_MOST) * 1e6))
        return told

    def is_own(self, name: str, os_pid: int) -> bool:
        """Tell whether an OS process is the main of this name, or in the group of its process."""
        child = self._state.children.get(name)
        if child is None:
            return False
        try:
            return os_pid == child.os_pid or os_pid in self.confinement.backend.members(str(child.pid))
        except HostFailure:
            return False

    def _bury(self, effect: effects.Bury) -> None:
        """Acknowledge an exit and let go of what was kept for it."""
        name = effect.name
        self._end_line(name)
        held = self.ports.pop(name, None)
        os_pid = self.orphans.pop(name, None)
        if os_pid is not None:
            self.tell_keeper(keeper.OrphanAcknowledged(os_pid))
        spoken = self.notify.pop(name, None)
        if spoken is not None:
            self.unwatch_notify(spoken)
            spoken.close()
            self.tell_keeper(keeper.Drop(f"v1/notify/{name}"))
        if "/" not in name and (held is None or held.role == "command"):  # a main, who has it in a file; others are told
            proofs.take_back(self._settings.runtime_dir, name)
        parent = self.zygote_port(self.reported_by.pop(name, held.parent if held is not None else ""))
        if parent is not None and not parent.is_closed:
            self._order(parent, zygote.Reap(name))
        if held is None:
            return
        self._unwatch(held)
        held.close()
        self.tell_keeper(keeper.Drop(f"v1/port/{name}"))
        if held.role == "worker":
            self.tell_keeper(keeper.Drop(f"v1/page/{name}"))
            self.groups.remove_leaf(
                group_of(Child(name=name, role="worker", parent="", pid=int(name.partition(".")[0]), number=int(name.rpartition("/w")[2])))
            )
        elif held.role == "zygote":
            self._close_log(name.replace("/", "-"))
            if name.replace("/", "-") in self.confinement.backend.groups():
                self.groups.remove_leaf(name.replace("/", "-"))

    def _end_line(self, name: str) -> None:
        """End the line of a ready or live command that has exited: the next one writes into the same pipe (logger/lines.py, rule 4)."""
        main, is_probe, _ = name.partition("/p")
        ends = self.logs.get(main + PROBE) if is_probe else None
        if ends is None:
            return
        with contextlib.suppress(OSError):  # a full pipe: the logger reads it first, and what is joined there is the least of it
            # By a description of our own, since that of the pipe is its writers' as well, and they may wait.
            own = os.open(f"/proc/self/fd/{ends[1]}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(own, b"\n")
            finally:
                os.close(own)

    def acknowledge(self, os_pid: int) -> None:
        """Let the keeper forget the end of a process that is nobody's."""
        self.tell_keeper(keeper.OrphanAcknowledged(os_pid))

    def _close_log(self, name: str) -> None:
        ends = self.logs.pop(name, None)
        if ends is not None:
            for fd in ends:
                os.close(fd)
            self.tell_keeper(keeper.Drop(f"v1/log/{name}"))

    def _say_stopped(self, _effect: effects.SayStopped) -> None:
        if not self._settings.is_private:  # of a private daemon the whole directory goes
            self.tidying.finish()
        self.tell_keeper(keeper.Stopped(self.last_look()))

    # artifacts

    def drop_artifacts(self, pid: int) -> None:
        """Remove the artifacts of a process that is not in the table."""
        folder = Path(self._settings.work_dir, str(pid), FOLDER)
        if folder.exists():
            self.surveyor.remove(folder)

    def drop_strange_artifacts(self) -> None:
        """Remove the artifacts of processes that are not in the table: the kernel before may have died before it did."""
        for folder in Path(self._settings.work_dir).glob(f"*/{FOLDER}"):
            pid = folder.parent.name
            if not pid.isdigit() or int(pid) not in self._state.processes:
                self.surveyor.remove(folder)

    def _revoke(self, effect: effects.Revoke) -> None:
        held = self.ports.get(effect.name)
        if held is not None and held.page is not None:
            held.page.revoke(effect.first, effect.last)

    def _ask_yield(self, effect: effects.AskYield) -> None:
        held = self.ports.get(effect.name)
        if held is not None and held.page is not None:
            held.page.ask_yield(is_wanted=True)

    def _go_on(self, effect: effects.GoOn) -> None:
        held = self.ports.get(effect.name)
        if held is not None and held.page is not None:
            held.page.ask_yield(is_wanted=False)
        self._say(effect.name, worker.GoOn(effect.number))

    def _look_at(self, effect: effects.LookAt) -> None:
        held = self.ports.get(effect.name)
        if held is not None:
            self.found.extend(held.read_page())

    # words

    def _tell(self, effect: effects.Tell | effects.AnswerCall) -> None:
        self._say(effect.name, effect.message)

    def _send_batch(self, effect: effects.SendBatch) -> None:
        self._say(effect.name, worker.Batch(effect.first_sequence, [], effect.spans))

    def _consume(self, effect: effects.Consume) -> None:
        held = self.ports.get(effect.name)
        if held is not None and held.page is not None:
            held.page.consume(effect.sequence)
            if held.page.waits:
                self._say(effect.name, worker.Consumed())

    def _retire(self, effect: effects.Retire) -> None:
        self._say(effect.name, worker.Finish())

    def _say(self, name: str, message: msgspec.Struct) -> None:
        held = self.ports.get(name)
        if held is None:
            return
        violation = held.send(message)
        if violation:
            self.found.append(events.PortViolated(name, violation))
        elif held.channel.waits_to_write:
            self._watch(held)  # for writing as well

    def _reply(self, effect: effects.Reply) -> None:
        body = (
            effect.encoded
            if effect.encoded is not None
            else encode_answer(effect.answer, self._state, self.confinement, is_measured=effect.is_measured)
        )
        self.tell_bus(link.Reply(effect.client, effect.sequence, effect.status, msgspec.Raw(body)))

    def _enroll(self, effect: effects.Enroll) -> None:
        digest = self._state.secret_digest(effect.pid, effect.incarnation)
        self.tell_bus(
            link.Enrolled(effect.pid, effect.incarnation, effect.name, effect.uid, digest, effect.group, effect.parent, effect.type)
        )

    def _publish(self, effect: effects.Publish) -> None:
        if not self.events_wanted:
            return
        body = msgspec.msgpack.encode(
            {"number": effect.number, "at": effect.at, "pid": effect.pid, "kind": effect.kind, "text": effect.text, "data": effect.data}
        )
        self.tell_bus(link.Event(effect.number, f"events/{effect.pid}/{effect.kind}", msgspec.Raw(body)))

    def tell_bus(self, message: msgspec.Struct) -> None:
        """Say something to the bus, if there is one: what it must know comes again with the roster, what it asked it asks again."""
        if self.link is not None:
            with contextlib.suppress(ChannelClosed):
                self.link.send(message)
