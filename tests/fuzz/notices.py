"""Services of a real daemon that say to their notify sockets whatever chance gives, somebody who speaks in their names, and what must hold of the kernel that hears them."""

import os
import random
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dadms_ipc.client import Client
from dadms_ipc.errors import DadmsError
from dadms_ipc.requests import Events, Kill, Spawn, Spec, Status, Wait
from tests.fuzz.words import word

ENDS = 60.0  # seconds until the last of them has said all
ANSWER = 20.0  # seconds of anybody's request
STRANGE = 3  # datagrams of a stranger between two looks
CHECKOUT = Path(__file__).parents[2]


def listen(runtime_dir: Path, seeds: Sequence[int], count: int) -> list[str]:
    """Let a service speak for each seed, and have the next kernel read what this one wrote; gives what did not hold."""
    failures: list[str] = []
    with Client(runtime_dir, start_timeout=60.0, timeout=ANSWER) as client:
        before = client.call(Status())
        nulls = _nulls(before.os_pid)
        try:
            pids = {_spawn(client, seed, count): seed for seed in seeds}
            _until_all_is_said(client, runtime_dir, pids)
            for pid in pids:
                told = [info.kind for info in client.call(Events(0, pid, 1000)).events]
                failures += [
                    f"{kind} was told {told.count(kind)} times of {pid}"
                    for kind in ("process.leaving", "process.notify-refused")
                    if told.count(kind) > 1
                ]
            if (left := _nulls(before.os_pid)) > nulls:
                failures.append(f"{left - nulls} descriptors that came along with words are open in the kernel")
            if client.call(Status()).epoch != before.epoch:
                return [*failures, f"what the services with the seeds {list(seeds)} said ended the kernel"]
            os.kill(before.os_pid, signal.SIGKILL)
            failures += [
                f"{pid} is not the one that said so"
                for pid, seed in pids.items()
                if client.call(Status(pid), timeout=ENDS).said != f"done {seed}"
            ]
            for pid in pids:
                client.call(Kill(pid))
                client.call(Wait(pid, timeout=ENDS))
        except (DadmsError, TimeoutError) as error:
            return [*failures, f"seeds {list(seeds)}: {error}"]
        now = client.call(Status())
        if now.epoch != before.epoch + 1:
            failures.append(f"after its death the kernel is number {now.epoch}, not {before.epoch + 1}")
    return failures


def _spawn(client: Client, seed: int, count: int) -> int:
    command = [sys.executable, "-m", "tests.fuzz.speaker", str(seed), str(count)]
    spec = Spec(
        f"speaker-{seed}", kind="service", command=command, directory=str(CHECKOUT), ready="notify", watchdog=ENDS, ready_timeout=ENDS, restart="never",
        stop_timeout=2.0, enforcement="best-effort", environment={"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    return int(client.call(Spawn(spec))["pid"])


def _nulls(os_pid: int) -> int:
    """Count the descriptors of a process that are /dev/null: of those that come along, some are."""
    return sum(1 for each in Path(f"/proc/{os_pid}/fd").iterdir() if str(each.readlink()) == os.devnull)


def _until_all_is_said(client: Client, runtime_dir: Path, pids: dict[int, int]) -> None:
    """Ask each how it is until all have said their last; meanwhile a stranger speaks in their names."""
    chance = random.Random(sum(pids.values()))
    waiting = dict(pids)
    end = time.monotonic() + ENDS
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as stranger:
        while waiting:
            for pid, seed in list(waiting.items()):
                for _ in range(STRANGE):
                    try:
                        stranger.sendto(word(chance), str(runtime_dir / "notify" / f"{pid}.1"))
                    except OSError:  # full, too large, or not there yet
                        break
                info = client.call(Status(pid))
                if info.said == f"done {seed}":
                    del waiting[pid]
                elif info.status not in ("queued", "starting", "running"):
                    raise TimeoutError(f"{pid} is {info.status}: {info.reason or info.cause}")
            if time.monotonic() > end:
                raise TimeoutError(f"{sorted(waiting)} have not said all in {ENDS:g} s")
