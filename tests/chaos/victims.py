"""Who can be hurt, found among what lives, and what can be done to one.

Everything but the keeper: its death is the end of everything, which is promised and tested elsewhere.
"""

import contextlib
import os
import random
import resource
import signal
import time
from pathlib import Path
from typing import NamedTuple

from dadmsd.keeper.descent import descendants

SERVERS = ("kernel", "bus", "logger", "zygote")
STOPPED_MOST = 0.8  # seconds
STARVED = 0.3  # seconds without a byte more


class Victim(NamedTuple):
    """A process of the daemon."""

    pid: int
    part: str  # "kernel", "bus", "logger", "zygote", or "child": version zygotes, mains, workers, commands


def living(keeper: int, runtime_dir: Path) -> list[Victim]:
    """List the processes of a daemon; which of them are its servers is written in its runtime directory."""
    lines = [line.split() for line in (runtime_dir / "servers").read_text().splitlines()]
    servers = {int(pid): name for name, pid, _ in lines}
    found = []
    for pid in descendants(keeper):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes():  # else it has ended
                found.append(Victim(pid, servers.get(pid, "child")))
    return found


def hurt(keeper: int, runtime_dir: Path, chance: random.Random) -> str:
    """Do something to somebody; gives what, in words."""
    candidates = living(keeper, runtime_dir)
    part = chance.choice((*SERVERS, "child", "child", "child", "child"))
    ofs = [victim for victim in candidates if victim.part == part]
    if not ofs:
        return ""
    victim = chance.choice(sorted(ofs))
    what = chance.choices(("kill", "stop", "starve"), (6, 2, 2 if part != "child" else 0))[0]
    with contextlib.suppress(ProcessLookupError, PermissionError):
        handle = os.pidfd_open(victim.pid)
        try:
            _DEEDS[what](victim.pid, handle, chance)
        finally:
            os.close(handle)
    return f"{what} {part} {victim.pid}"


def _kill(_pid: int, handle: int, _chance: random.Random) -> None:
    signal.pidfd_send_signal(handle, signal.SIGKILL)


def _stop(_pid: int, handle: int, chance: random.Random) -> None:
    signal.pidfd_send_signal(handle, signal.SIGSTOP)
    time.sleep(chance.uniform(0.05, STOPPED_MOST))  # that is what is done to it
    signal.pidfd_send_signal(handle, signal.SIGCONT)


def _starve(pid: int, _handle: int, _chance: random.Random) -> None:
    """Let it have no more memory for a while: it lives without, or dies of it."""
    size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (size, hard))
    time.sleep(STARVED)  # as above
    resource.prlimit(pid, resource.RLIMIT_AS, (soft, hard))


_DEEDS = {"kill": _kill, "stop": _stop, "starve": _starve}
