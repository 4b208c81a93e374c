"""The servers: how each is started, and when it is started again.

1. A server is a command; the keeper appends ``--keeper-fd 3``, which is its end of a channel (the base zygote's control socket: there the other end is
   the kernel's).
2. A server that ends is started again after ``Backoff`` says so: at once for one that had been well, later and later for one that dies at once.
3. Until the daemon has been ready once there is nothing to protect: a server that cannot start then ends the daemon with its reason, after START_ATTEMPTS.
"""

import os
import signal
import socket
import sys

import msgspec

from dadms_ipc.errors import HostFailure
from dadmsd.keeper.messages import FromBus, FromKernel, FromLogger

KERNEL, BUS, LOGGER, ZYGOTE = "kernel", "bus", "logger", "zygote"
KEEPER_FD = 3  # the number of the channel in the server: the first that a program does not own

FIRST_DELAY = 0.005  # seconds: a server is missed for less than a client notices
LAST_DELAY = 1.0  # seconds: a server that never stands costs little, and is back soon after its cause is gone
AT_ONCE = 1.0  # seconds: who dies younger was never well; its delay doubles
WELL = 10.0  # seconds: who lives longer is well; its delay starts anew
START_ATTEMPTS = 8  # 5 ms doubling: the eighth comes 0.6 s after the first
REPAIR_ATTEMPTS = 16  # of one that had stood: some nine seconds, in which a full disk or memory may find room


class ServerCommand(msgspec.Struct, frozen=True):
    """A program to keep alive, known by its part: ``kernel``, ``bus``, ``logger`` or ``zygote``."""

    name: str
    argv: tuple[str, ...]


def standard_commands() -> tuple[ServerCommand, ...]:
    """Give the servers of a daemon, in the order of their start: the kernel finds the zygote in the store, and is what a client waits for."""
    # -P: the directory in which somebody started the daemon is no place to import from.
    return tuple(ServerCommand(name, (sys.executable, "-P", "-m", f"dadmsd.{name}")) for name in (ZYGOTE, KERNEL, BUS, LOGGER))


FROM = {KERNEL: FromKernel, BUS: FromBus, LOGGER: FromLogger}  # what each may say; the base zygote has no channel with the keeper


class Backoff:
    """How long to wait before a server is started again."""

    def __init__(self) -> None:
        self._delay = FIRST_DELAY

    def after(self, lived: float) -> float:
        """Give the seconds to wait after a server that lived for ``lived`` seconds."""
        if lived >= WELL:
            self._delay = FIRST_DELAY
            return 0.0
        delay = self._delay
        if lived < AT_ONCE:
            self._delay = min(LAST_DELAY, delay * 2)
        return delay


def start(command: ServerCommand, channel: socket.socket, output: int, environment: dict[str, str]) -> int:
    """Start a server in a session of its own, with its end of the channel and nothing else of ours; gives its pid.

    ``output`` takes what it writes to stdout and stderr. Raises HostFailure.
    """
    # Every other descriptor is close-on-exec. The channel goes last: a file action may overwrite a source that a later one needs.
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
        (os.POSIX_SPAWN_DUP2, channel.fileno(), KEEPER_FD),
    ]
    argv = (*command.argv, "--keeper-fd", str(KEEPER_FD))
    try:
        return os.posix_spawn(
            argv[0],
            argv,
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=(
                signal.SIGPIPE,
                signal.SIGXFSZ,
                signal.SIGINT,
                signal.SIGHUP,
            ),  # ignored by Python, or by nohup: exec would keep that
        )
    except OSError as error:
        raise HostFailure(f'cannot start {command.name} "{argv[0]}": {error.strerror}') from error


def describe_end(how: int, status: int) -> str:
    """Say how a process ended, from the ``si_code`` and ``si_status`` of waitid(2)."""
    if how == os.CLD_EXITED:
        return f"exit {status}"
    try:
        name = signal.Signals(status).name
    except ValueError:
        name = "a real-time signal"
    return f"signal {status} ({name})"
