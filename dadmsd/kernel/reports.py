"""Who lives and who ended, as zygotes, the keeper and /proc tell it.

A child's exit is reported by the zygote that forked it; when that one is gone, by the keeper, to whom its children fell. After a new kernel's hello a zygote
reports every child again; what neither it nor the keeper reports and /proc does not know has ended in a way that nobody saw.
"""

import contextlib
import os
import signal
from typing import Any

from dadms_ipc.channel import Frame
from dadmsd.keeper.messages import OrphanExited
from dadmsd.kernel.core import events
from dadmsd.kernel.core.lifecycle import ALIVE
from dadmsd.kernel.core.records import Child
from dadmsd.kernel.core.state import State
from dadmsd.kernel.hands import Hands
from dadmsd.kernel.host.processes import exists
from dadmsd.kernel.ports import Port
from dadmsd.zygote import messages

CLD_KILLED = 2  # si_code of waitid(2)
CLD_DUMPED = 3


class Reports:
    """Turns reports into events, and keeps what they carry."""

    def __init__(self, state: State, hands: Hands) -> None:
        self._state = state
        self._hands = hands
        self._greeting: dict[str, tuple[int, set[str]]] = {}  # zygote -> how many children it is still to report, and which it has

    def zygote(self, port: Port, frame: Frame[Any]) -> list[events.Event]:
        """Take one report in."""
        body = frame.body
        found: list[events.Event] = []
        keep: list[int] = []
        match body:
            case messages.Greeting():
                self._greeting[port.name] = (body.children, set())
                found.extend(self._progress(port.name, ""))
            case messages.Forked():
                keep = self._take_pidfd(body.name, frame.fds)
                found.append(events.Forked(body.name, body.os_pid, body.start_ticks))
                found.extend(self._progress(port.name, body.name))
            case messages.ForkFailed():
                found.append(events.ForkFailed(body.name, body.reason))
            case messages.Exited():
                found.extend(self._exited(port.name, body))
                found.extend(self._progress(port.name, body.name))
            case messages.Imported():
                found.append(events.ZygoteReady(port.name, body.version, body.topics, body.warnings, body.seconds))
            case messages.ImportFailed() | messages.GateFailed():
                found.append(events.ChildFailed(port.name, body.reason))
        for fd in frame.fds:
            if fd not in keep:
                os.close(fd)
        return found

    def _take_pidfd(self, name: str, fds: list[int]) -> list[int]:
        held = self._hands.ports.get(name)
        if held is None or held.pidfd >= 0 or not fds:
            return []
        held.pidfd = fds[0]
        return [fds[0]]

    def _progress(self, zygote: str, name: str) -> list[events.Event]:
        """Count the reports that follow a greeting; the last one completes it."""
        waiting = self._greeting.get(zygote)
        if waiting is None:
            return []
        count, seen = waiting
        if name:
            seen.add(name)
        if len(seen) < count:
            return []
        del self._greeting[zygote]
        return [events.ParentReported(zygote, frozenset(seen))]

    def _exited(self, zygote: str, report: messages.Exited) -> list[events.Event]:
        child = self._state.children.get(report.name)
        self._hands.reported_by[report.name] = zygote  # which waits to reap it; its port, if there is one, does not always say so
        if child is None:
            return [events.Exited(report.name, report.how, report.status)]
        return self._end(child, report.how, report.status, report.cpu_seconds, report.peak_kb, at=report.at)

    def _end(
        self, child: Child, how: int, status: int, cpu_seconds: float = 0.0, peak_kb: int = 0, *, at: float = 0.0
    ) -> list[events.Event]:
        """Make the events of an end: all that the child had sent, then the exit."""
        held = self._hands.ports.get(child.name)
        found: list[events.Event] = []
        begun = 0
        if held is not None:
            if held.role == "zygote":
                frames, _ = held.receive(100_000)
                for frame in frames:
                    found.extend(self.zygote(held, frame))
                held.is_closed = True
            else:
                found.extend(held.drain())
            if held.page is not None:
                begun = held.page.begun
        oom = ""
        if how in (CLD_KILLED, CLD_DUMPED) and status == signal.SIGKILL and child.phase != "killing":
            with contextlib.suppress(Exception):  # a counter that cannot be read accuses nobody
                oom = self._hands.confinement.victim(child, status)
        killed, words = 0, ""
        if child.role in ("main", "worker"):
            with contextlib.suppress(Exception):  # as above
                killed, words = self._hands.confinement.others_killed(child, is_victim=bool(oom))
        found.append(events.Exited(child.name, how, status, oom, begun, cpu_seconds, peak_kb * 1024, killed, words, at))
        return found

    def orphan(self, report: OrphanExited) -> list[events.Event]:
        """Take in the end of a child whose zygote is gone; the keeper also reaps strangers, of whom nothing is to be done."""
        for child in self._state.children.values():
            if child.os_pid == report.os_pid:
                self._hands.orphans[child.name] = report.os_pid
                return self._end(child, report.how, report.status, at=report.at)
        self._hands.acknowledge(report.os_pid)
        return []

    def lost(self) -> list[events.Event]:
        """Find children that have ended without anybody's report: not even a zombie is left, which its parent would still report."""
        found: list[events.Event] = []
        for child in list(self._state.children.values()):
            if child.phase in ALIVE and not exists(child.os_pid, child.start_ticks):
                found.extend(self._end(child, 0, 0))
        return found
