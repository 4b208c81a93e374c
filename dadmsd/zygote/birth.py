"""The first moments of a forked child: it lets go of everything that is its zygote's, and waits at its gate.

1. CLOEXEC does nothing on fork. A child keeps its standard streams, its port, its page and what the imported code had open, and closes all else: whoever
   held the end of somebody else's port would keep that one from ever seeing its end.
2. Hooks of ``os.register_at_fork`` run inside the fork, before any of this: what user code registers there runs under the zygote's caps, as the zygote's
   user, before the gate.
3. Nothing of the child's work happens before its gate opens, and a gate that stays shut ends the child: its kernel is gone, and the next one knows nothing
   of it yet.
"""

import os
import signal
import socket
import time
from typing import Any, NamedTuple, NoReturn, TypeVar

from dadms_ipc import port as process_port
from dadms_ipc.channel import Channel, adopt
from dadms_ipc.errors import ChannelClosed, PeerViolation
from dadmsd.worker import messages as worker
from dadmsd.zygote import exits
from dadmsd.zygote.messages import CommandGate, Fork, Hello, Reap, WorkerGate, ZygoteGate

_LAST = os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") > 0 else 1 << 20
_NAME_LIMIT = 15  # bytes of a name in /proc/PID/comm

# What may come over the port of each role; the first is the gate.
VOCABULARIES: dict[str, Any] = {
    "zygote": ZygoteGate | Hello | Fork | Reap,
    "main": process_port.Gate | process_port.Hello,
    "worker": WorkerGate | worker.ToWorker,
    "command": CommandGate | Hello,
}
GATES: dict[str, type] = {"zygote": ZygoteGate, "main": process_port.Gate, "worker": WorkerGate, "command": CommandGate}
DESCRIPTORS = {"zygote": 3, "main": 3, "worker": 4, "command": 3}  # that come with a fork request

GateMessage = TypeVar("GateMessage")


class Birth(NamedTuple):
    """A child that was just forked, in that child."""

    name: str
    role: str
    gate_timeout: float  # seconds
    fds: list[int]  # port, stdout, stderr, and a worker's page
    kept: frozenset[int]  # descriptors of the imported code


class Gated(NamedTuple):
    """A child that stands at its gate."""

    name: str
    sock: socket.socket
    port: Channel[Any]
    page: int | None
    deadline: float  # monotonic, seconds
    kept: frozenset[int]


def settle(birth: Birth) -> Gated:
    """Keep what is this child's own, let go of the rest, by number: the Python objects of the zygote's descriptors live on, and must not be used."""
    deadline = time.monotonic() + birth.gate_timeout
    port, stdout, stderr, *page = birth.fds
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    first = 3
    for fd in sorted({port, *page, *birth.kept}):
        if fd >= first:
            os.closerange(first, fd)  # one close_range(2)
            first = fd + 1
    os.closerange(first, _LAST)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _name_process(birth.name)
    sock = adopt(port)
    return Gated(birth.name, sock, Channel(sock, VOCABULARIES[birth.role]), page[0] if page else None, deadline, birth.kept)


def _name_process(name: str) -> None:
    fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, name.encode()[:_NAME_LIMIT])
    finally:
        os.close(fd)


def await_gate(gated: Gated, kind: type[GateMessage]) -> GateMessage:
    """Give the gate message; ends this process when none comes."""
    port = gated.port
    while True:
        try:
            frame = port.receive(max(0.0, gated.deadline - time.monotonic()))
        except ChannelClosed:
            os._exit(exits.ABANDONED)
        except PeerViolation:
            continue
        if frame is None:
            os._exit(exits.GATE_SHUT)
        _close(frame.fds)
        if frame.epoch < port.epoch:
            continue
        port.epoch = frame.epoch
        if isinstance(frame.body, kind):
            return frame.body


def refuse(gated: Gated, message: Any, code: int) -> NoReturn:
    """Say on the port why this child cannot be what it was told to be, and exit."""
    try:
        gated.port.send(message)
    except ChannelClosed:
        code = exits.ABANDONED
    os._exit(code)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
