"""Performs the effects of the core. It decides nothing: what it finds out is an event of the next turn.

Order of a start (docs/reference/zygote.md): journal, store in the keeper, fork request; and later limits, read back, gate. Order of an end: exit reported,
journaled, then acknowledged (reap), then the descriptors go.
"""

import contextlib
import errno
import os
import pwd
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc import channel, port
from dadms_ipc.artifacts import FOLDER
from dadms_ipc.channel import Channel
from dadms_ipc.errors import ChannelClosed, DadmsError, HostFailure
from dadmsd.keeper import messages as keeper
from dadmsd.kernel import link
from dadmsd.kernel.answering import encode_answer
from dadmsd.kernel.confine import Confined, Confinement, group_of
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.processes import code_of
from dadmsd.kernel.core.records import Child, Process
from dadmsd.kernel.core.state import State
from dadmsd.kernel.host import limits
from dadmsd.kernel.host.processes import look
from dadmsd.kernel.notify import Notify
from dadmsd.kernel.ports import Port
from dadmsd.kernel.survey import Surveyor
from dadmsd.worker import messages as worker
from dadmsd.worker.page import Page
from dadmsd.zygote import messages as zygote

RETRY_SECONDS = 0.005  # until a group that was told to end is looked at again; doubles up to RETRY_MOST
RETRY_MOST = 0.2
FREEZE_LOOK_SECONDS = 0.0005  # until a group that was told to stand still is looked at again; doubles as well
FREEZE_SECONDS = 0.0005  # until a worker that is being frozen is looked at again; a freeze takes microseconds, or as long as a system call

