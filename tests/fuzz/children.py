"""Mains and workers of a real daemon that say over their ports whatever chance gives, and what must hold of the kernel that hears them."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dadms_ipc.client import Client
from dadms_ipc.requests import Limits, Spawn, Spec, Status, Wait

HOSTILE = "tests.fuzz.hostile_orchestrator:ORCHESTRATOR"
AT_ONCE = 5  # processes
ENDS = 60.0  # seconds for a process to end: it says less than a thousand things


def besiege(runtime_dir: Path, role: str, seeds: Sequence[int]) -> list[str]:
    """Run a process for each seed, then have the next kernel read what this one wrote; gives what did not hold."""
    failures: list[str] = []
    with Client(runtime_dir, start_timeout=60.0, timeout=30.0) as client:
        before = client.call(Status())
        statuses: dict[int, str] = {}
        for first in range(0, len(seeds), AT_ONCE):
            pids = {_spawn(client, role, seed): seed for seed in seeds[first : first + AT_ONCE]}
            for pid, seed in pids.items():
                info = client.call(Wait(pid, timeout=ENDS))
                statuses[pid] = info.status
                if "broke the protocol" not in f"{info.reason} {info.outcome}":  # the last that each says does, whatever chance gave
                    failures.append(f"{role} with seed {seed} is {info.status}: {info.reason or info.outcome}")
            if client.call(Status()).epoch != before.epoch:
                failures.append(f"a {role} with one of the seeds {list(pids.values())} ended the kernel")
                return failures
        os.kill(before.os_pid, signal.SIGKILL)
        failures += [f"{pid} was {status}" for pid, status in statuses.items() if client.call(Status(pid), timeout=ENDS).status != status]
        if (now := client.call(Status()).epoch) != before.epoch + 1:
            failures.append(f"after its death the kernel is number {now}, not {before.epoch + 1}")
    return failures


def _spawn(client: Client, role: str, seed: int) -> int:
    config = msgspec.Raw(msgspec.msgpack.encode({"role": role, "seed": seed}))
    spec = Spec(f"hostile-{seed}", HOSTILE, config=config, limits=Limits(workers=2), stop_timeout=0.5, thread_timeout=20.0)
    return int(client.call(Spawn(spec))["pid"])
