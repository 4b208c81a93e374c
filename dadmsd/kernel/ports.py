"""The kernel's ends of its children's ports, and what comes in over them as events of the core.

1. A port outlives kernels: its kernel's end is in the keeper's store before its child exists, and goes from there to the next kernel.
2. Everything that a child sent is an event before its exit is one: ``drain`` is called when its end is reported.
3. A frame that breaks the protocol costs the child, not the kernel.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

from dadms_ipc import port
from dadms_ipc.channel import Channel
from dadms_ipc.errors import ChannelClosed, HostFailure, PeerViolation, RequestRefused
from dadmsd.kernel.core import events
from dadmsd.worker import messages as worker
from dadmsd.worker.page import Page, PageViolation
from dadmsd.zygote import messages as zygote

FRAMES_A_TURN = 256  # of one port, so that one child cannot keep the others waiting

FRAMES_AT_ITS_END = 100_000  # more than a socket holds; a process that the child left behind may still be writing

RECEIVES: dict[str, Any] = {
    "zygote": zygote.FromZygote,
    "main": port.FromProcess,
    "worker": worker.FromWorker,
    "command": zygote.GateFailed,
}
_LAST = frozenset({worker.Doorbell, port.Submit})  # who says it rarely says more at once: what there is makes the descriptor ready again


class Port:
    """One child, as far as the shell is concerned: its channel, its pidfd, its page."""

    def __init__(self, name: str, role: str, parent: str, sock: socket.socket, *, epoch: int) -> None:
        self.name = name
        self.role = role
        self.parent = parent
        self.channel: Channel[Any] = Channel(sock, RECEIVES[role], epoch=epoch)
        self.pidfd = -1
        self.page: Page | None = None
        self.page_fd = -1
        self.left: list[zygote.Rlimit] = []  # limits that the child sets on itself, to be read back once it is ready
        self.is_closed = False  # its end was read; the exit follows by another way
        self.has_failed = False  # it said that it cannot be what its gate told it to
        self.is_unreadable = False  # it broke the protocol: nothing more of it is read
        self._has_rung = False  # a worker, which is ready therefore

    def fileno(self) -> int:
        """Give the descriptor, for a selector."""
        return self.channel.fileno()

    def send(self, message: Any, fds: Sequence[int] = ()) -> str:
        """Send a message and give "", or why the child cannot be served any more; to a child that is gone it is lost, and its exit is reported elsewhere."""
        try:
            self.channel.send(message, fds)
        except (PeerViolation, RequestRefused, HostFailure) as error:
            return str(error)
        except ChannelClosed:
            pass
        return ""

    def signal(self, number: int) -> None:
        """Send a signal to the child, if it still lives."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def receive(self, most: int = FRAMES_A_TURN) -> tuple[list[Any], list[events.Event]]:
        """Read up to ``most`` frames: raw frames of zygotes, whose reports the caller sorts, and events of mains and workers."""
        frames: list[Any] = []
        found: list[events.Event] = []
        has_rung = False
        while most > 0 and not self.is_closed and not self.is_unreadable:
            most -= 1
            try:
                frame = self.channel.receive()
            except ChannelClosed:
                self.is_closed = True
                if self.role == "command" and not self.has_failed:
                    found.append(events.Executed(self.name))  # the port is close-on-exec
                break
            except PeerViolation as violation:
                self.is_unreadable = self.role != "zygote"
                found.append(events.PortViolated(self.name, str(violation)))
                break
            if frame is None:
                break
            if self.role == "zygote":
                frames.append(frame)
                continue
            for fd in frame.fds:
                os.close(fd)
            body = frame.body
            if type(body) is worker.Doorbell:
                has_rung = True
            else:
                self._translate(body, found)
            if type(body) in _LAST and most < FRAMES_A_TURN:
                break
        if has_rung:  # however often: the page is read once
            if not self._has_rung:
                self._has_rung = True
                found.append(events.WorkerReady(self.name))  # after an adoption, the only sign of it
            found.extend(self.read_page())
        return frames, found

    def drain(self) -> list[events.Event]:
        """Give everything that the child sent and left in its page: it has ended."""
        _, found = self.receive(FRAMES_AT_ITS_END)
        found.extend(self.read_page())
        return found

    def read_page(self) -> list[events.Event]:
        """Give the results that the page holds."""
        if self.page is None:
            return []
        try:
            outcomes = self.page.read()
        except PageViolation as violation:
            return [events.ResultsRead(self.name, violation.results), events.PortViolated(self.name, str(violation))]
        if outcomes:
            return [events.ResultsRead(self.name, outcomes)]
        if self.page.free_known() and self.page.waits:
            self.send(worker.Consumed())
        return []

    def _translate(self, body: Any, found: list[events.Event]) -> None:
        name = self.name
        match body:
            case port.Submit():  # first, since it comes most often
                found.append(events.Submitted(name, body))
            case worker.Ready():
                found.append(events.WorkerReady(name))
            case worker.Spoiled():
                found.append(events.PortViolated(name, f"thread {body.tid} wrote over the results that it keeps"))
            case worker.Yield():
                found.extend(self.read_page())  # of what it ended before
                found.append(events.Yielded(name, body.number, body.sequence))
            case worker.Progress():
                found.append(events.ProgressMade(name, body.tid, body.text[:500], body.fraction))
            case port.Ready():
                found.append(events.MainReady(name, body.entries, body.warnings, {}, body.declarations))
            case port.Seen():
                found.append(events.ResultsSeen(name, body.sequence))
            case port.Note():
                found.append(events.NoteGiven(name, body))
            case port.Outcome():
                found.append(events.OutcomeGiven(name, body))
            case port.Checkpoint():
                found.append(events.CheckpointGiven(name, body.number, bytes(body.value)))
            case port.Cancel():
                found.append(events.CancelAsked(name, body.sequence, body.tids))
            case port.ContextCall():
                found.append(events.ContextCalled(name, body))
            case port.Watchdog():
                found.append(events.Beaten(name))
            case port.Steer():
                found.append(events.SteerAsked(name, body.sequence, body.verb, body.tids, body.value, body.group))
            case port.GateFailed():
                found.append(events.ChildFailed(name, body.reason))
            case zygote.GateFailed():
                self.has_failed = True
                found.append(events.ChildFailed(name, body.reason))

    def close(self) -> None:
        """Let go of everything that was kept for this child."""
        self.channel.close()
        if self.page is not None:
            self.page.close()
        for fd in (self.pidfd, self.page_fd):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.page_fd = -1
        self.page = None
