"""How the daemon ends: goes through the table of stages (stages.py) and does what each begins with.

1. Whoever asks first is the reason. A second *signal* means: at once.
2. The exit code is 0 when the kernel ended everything itself, and kept everything that it had said.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from dadmsd.keeper import descent, messages
from dadmsd.keeper.notify import Notify
from dadmsd.keeper.server import Server
from dadmsd.keeper.servers import BUS, KERNEL, LOGGER, ZYGOTE
from dadmsd.keeper.settings import Settings
from dadmsd.keeper.stages import RULES, Stage
from dadmsd.keeper.voice import Voice


class Tell(Protocol):
    """Queues a message for a server."""

    def __call__(self, server: Server, about: str, message: msgspec.Struct) -> None: ...


class Ending:
    """Where the daemon stands between running and over."""

    def __init__(
        self, settings: Settings, servers: Mapping[str, Server], voice: Voice, notify: Notify, tell: Tell, leave: Callable[[Server], None]
    ) -> None:
        self._settings, self._servers, self._voice, self._notify, self._tell, self._leave = settings, servers, voice, notify, tell, leave
        self._kernel, self._logger = servers[KERNEL], servers[LOGGER]
        self._first = (servers[BUS], servers[ZYGOTE])  # to end; the kernel tidies up after them, and the logger has the last word
        self._was_signalled = False  # a second signal kills
        self.stop_timeout = settings.stop_timeout  # seconds for the kernel to end every process
        self.stage = Stage.RUNNING
        self.deadline: float | None = None  # monotonic seconds
        self.reason = ""
        self.is_stopped = False  # the kernel said Stopped
        self.kernel_starts = 0  # in this stage
        self.exit_code = 0

    @property
    def restarted(self) -> frozenset[str]:
        """Give the servers that are started again in this stage."""
        return RULES[self.stage].restarted

    def ask(self, reason: str, *, is_signal: bool = False) -> None:
        """Begin the end, or hurry it."""
        if self.stage is Stage.RUNNING:
            self.reason = reason
            self._notify.tell("STOPPING=1", f"STATUS=stopping: {reason}")
            if not self._settings.is_private:
                self._voice.say(f"stopping: {reason}")
            self._enter(Stage.ASKED)
        elif self.stage is Stage.ASKED and is_signal and self._was_signalled:
            self._voice.say(f"{reason}, the second signal: what is left is killed")
            self._enter(Stage.KILLING)
        self._was_signalled |= is_signal

    def stopped(self, lost: str) -> None:
        """The kernel has ended everything; ``lost``: what it could not keep, in words."""
        self.is_stopped = True
        if lost:
            self._voice.say(lost)
            self.exit_code = 1

    def give_up(self) -> None:
        """End a daemon that never stood."""
        self.exit_code = 1
        self._enter(Stage.ENDING)

    def advance(self) -> None:
        """Go on as far as stages have come to their end."""
        while self.stage not in (Stage.RUNNING, Stage.OVER) and (following := self._following()) is not None:
            self._enter(following)

    def _enter(self, stage: Stage) -> None:
        rule = RULES[stage]
        now = time.monotonic()
        lasts = self.stop_timeout if stage is Stage.ASKED else rule.lasts
        self.stage, self.deadline, self.kernel_starts = stage, None if lasts is None else now + lasts, 0
        for server in self._servers.values():
            if server.name not in rule.restarted:
                server.due = None
        if stage is Stage.ASKED:
            self._tell(self._kernel, "", messages.StopAsked(self.reason))
        elif stage is Stage.KILLING:
            self.exit_code = 1
        elif stage is Stage.TIDYING:
            self.is_stopped = False
            self._kernel.due = now
        elif stage is Stage.ENDING:
            for server in self._first:
                server.signal(signal.SIGTERM)
        elif stage is Stage.LEAVING:
            for server in self._first:
                server.signal(signal.SIGKILL)
            self._leave(self._kernel)
        elif stage is Stage.DRAINING:
            self._tell(self._logger, "", messages.StopAsked(self.reason))

    def _following(self) -> Stage | None:
        rule = RULES[self.stage]
        if self._is_done():
            return rule.then
        is_late = self.deadline is not None and self.deadline <= time.monotonic()
        is_hopeless = self.kernel_starts > rule.kernel_attempts and not self._kernel.pid
        if not is_late and not is_hopeless:
            return None
        if rule.is_lateness_disorder:
            left = descent.descendants(os.getpid()) - {server.pid for server in self._servers.values()}
            why = f"after {rule.kernel_attempts} more starts" if is_hopeless else "in time"
            self._voice.say(f"{rule.lacks} {why}; other processes left: {', '.join(map(str, sorted(left))) or 'none'}")
            self.exit_code = 1
        return rule.late

    def _is_done(self) -> bool:
        match self.stage:
            case Stage.ASKED | Stage.TIDYING:
                return self.is_stopped
            case Stage.ENDING:
                return not any(server.pid for server in self._first)
            case Stage.LEAVING:
                return not self._kernel.pid
            case Stage.KILLING | Stage.CLEARING:
                return not _killed({self._logger.pid})
            case Stage.DRAINING:
                return not self._logger.pid
            case _:  # LAST
                return not _killed(set())


def _killed(spared: set[int]) -> set[int]:
    """Kill every descendant but these; gives those that were there."""
    left = descent.descendants(os.getpid()) - spared
    descent.kill(left)
    return left
