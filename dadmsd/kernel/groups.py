"""The groups of processes and workers while something is done to them that takes its time: they are cleared, or stand still.

1. Nothing here waits: what is not empty, or does not stand still yet, is looked at again when ``next_look`` says, after pauses that double.
2. What was found out is an event of the next turn.
3. A leaf that cannot be removed is somebody's who lives on: it goes with the whole group of its process.
"""

import contextlib
import time
from collections.abc import Callable, Mapping

from dadms_ipc.errors import HostFailure
from dadmsd.kernel.confine import Confinement, group_of
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.state import PROBE, State
from dadmsd.kernel.ports import Port
from dadmsd.kernel.tidying import Tidying

CLEAR_SECONDS = 0.005  # until a group that was told to end is looked at again
FREEZE_SECONDS = 0.0005  # until a group that was told to stand still is: a freeze takes microseconds, or as long as a system call
PAUSE_MOST = 0.2

Work = tuple[Callable[..., None], tuple[int | str, ...]]  # what looks, and at what


class Groups:
    """What is being done to groups."""

    def __init__(
        self,
        state: State,
        confinement: Confinement,
        ports: Mapping[str, Port],
        report: Callable[[events.Event], None],
        close_log: Callable[[str], None],
        tidying: Tidying,
    ) -> None:
        self._state = state
        self._confinement = confinement
        self._ports = ports
        self._report = report
        self._close_log = close_log
        self._tidying = tidying
        self._looks: dict[Work, tuple[float, float]] = {}  # -> (monotonic time of the next look, pause after it)
        self._soonest: float | None = None  # of these times, or earlier: what was dropped since may have been it
        self._patience: dict[int, float] = {}  # process -> monotonic seconds: until then what is left of it is not killed
        self._leaves: list[str] = []  # of ended children, that could not be removed yet

    # looking again

    def next_look(self) -> float | None:
        """Give the monotonic time at which a group is to be looked at again."""
        return self._soonest

    def look(self, now: float) -> None:
        """Look again at groups that were not empty, and at those and workers that did not stand still."""
        if self._soonest is None or self._soonest > now:
            return  # a thousand that end are not gone through each time one of them does
        self._soonest = None
        for work, (when, pause) in list(self._looks.items()):
            if when <= now:
                del self._looks[work]
                act, arguments = work
                act(*arguments, pause)
        self._soonest = min((when for when, _ in self._looks.values()), default=None)

    def _look_later(self, pause: float, act: Callable[..., None], *arguments: int | str) -> None:
        when = time.monotonic() + pause
        self._looks[(act, arguments)] = (when, min(PAUSE_MOST, pause * 2))
        self._soonest = when if self._soonest is None else min(when, self._soonest)

    # signals

    def kill(self, effect: effects.KillGroup) -> None:
        """Kill whatever is left of a process."""
        with contextlib.suppress(HostFailure):
            self._confinement.kill(effect.pid)

    def signal(self, effect: effects.SignalGroup) -> None:
        """Signal the whole group of a process, but for one child, who was told already."""
        child = self._state.children.get(effect.besides)
        with contextlib.suppress(HostFailure):
            self._confinement.signal(effect.pid, effect.signal, child.os_pid if child is not None else 0)

    # processes that stand still

    def freeze(self, effect: effects.Freeze) -> None:
        """Have a process stand still, and say when it does."""
        try:
            self._confinement.freeze(effect.pid)
        except HostFailure as error:
            self._report(events.Frozen(effect.pid, effect.incarnation, str(error)))
            return
        self._look_at_process(effect.pid, effect.incarnation, FREEZE_SECONDS)

    def _look_at_process(self, pid: int, incarnation: int, pause: float) -> None:
        process = self._state.processes.get(pid)
        if process is None or process.suspension != "freezing" or process.incarnation != incarnation:
            return
        if self._confinement.is_frozen(pid):
            self._report(events.Frozen(pid, incarnation))
        else:
            self._look_later(pause, self._look_at_process, pid, incarnation)

    def thaw(self, effect: effects.Thaw) -> None:
        """Have a process go on."""
        with contextlib.suppress(HostFailure):  # its group is gone
            self._confinement.thaw(effect.pid)

    # workers that stand still

    def freeze_worker(self, effect: effects.FreezeWorker) -> None:
        """Have a worker stand still, and say what its page held when it did."""
        child = self._state.children.get(effect.name)
        if child is None:
            return
        try:
            self._confinement.backend.freeze(group_of(child))
        except HostFailure as error:
            self._report(events.FreezeFailed(effect.name, str(error)))
            return
        self._look_at_worker(effect.name, FREEZE_SECONDS)

    def _look_at_worker(self, name: str, pause: float) -> None:
        child = self._state.children.get(name)
        held = self._ports.get(name)
        if child is None or held is None or held.page is None:
            return  # it ended meanwhile
        try:
            is_frozen = self._confinement.backend.is_frozen(group_of(child))
        except HostFailure as error:
            self._report(events.FreezeFailed(name, str(error)))
            return
        if not is_frozen:
            self._look_later(pause, self._look_at_worker, name)
            return
        for event in held.read_page():
            self._report(event)
        self._report(events.WorkerFrozen(name, held.page.begun))

    def thaw_worker(self, effect: effects.ThawWorker) -> None:
        """Have a worker go on."""
        self._looks.pop((self._look_at_worker, (effect.name,)), None)
        child = self._state.children.get(effect.name)
        if child is not None:
            with contextlib.suppress(HostFailure):  # its group is gone, and it with it
                self._confinement.backend.thaw(group_of(child))

    # clearing

    def clear(self, effect: effects.ClearGroup) -> None:
        """Have nothing left of a process, and say so when it is true."""
        process = self._state.processes.get(effect.pid)
        if process is not None and effect.incarnation in (0, process.incarnation):
            self._patience[effect.pid] = effect.patience
            self._clear(effect.pid, CLEAR_SECONDS)

    def _clear(self, pid: int, pause: float) -> None:
        process = self._state.processes[pid]
        usage = self._confinement.usage(pid, is_brief=True)
        try:
            is_gone = self._confinement.clear(pid, may_kill=time.monotonic() >= self._patience.get(pid, 0.0))
        except HostFailure:
            is_gone = False
        if not is_gone:
            self._look_later(pause, self._clear, pid)
            return
        self._looks.pop((self._clear, (pid,)), None)
        self._patience.pop(pid, None)
        self._tidying.note(pid)
        self._close_log(f"{pid}.{process.incarnation}")
        self._close_log(f"{pid}.{process.incarnation}{PROBE}")
        peak, cpu = (usage.memory_peak, usage.cpu_seconds) if usage is not None else (0, 0.0)
        is_counted = peak > 0 and "memory" in self._confinement.backend.holds
        self._report(events.GroupGone(pid, peak, cpu, process.incarnation, is_counted))

    def remove_leaf(self, leaf: str) -> None:
        """Remove the leaf of a child that has ended, now or as soon as it is empty."""
        if not self._is_removed(leaf):
            self._leaves.append(leaf)
            if (self._remove_leaves, ()) not in self._looks:
                self._look_later(CLEAR_SECONDS, self._remove_leaves)

    def _remove_leaves(self, pause: float) -> None:
        self._leaves = [leaf for leaf in self._leaves if not self._is_removed(leaf)]
        if not self._leaves or pause >= PAUSE_MOST:
            self._leaves.clear()
        else:
            self._look_later(pause, self._remove_leaves)

    def _is_removed(self, leaf: str) -> bool:
        try:
            return self._confinement.backend.remove(leaf)
        except HostFailure:
            return False
