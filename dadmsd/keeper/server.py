"""One server as the keeper sees it: its process, its channel, and what waits for it."""

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from dadms_ipc.channel import Channel
from dadmsd.keeper.outgoing import Outgoing
from dadmsd.keeper.servers import Backoff, ServerCommand

LINGER = 1.0  # seconds between the end of a server's channel and SIGKILL: an exit takes milliseconds


class Server:
    """A server, in whatever incarnation; ``pid`` is 0 while it does not run."""

    def __init__(self, command: ServerCommand, lookup: Callable[[str], Sequence[int]]) -> None:
        self.command = command
        self.name = command.name
        self.backoff = Backoff()
        self.outgoing = Outgoing(lookup)
        self._lookup = lookup
        self.channel: Channel[Any] | None = None
        self.is_heard = False  # its channel is in the selector
        self.is_ready = False  # it said Ready
        self.pid = 0
        self.incarnation = 0  # how often it was started
        self.failures = 0  # ends in a row before it was ready
        self.started_at = 0.0  # monotonic seconds
        self.told = ""  # what people were told of its end, when it ended by itself: they are not told again while it does not stand
        self.killed_for = ""  # why we killed it, when we did
        self.last_pid = 0  # of the incarnation that ended last
        self.last_end = ""  # and how it did, in words
        self.due: float | None = None  # when to start it again
        self.kill_at: float | None = None  # when to kill it, as its channel has ended and it has not

    @property
    def restarts(self) -> int:
        """Count the starts after the first."""
        return max(0, self.incarnation - 1)

    def began(self, pid: int, channel: Channel[Any] | None, now: float) -> None:
        """Note a start."""
        self.pid, self.channel, self.started_at = pid, channel, now
        self.incarnation += 1
        self.due = self.kill_at = None
        self.killed_for = ""
        self.is_ready = False
        self.outgoing = Outgoing(self._lookup)

    def ended(self, now: float, how: str) -> None:
        """Note the end: its channel has been drained. One that could not be started has no pid."""
        self.last_pid, self.last_end = self.pid, how
        if self.channel is not None:
            self.channel.close()
        self.channel = None
        self.outgoing.close()
        self.failures = 0 if self.is_ready else self.failures + 1
        self.pid = 0
        self.kill_at = None
        self.due = now + self.backoff.after(now - self.started_at)

    def kill(self, why: str) -> None:
        """Kill it, for a reason that is told as its end."""
        self.killed_for = why
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; the process is our child and not reaped, so the pid is its own."""
        if self.pid:
            os.kill(self.pid, number)