# One thread a process unless the user says otherwise: a zygote that forks must have one, and a worker holds one slot.
QUIET_LIBRARIES = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS"), "1"
)


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
        self.logs: dict[str, tuple[int, int]] = {}  # name -> read and write end of the pipe
        self.reported_by: dict[str, str] = {}  # children that nobody knows any more -> the zygote that waits to reap them
        self.orphans: dict[str, int] = {}  # child -> OS pid of those whose exit the keeper holds
        self.found: list[events.Event] = []  # for the next turn
        self.retries: dict[int, tuple[float, float]] = {}  # process whose group is to be cleared -> (when, pause)
        self.freezing: dict[
            tuple[int, int], tuple[float, float]
        ] = {}  # (process, incarnation) that is to stand still -> (when to look, pause)
        self.notify: dict[str, Notify] = {}  # main -> where it says how it is
        self.watch_notify: Callable[[Notify], None] = lambda _notify: None  # the loop's
        self.unwatch_notify: Callable[[Notify], None] = lambda _notify: None
        self.patience: dict[int, float] = {}  # process -> monotonic seconds: until then what is left of it is not killed
        self.standing: dict[str, tuple[float, float]] = {}  # worker that is to stand still -> (when to look, pause)
        self._leaves: list[str] = []  # of ended children, that could not be removed yet
        state_dir = Path(self._settings.state_dir)
        self.surveyor = Surveyor([state_dir / "work", state_dir / "logs"])
        self._perform: dict[type[Any], Callable[[Any], None]] = {
            effects.Fork: self._fork,
            effects.OpenGate: self._open_gate,
            effects.Signal: self._signal,
            effects.KillGroup: self._kill_group,
            effects.SignalGroup: self._signal_group,
            effects.SetLimits: self._set_limits,
            effects.Freeze: self._freeze,
            effects.Thaw: self._thaw,
            effects.Bury: self._bury,
            effects.ClearGroup: self._clear_group,
            effects.Tell: self._tell,
            effects.AnswerCall: self._tell,
            effects.MeasureDisk: lambda _effect: self.surveyor.measure(),
            effects.DropArtifacts: lambda effect: self.drop_artifacts(effect.pid),
            effects.SendBatch: self._send_batch,
            effects.Consume: self._consume,
            effects.FreezeWorker: self._freeze_worker,
            effects.ThawWorker: self._thaw_worker,
            effects.Revoke: self._revoke,
            effects.LookAt: self._look_at,
            effects.Retire: self._retire,
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
            effects.AskShutdown: lambda _effect: self.tell_keeper(keeper.ShutdownAsked()),
            effects.SayStopped: lambda _effect: self.tell_keeper(keeper.Stopped()),
        }

    def perform(self, effect: effects.AnyEffect) -> None:
        """Do one effect."""
        self._perform[type(effect)](effect)

    def zygote_port(self, name: str) -> Port | None:
        """Give the control channel of a zygote."""
        return self.base if name == "base" else self.ports.get(name)

    # children

    def _fork(self, effect: effects.Fork) -> None:
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
            with contextlib.suppress(ChannelClosed):
                parent.channel.send(zygote.Fork(effect.name, effect.role, self._settings.gate_timeout), fds)
        finally:
            theirs.close()

    def _greet(self, effect: effects.Greet) -> None:
        parent = self.zygote_port(effect.parent)
        if parent is not None and not parent.is_closed:
            parent.send(zygote.Hello())

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

    def _open_gate(self, effect: effects.OpenGate) -> None:
        child = self._state.children.get(effect.name)
        held = self.ports.get(effect.name)
        if child is None or held is None:
            return
        process = self._state.processes.get(child.pid)
        try:
            confined = self.confinement.confine(child, process)
            held.left = confined.left
            held.channel.send(self._gate(child, process, confined))
        except ChannelClosed:
            if not child.is_command:
                return  # it exited at its gate: its zygote reports it
            # an earlier kernel opened the gate and died: it has become its program, or has ended, which its zygote reports
        except DadmsError as error:
            self.found.append(events.GateShut(child.name, str(error)))
            return
        self.found.append(events.GateOpened(child.name, confined.limits, confined.warnings))

    def verified(self, event: events.Event) -> events.Event:
        """Read back, of a child that says it is ready, the limits that it had to set on itself; without them it is ended."""
        if not isinstance(event, events.MainReady | events.WorkerReady | events.Executed):
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
        return msgspec.structs.replace(event, limits=enforced.limits) if isinstance(event, events.MainReady) else event

    def _gate(self, child: Child, process: Process | None, confined: Confined) -> msgspec.Struct:
        settings = self._settings
        if child.role == "zygote":
            user, gid, groups = _user(child.uid)
            return zygote.ZygoteGate(
                name=child.name,
                uid=child.uid,
                gid=gid,
                groups=groups,
                orchestrator=child.key.split("|")[0] if process is None else code_of(process.spec),
                handlers=process.spec.handlers if process is not None else None,
                environment=self._environment(user, child.uid, process),
            )
        assert process is not None, f"{child.name} without a process"
        directory = self._directory(process)
        if child.role == "worker":
            return zygote.WorkerGate(
                pid=process.pid,
                incarnation=child.incarnation,
                worker=child.number,
                first_sequence=1,
                config=process.spec.config,
                directory=directory,
                rlimits=confined.left,
                workplace=process.spec.directory or "",
            )
        if child.is_command:
            return self._command_gate(child, process, confined, directory)
        forker = self._state.children.get(child.parent)
        return port.Gate(
            pid=process.pid,
            incarnation=child.incarnation,
            secret=self._state.secret(process.pid, child.incarnation),
            name=process.spec.name,
            config=process.spec.config,
            control=f"ipc://{settings.runtime_dir}/control.sock",
            data=f"ipc://{settings.runtime_dir}/data.sock",
            directory=directory,
            ready_timeout=process.spec.ready_timeout or settings.ready_timeout,
            rlimits=[(limit.resource, limit.value) for limit in confined.left],
            topics=forker.topics if forker is not None else [],
            workplace=process.spec.directory or "",
        )

    def _command_gate(self, child: Child, process: Process, confined: Confined, directory: str) -> zygote.CommandGate:
        """Make the gate of a service or tool."""
        spec = process.spec
        user, gid, groups = _user(child.uid)
        argv = spec.command
        if child.role == "probe":
            argv = spec.ready_command if child.key == "ready" else spec.live_command
        told = self._notify_of(child, process) | {
            "DADMS_PID": str(process.pid),
            "DADMS_INCARNATION": str(child.incarnation),
            "DADMS_RUNTIME_DIR": self._settings.runtime_dir,
        }
        return zygote.CommandGate(
            argv=argv,
            environment={**self._environment(user, child.uid, process, quiet=False), **told},
            directory=spec.directory or directory,
            umask=spec.umask,
            uid=child.uid,
            gid=gid if spec.gid is None else spec.gid,
            groups=groups if spec.gid is None else sorted({*groups, spec.gid}),
            rlimits=confined.left,
            niceness=spec.nice,
            no_new_privileges=spec.no_new_privileges,
        )

    def _environment(self, user: str, uid: int, process: Process | None, *, quiet: bool = True) -> dict[str, str]:
        """Make the environment of a zygote or a command: minimal, or that of the user who runs a private daemon."""
        if self._settings.is_private:
            base = {name: value for name, value in os.environ.items() if not name.startswith("DADMS_")}
        else:
            home = "/"
            with contextlib.suppress(KeyError):
                home = pwd.getpwuid(uid).pw_dir
            base = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": home, "USER": user, "LOGNAME": user}
        # Handlers, too, may open a client of this daemon.
        extra = {"DADMS_RUNTIME_DIR": self._settings.runtime_dir} | (process.spec.environment if process is not None else {})
        return {**(QUIET_LIBRARIES if quiet else {}), **base, **extra}

    def _directory(self, process: Process) -> str:
        """Make the working directory of a process, its user's alone."""
        path = Path(self._settings.state_dir, "work", str(process.pid))
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if process.uid != self._settings.uid:
                for passed in (
                    path.parent,
                    path.parent.parent,
                ):  # to be passed through, not to be listed: what is in them has modes of its own
                    passed.chmod(0o711)
                os.chown(path, process.uid, _user(process.uid)[1])
        except OSError as error:
            raise HostFailure(f'cannot make the working directory "{path}": {error.strerror}') from error
        return str(path)

    def _signal(self, effect: effects.Signal) -> None:
        held = self.ports.get(effect.name)
        if held is not None:
            held.signal(effect.signal)

    def _ask_reload(self, _effect: effects.AskReload) -> None:
        if self._settings.config_source:
            os.kill(os.getppid(), signal.SIGUSR1)  # as `systemctl reload` does (docs/reference/keeper.md)

    def _kill_group(self, effect: effects.KillGroup) -> None:
        with contextlib.suppress(HostFailure):
            self.confinement.kill(effect.pid)

    def _signal_group(self, effect: effects.SignalGroup) -> None:
        child = self._state.children.get(effect.besides)
        with contextlib.suppress(HostFailure):
            self.confinement.signal(effect.pid, effect.signal, child.os_pid if child is not None else 0)

    def _set_limits(self, effect: effects.SetLimits) -> None:
        process = self._state.processes.get(effect.pid)
        if process is None or process.before is None:
            return
        children = [child for child in self._state.owned(process.pid) if child.os_pid and child.phase in ("opened", "ready", "stopping")]
        try:
            held, warnings = self.confinement.change(process, process.before.limits, children)
        except DadmsError as error:
            self.found.append(events.LimitsSet(process.pid, effect.incarnation, reason=str(error)))
            return
        self.found.append(events.LimitsSet(process.pid, effect.incarnation, held, warnings))

    def _freeze(self, effect: effects.Freeze) -> None:
        try:
            self.confinement.freeze(effect.pid)
        except HostFailure as error:
            self.found.append(events.Frozen(effect.pid, effect.incarnation, str(error)))
            return
        self._look_at_freeze(effect.pid, effect.incarnation, FREEZE_LOOK_SECONDS)

    def _look_at_freeze(self, pid: int, incarnation: int, pause: float) -> None:
        self.freezing.pop((pid, incarnation), None)
        process = self._state.processes.get(pid)
        if process is None or process.suspension != "freezing" or process.incarnation != incarnation:
            return
        if self.confinement.is_frozen(pid):
            self.found.append(events.Frozen(pid, incarnation))
        else:
            self.freezing[(pid, incarnation)] = (time.monotonic() + pause, min(RETRY_MOST, pause * 2))

    def _thaw(self, effect: effects.Thaw) -> None:
        self.freezing.pop((effect.pid, effect.incarnation), None)
        with contextlib.suppress(HostFailure):  # its group is gone
            self.confinement.thaw(effect.pid)

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
            told["WATCHDOG_USEC"] = str(int(spec.watchdog * 1e6))
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
        held = self.ports.pop(name, None)
        os_pid = self.orphans.pop(name, None)
        if os_pid is not None:
            self.tell_keeper(keeper.OrphanAcknowledged(os_pid))
        spoken = self.notify.pop(name, None)
        if spoken is not None:
            self.unwatch_notify(spoken)
            spoken.close()
            self.tell_keeper(keeper.Drop(f"v1/notify/{name}"))
        parent = self.zygote_port(self.reported_by.pop(name, held.parent if held is not None else ""))
        if parent is not None and not parent.is_closed:
            parent.send(zygote.Reap(name))
        if held is None:
            return
        self._unwatch(held)
        held.close()
        self.tell_keeper(keeper.Drop(f"v1/port/{name}"))
        if held.role == "worker":
            self.tell_keeper(keeper.Drop(f"v1/page/{name}"))
            self._remove_leaf(
                group_of(Child(name=name, role="worker", parent="", pid=int(name.partition(".")[0]), number=int(name.rpartition("/w")[2])))
            )
        elif held.role == "zygote":
            self._close_log(name.replace("/", "-"))
            if name.replace("/", "-") in self.confinement.backend.groups():
                self._remove_leaf(name.replace("/", "-"))

    def acknowledge(self, os_pid: int) -> None:
        """Let the keeper forget the end of a process that is nobody's."""
        self.tell_keeper(keeper.OrphanAcknowledged(os_pid))

    def _remove_leaf(self, leaf: str) -> None:
        if not self._removed(leaf):
            self._leaves.append(leaf)
            self.retries.setdefault(0, (self._state.now + RETRY_SECONDS, RETRY_SECONDS))

    def _removed(self, leaf: str) -> bool:
        try:
            return self.confinement.backend.remove(leaf)
        except HostFailure:
            return False

    def _close_log(self, name: str) -> None:
        ends = self.logs.pop(name, None)
        if ends is not None:
            for fd in ends:
                os.close(fd)
            self.tell_keeper(keeper.Drop(f"v1/log/{name}"))

    # groups

    def _clear_group(self, effect: effects.ClearGroup) -> None:
        process = self._state.processes.get(effect.pid)
        if process is not None and effect.incarnation in (0, process.incarnation):
            self.patience[effect.pid] = effect.patience
            self._try_to_clear(effect.pid, RETRY_SECONDS)

    def _try_to_clear(self, pid: int, pause: float) -> None:
        process = self._state.processes[pid]
        usage = self.confinement.usage(pid)
        now = time.monotonic()
        try:
            is_gone = self.confinement.clear(pid, may_kill=now >= self.patience.get(pid, 0.0))
        except HostFailure:
            is_gone = False
        if not is_gone:
            self.retries[pid] = (now + pause, min(RETRY_MOST, pause * 2))
            return
        self.retries.pop(pid, None)
        self.patience.pop(pid, None)
        with contextlib.suppress(OSError):  # what it left in its working directory stays; an empty one goes
            Path(self._settings.state_dir, "work", str(pid)).rmdir()
        self._close_log(f"{pid}.{process.incarnation}")
        peak, cpu = (usage.memory_peak, usage.cpu_seconds) if usage is not None else (0, 0.0)
        self.found.append(events.GroupGone(pid, peak, cpu, process.incarnation))

    def next_retry(self) -> float | None:
        """Give the monotonic time at which a group is to be looked at again."""
        return min((when for when, _ in (*self.retries.values(), *self.freezing.values(), *self.standing.values())), default=None)

    def retry(self, now: float) -> None:
        """Look again at groups that were not empty, and at those and workers that did not stand still."""
        for (pid, incarnation), (when, pause) in list(self.freezing.items()):
            if when <= now:
                self._look_at_freeze(pid, incarnation, pause)
        for name, (when, pause) in list(self.standing.items()):
            if when <= now:
                self._look_whether_frozen(name, now, pause)
        for pid, (when, pause) in list(self.retries.items()):
            if when > now:
                continue
            if pid:
                self._try_to_clear(pid, pause)
                continue
            self._leaves = [leaf for leaf in self._leaves if not self._removed(leaf)]
            if self._leaves and pause < RETRY_MOST:
                self.retries[0] = (now + pause, pause * 2)
            else:  # what lives on there is its process's: it goes with the whole group
                self._leaves.clear()
                del self.retries[0]

    # artifacts

    def drop_artifacts(self, pid: int) -> None:
        """Remove the artifacts of a process that is not in the table."""
        folder = Path(self._settings.state_dir, "work", str(pid), FOLDER)
        if folder.exists():
            self.surveyor.remove(folder)

    def drop_strange_artifacts(self) -> None:
        """Remove the artifacts of processes that are not in the table: the kernel before may have died before it did."""
        for folder in Path(self._settings.state_dir, "work").glob(f"*/{FOLDER}"):
            pid = folder.parent.name
            if not pid.isdigit() or int(pid) not in self._state.processes:
                self.surveyor.remove(folder)

    # workers that stand still

    def _freeze_worker(self, effect: effects.FreezeWorker) -> None:
        child = self._state.children.get(effect.name)
        if child is None:
            return
        try:
            self.confinement.backend.freeze(group_of(child))
        except HostFailure as error:
            self.found.append(events.FreezeFailed(effect.name, str(error)))
            return
        self._look_whether_frozen(effect.name, time.monotonic(), FREEZE_SECONDS)

    def _look_whether_frozen(self, name: str, now: float, pause: float) -> None:
        """Report a worker that stands still, with what its page held by then; look again a little later at one that does not yet."""
        self.standing.pop(name, None)
        child = self._state.children.get(name)
        held = self.ports.get(name)
        if child is None or held is None or held.page is None:
            return  # it ended meanwhile
        try:
            is_frozen = self.confinement.backend.is_frozen(group_of(child))
        except HostFailure as error:
            self.found.append(events.FreezeFailed(name, str(error)))
            return
        if not is_frozen:
            self.standing[name] = (now + pause, min(RETRY_MOST, pause * 2))
            return
        self.found.extend(held.read_page())
        self.found.append(events.WorkerFrozen(name, held.page.begun))

    def _thaw_worker(self, effect: effects.ThawWorker) -> None:
        self.standing.pop(effect.name, None)
        child = self._state.children.get(effect.name)
        if child is not None:
            with contextlib.suppress(HostFailure):  # its group is gone, and it with it
                self.confinement.backend.thaw(group_of(child))

    def _revoke(self, effect: effects.Revoke) -> None:
        held = self.ports.get(effect.name)
        if held is not None and held.page is not None:
            held.page.revoke(effect.first, effect.last)

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
        body = effect.encoded if effect.encoded is not None else encode_answer(effect.answer, self._state, self.confinement)
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


def _user(uid: int) -> tuple[str, int, list[int]]:
    """Look a user up: (name, group, all groups)."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        if uid == os.getuid():
            return str(uid), os.getgid(), os.getgroups()
        raise HostFailure(f"cannot run as user {uid}: there is no such user") from None
    try:
        return entry.pw_name, entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)
    except OSError as error:
        raise HostFailure(f"cannot read the groups of user {entry.pw_name}: {errno.errorcode.get(error.errno or 0, str(error))}") from error
