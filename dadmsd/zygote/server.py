"""A fork server: one thread that forks when told to, reports what becomes of its children, and reaps when told to.

1. A child is reaped only on ``Reap``: until its exit is in the journal it stays a zombie, and every kernel is told of it.
2. A report is due until it has been sent, and ``Hello`` makes every report due again. Nothing is queued but the names of children: 1000 exits while no
   kernel reads fill the socket, and what did not fit is still due.
3. Orders of an older epoch than the newest one heard are dropped.
4. A zygote lives as long as its control channel, which closes when neither a keeper nor a kernel is left; then it ends its children as well (``bereaved``). One that dies otherwise is outlived by
   them, and they fall to the keeper.
5. A zygote that holds user code forks mains and workers of that code, and zygotes that add to it; the one that holds none forks zygotes and commands.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections import deque
from typing import Any, NamedTuple

from dadms_ipc.channel import Channel, Frame
from dadms_ipc.errors import ChannelClosed, HostFailure, PeerViolation
from dadmsd.stderr import say
from dadmsd.zygote import accounting
from dadmsd.zygote.birth import DESCRIPTORS, Birth
from dadmsd.zygote.messages import Exited, Fork, Forked, ForkFailed, FromZygote, Greeting, Hello, Imported, Reap

TURN = 64  # frames a turn: exits are seen between them
ROW = 8  # forks with nothing between them, if so many were asked for: a few milliseconds
BACKLOG = 4096  # reports due above which no more orders are read
ROLES_WITHOUT_CODE = frozenset({"zygote", "command"})
ROLES_WITH_CODE = frozenset({"main", "worker", "zygote"})  # a zygote of it adds handlers


# In a child, what it was forked by, for good: taking it apart would copy the pages of its records, and close descriptors whose numbers are the child's own by then (birth.py).
_left: list["Zygote"] = []


class Child:
    """A child that was forked here and is not reaped."""

    __slots__ = ("exited", "forked", "pidfd")

    def __init__(self, forked: Forked, pidfd: int) -> None:
        self.forked = forked
        self.pidfd = pidfd
        self.exited: Exited | None = None


class _Due(NamedTuple):
    """A report that has not been sent."""

    message: FromZygote
    child: Child | None  # whose pidfd travels with it


class Zygote:
    """The server; ``serve`` returns in the children that it forks."""

    def __init__(self, name: str, control: Channel[Any], *, imported: Imported | None = None, kept: frozenset[int] = frozenset()) -> None:
        self._name = name
        self._control = control
        self._roles = ROLES_WITHOUT_CODE if imported is None else ROLES_WITH_CODE
        self._imported = imported  # what it holds; None: no user code
        self._kept = kept
        self._children: dict[str, Child] = {}
        self._by_pidfd: dict[int, Child] = {}  # those that run
        self._due: deque[_Due] = deque()
        self._epoll = select.epoll()
        self._interest = select.EPOLLIN
        self._epoll.register(control.fileno(), self._interest)

    def serve(self) -> Birth | None:
        """Serve until the control channel closes (None), or until this process is a new child (its birth)."""
        control = self._control.fileno()
        try:
            while True:
                is_ordered = False
                for fd, _ in self._epoll.poll():
                    if fd == control:
                        is_ordered = True
                    else:
                        self._look_at(fd)
                if is_ordered:
                    birth = self._take_orders()
                    if birth is not None:
                        _left.append(self)
                        return birth
                self._report()
                self._await_what_matters()
        except ChannelClosed:
            from dadmsd.zygote.bereaved import end_family  # once in a life

            end_family({child.forked.os_pid: child.forked.start_ticks for child in self._children.values() if child.exited is None})
            return None

    def _take_orders(self) -> Birth | None:
        self._control.flush()
        row: list[Frame[Fork]] = []
        for _ in range(TURN):
            if len(self._due) > BACKLOG:
                break
            try:
                frame = self._control.receive()
            except PeerViolation as error:
                _log(f"zygote {self._name}: a message was dropped: {error}")
                continue
            if frame is None:
                break
            if frame.epoch < self._control.epoch:
                _close(frame.fds)
                continue
            self._control.epoch = frame.epoch
            is_fork = isinstance(frame.body, Fork)
            if row and (not is_fork or len(row) == ROW or any(frame.body.name == each.body.name for each in row)):
                birth = self._fork(row)
                if birth is not None:
                    return birth
                row = []
            if is_fork:
                row.append(frame)
            else:
                self._obey(frame)
        return self._fork(row) if row else None

    def _obey(self, frame: Frame[Any]) -> None:
        order = frame.body
        _close(frame.fds)
        if isinstance(order, Hello):
            self._due.clear()
            self._due.append(_Due(Greeting(self._name, os.getpid(), len(self._children)), None))
            if self._imported is not None:  # an earlier kernel may have read it and died before its commit
                self._due.append(_Due(self._imported, None))
            for child in self._children.values():
                self._tell(child)
        elif isinstance(order, Reap):
            self._reap(order.name)

    def _fork(self, row: list[Frame[Fork]]) -> Birth | None:
        """Fork a row of children with nothing between: what is written after a fork is copied first, page by page. Gives its birth in each child."""
        row = [frame for frame in row if self._is_to_be_forked(frame)]
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # the log takes nothing, or user code closed it
                stream.flush()  # else the children would print it again
        forked: list[tuple[Fork, list[int], int]] = []
        for frame in row:
            order = frame.body
            try:
                os_pid = os.fork()
            except OSError as error:
                self._fail(order, frame.fds, f"{error.strerror} (a limit on processes or memory)")
                continue
            if os_pid == 0:
                return Birth(order.name, order.role, order.gate_timeout, frame.fds, self._kept)
            forked.append((order, frame.fds, os_pid))
        for order, fds, os_pid in forked:
            self._note(order, fds, os_pid)
        self._report()  # at once: the kernel prepares these children while the next are forked
        return None

    def _note(self, order: Fork, fds: list[int], os_pid: int) -> None:
        """Have a child that was forked be looked after, and told of."""
        try:
            pidfd = os.pidfd_open(os_pid)
        except OSError as error:
            os.kill(os_pid, signal.SIGKILL)
            os.waitpid(os_pid, 0)
            self._fail(order, fds, f"no descriptor for it is left: {error.strerror}")
            return
        _close(fds)
        child = Child(Forked(order.name, os_pid, accounting.start_ticks(os_pid)), pidfd)
        self._children[order.name] = child
        self._by_pidfd[pidfd] = child
        self._epoll.register(pidfd, select.EPOLLIN)
        self._tell(child)

    def _is_to_be_forked(self, frame: Frame[Fork]) -> bool:
        """Tell whether nothing speaks against a fork; else that is told."""
        order, fds = frame.body, frame.fds
        if (child := self._children.get(order.name)) is not None:
            _close(fds)
            self._tell(child)
            return False
        if objection := self._objection(order, len(fds)):
            self._fail(order, fds, objection)
            return False
        return True

    def _objection(self, order: Fork, count: int) -> str:
        expected = DESCRIPTORS.get(order.role)
        if expected is None:
            return f'there is no role "{order.role}"'
        if order.role not in self._roles:
            holds = "user code" if self._imported is not None else "no orchestrator"
            return f"the zygote {self._name} holds {holds}, and forks no {order.role}"
        if count != expected:
            return f"{count} descriptors came with it, a {order.role} takes {expected}"
        return ""

    def _fail(self, order: Fork, fds: list[int], reason: str) -> None:
        _close(fds)
        self._due.append(_Due(ForkFailed(order.name, f'cannot fork "{order.name}": {reason}'), None))

    def _look_at(self, pidfd: int) -> None:
        child = self._by_pidfd.get(pidfd)
        found = accounting.look_at_exit(child.forked.os_pid) if child else None
        if child is None or found is None:  # the number was closed and used again since the event
            return
        del self._by_pidfd[pidfd]
        self._epoll.unregister(pidfd)  # it stays readable
        child.exited = Exited(child.forked.name, child.forked.os_pid, *found, at=time.time())
        self._due.append(_Due(child.exited, None))

    def _reap(self, name: str) -> None:
        child = self._children.get(name)
        if child is None or child.exited is None:  # told twice, or too early
            return
        os.waitpid(child.forked.os_pid, 0)
        os.close(child.pidfd)
        child.pidfd = -1
        del self._children[name]

    def _tell(self, child: Child) -> None:
        self._due.append(_Due(child.forked, child))
        if child.exited is not None:
            self._due.append(_Due(child.exited, None))

    def _report(self) -> None:
        """Send what is due while the socket takes it; the channel's outbox holds one frame at most."""
        while self._due and self._control.flush():
            message, child = self._due.popleft()
            if child is not None and child.pidfd < 0:  # reaped meanwhile
                continue
            try:
                self._control.send(message, [child.pidfd] if child else [])
            except HostFailure as error:  # descriptors ran out: the receiver has to read some first
                self._due.appendleft(_Due(message, child))
                _log(f"zygote {self._name}: a report waits: {error}")
                return

    def _await_what_matters(self) -> None:
        interest = select.EPOLLOUT if self._control.waits_to_write else 0
        if len(self._due) <= BACKLOG:
            interest |= select.EPOLLIN
        if interest != self._interest:
            self._interest = interest
            self._epoll.modify(self._control.fileno(), interest)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _log(line: str) -> None:
    say(line)
