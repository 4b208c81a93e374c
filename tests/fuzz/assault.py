"""A real daemon under wrong requests: each batch is sent over a session of its own and what must hold is looked at after it.

Every request is answered, by the kernel or by the bus, unless it asked the kernel to wait for longer than a second; the kernel stays the one that it was, answers others, and can keep what it decides. At the end it is killed: the
next one reads the journal and knows the same processes.
"""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from dadms_ipc import context, requests
from dadms_ipc.client import Client
from dadms_ipc.envelope import CONTROL_BODY_LIMIT, Kind
from dadms_ipc.errors import DadmsError
from dadms_ipc.requests import Kill, List, ProcessInfo, Spawn, Spec, Status, Wait
from tests.fault.bus.raw import RawClient
from tests.fuzz.calls import request, valid

BATCH = 100  # requests of one session
SPAWNED = 3  # processes that are admitted in one batch, at most: harmless, but each costs the machine a fork
PROCESSES = 50  # the newest, that the next kernel is asked for
ANSWER = 20.0  # seconds until the last of a batch is answered, or somebody else's request
DEADLINE = 3000  # milliseconds of a request, after which it is not repeated to the kernel

_decoder = msgspec.msgpack.Decoder(requests.Request)


@dataclass
class Outcome:
    """What was seen."""

    sent: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds of another client's request
    failures: list[str] = field(default_factory=list)


class Assault:
    """One attack on one kernel."""

    def __init__(self, runtime_dir: Path, seed: int) -> None:
        self._directory = runtime_dir
        self._chance = random.Random(seed)
        self._waiting: dict[bytes, bytes] = {}  # of the batch under way: id -> body

    def run(self, *, messages: int, seconds: float) -> Outcome:
        """Attack, and look after each batch; ends at the first failure."""
        outcome = Outcome()
        with Client(self._directory, start_timeout=60.0, timeout=ANSWER) as client:
            epoch = client.call(Status()).epoch
            ended = _spawn(client, "ended", "/bin/true")
            client.call(Wait(ended, timeout=20.0))
            end = time.monotonic() + seconds
            while outcome.sent < messages and time.monotonic() < end and not outcome.failures:
                lives = next((each.pid for each in _living(client) if each.name == "lives"), 0) or _spawn(
                    client, "lives", "/bin/sleep", "600"
                )
                try:
                    self._batch(outcome, [lives, lives, lives, ended, 0, 999_999])
                    self._look(client, outcome, epoch)
                    if outcome.sent >= messages or time.monotonic() >= end:
                        _begin_again(client, outcome, epoch)
                except (DadmsError, AssertionError) as error:
                    outcome.failures.append(f"{type(error).__name__}: {error}")
        return outcome

    def _batch(self, outcome: Outcome, pids: list[int]) -> None:
        chance, spawned = self._chance, 0
        plain = {pid: valid(pid) for pid in set(pids)}
        self._waiting = {}
        with RawClient(self._directory, "control") as hostile:
            hostile.hello()
            for _ in range(BATCH):
                body = request(chance, plain[chance.choice(pids)])
                if len(body) > CONTROL_BODY_LIMIT:  # the bus cuts the connection; its own siege has that
                    continue
                asked = _meaning(body)
                spawned += isinstance(asked, requests.Spawn)
                if isinstance(asked, requests.Shutdown) or (isinstance(asked, requests.Spawn) and spawned > SPAWNED):
                    continue
                identifier = hostile.say(Kind.CALL, body, to="kernel", deadline=DEADLINE)
                outcome.sent += 1
                if _patience(asked) <= 1.0:
                    self._waiting[identifier] = body
            while self._waiting:
                header, _body = hostile.hear(ANSWER)
                if self._waiting.pop(header.correlation, None) is not None:
                    outcome.statuses[header.topic] += 1

    def _look(self, client: Client, outcome: Outcome, epoch: int) -> None:
        began = time.monotonic()
        info = client.call(Status())
        outcome.slowest = max(outcome.slowest, time.monotonic() - began)
        if info.epoch != epoch:
            outcome.failures.append(f"the kernel is number {info.epoch}, no longer {epoch}")
        if info.unkept:
            outcome.failures.append(f"nothing can be kept: {info.unkept}")
        client.call(List())
        for process in _living(client):
            if process.name != "lives":
                with contextlib.suppress(DadmsError):  # it has ended meanwhile
                    client.call(Kill(process.pid, force=True))

    def suspects(self) -> list[bytes]:
        """Give the requests that have no answer."""
        return list(self._waiting.values())


def _meaning(body: bytes) -> object:
    """Give what the kernel reads, None when it cannot."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _patience(asked: object) -> float:
    """Give the seconds that the kernel may wait before it answers."""
    match asked:
        case requests.Wait() | requests.WaitThreads():
            return asked.timeout
        case requests.Events():
            return asked.wait
        case requests.ReadContext():
            return context.patience(asked.operation)
    return 0.0


def _spawn(client: Client, name: str, *command: str) -> int:
    return int(client.call(Spawn(Spec(name, kind="tool", command=list(command))))["pid"])


def _living(client: Client) -> list[ProcessInfo]:
    found: list[ProcessInfo] = client.call(List(include_ended=False))
    return found


def _begin_again(client: Client, outcome: Outcome, epoch: int) -> None:
    """Have the next kernel read what this one wrote."""
    before = {process.pid for process in client.call(List())}
    os.kill(client.call(Status()).os_pid, signal.SIGKILL)
    for pid in sorted(before)[-PROCESSES:]:
        if client.call(Status(pid), timeout=60.0).pid != pid:  # of one that has left the table meanwhile, too
            outcome.failures.append(f"process {pid} is another after the kernel's death")
    if (now := client.call(Status()).epoch) != epoch + 1:
        outcome.failures.append(f"after its death the kernel is number {now}, not {epoch + 1}")
