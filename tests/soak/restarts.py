"""Children that end and are started again, many thousand times, and what the servers hold after each ten thousand.

1. Services end in every way that their policy restarts: with 0, with another code, by a signal; a seed says which of them ends how.
2. What is kept of the past is bounded in number (events, lives, the flight recorder, replies), so servers grow until that is full. From then on nothing grows: memory,
   descriptors, the journal.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dadms_ipc.client import Client
from dadms_ipc.requests import Kill, Spawn, Spec, Start, Status, Stop, Wait

SERVICES = 8  # that restart side by side
BACKOFF = 0.01  # seconds
LOOK = 0.2  # seconds between two looks at how far they are
ENDS = ("exit 0", "exit 7", "kill -TERM $$", "kill -KILL $$")
SERVERS = ("keeper", "kernel", "bus", "logger", "zygote")
JOURNAL = "kernel.db*"


class Held(NamedTuple):
    """What the servers hold at one moment."""

    restarts: int
    seconds: float  # since the beginning
    memory: dict[str, int]  # of each server: bytes that are its own
    descriptors: dict[str, int]
    journal: int  # bytes on disk

    def line(self) -> str:
        """Write it for people."""
        servers = "  ".join(f"{name} {self.memory[name] / 2**20:.1f} MiB {self.descriptors[name]} fds" for name in SERVERS)
        return f"{self.restarts:>7} restarts  {self.seconds:6.0f} s  {servers}  journal {self.journal / 2**20:.1f} MiB"


def held(client: Client, runtime_dir: Path, restarts: int, seconds: float) -> Held:
    """Look at the servers; what a list of everything shows is what is there."""
    info: Any = client.call(Status())
    pids = {"keeper": int((runtime_dir / "lock").read_text()), "kernel": info.os_pid}
    pids |= {name: int(info.servers[name]["os_pid"]) for name in ("bus", "logger", "zygote")}
    journal = sum(path.stat().st_size for path in Path(info.state_dir).glob(JOURNAL))
    return Held(
        restarts,
        seconds,
        {name: own_memory(pid) for name, pid in pids.items()},
        {name: descriptors(pid) for name, pid in pids.items()},
        journal,
    )


def own_memory(os_pid: int) -> int:
    """Give the anonymous memory of an OS process, in bytes."""
    for line in Path(f"/proc/{os_pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"OS process {os_pid} has no memory")


def descriptors(os_pid: int) -> int:
    """Count the open descriptors of an OS process."""
    return sum(1 for _ in Path(f"/proc/{os_pid}/fd").iterdir())


def restart(
    client: Client, runtime_dir: Path, *, restarts: int, every: int, seed: int, seconds: float, say: Callable[[Held], None]
) -> list[Held]:
    """Have services end and begin again until so many restarts are counted, or the time is over; gives what was held after each ``every``, all of them stopped."""
    chance = random.Random(seed)
    began = time.monotonic()
    services = [_spawn(client, number, chance) for number in range(SERVICES)]
    found: list[Held] = []
    done = 0
    for wanted in range(every, restarts + 1, every):
        if time.monotonic() - began >= seconds:
            break
        while done < wanted and time.monotonic() - began < seconds:
            time.sleep(LOOK)
            done = sum(client.call(Status(pid)).incarnation - 1 for pid in services)
        for pid in services:
            client.call(Stop(pid))
        done = sum(client.call(Wait(pid, timeout=60.0)).incarnation - 1 for pid in services)
        found.append(held(client, runtime_dir, done, time.monotonic() - began))
        say(found[-1])
        for pid in services:
            client.call(Start(pid))
    for pid in services:
        client.call(Kill(pid, force=True))
    return found


def _spawn(client: Client, number: int, chance: random.Random) -> int:
    command = ["/bin/sh", "-c", chance.choice(ENDS)]
    spec = Spec(f"soak-{number}", kind="service", command=command, restart="always", backoff=BACKOFF, backoff_most=BACKOFF, start_limit=0)
    return int(client.call(Spawn(spec))["pid"])


def grown(before: Held, after: Held, *, memory: int, journal: int) -> list[str]:
    """Say which servers hold more than before: not a descriptor more, and no more than so many bytes."""
    wrong = []
    for name in SERVERS:
        if after.descriptors[name] > before.descriptors[name]:
            wrong.append(
                f"{name} has {after.descriptors[name]} descriptors, after {before.restarts} restarts it had {before.descriptors[name]}"
            )
        if after.memory[name] > before.memory[name] + memory:
            wrong.append(f"{name} holds {after.memory[name]} bytes, after {before.restarts} restarts {before.memory[name]}")
    if after.journal > before.journal + journal:
        wrong.append(f"the journal has {after.journal} bytes, after {before.restarts} restarts {before.journal}")
    return wrong
