"""The load: processes with threads that keep a ledger of their own, commands, and requests that must take effect once."""

import contextlib
import random
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dadms_ipc.client import Client
from dadms_ipc.errors import DadmsError, RequestRefused
from dadms_ipc.requests import Kill, Limits, Spawn, Spec, Wait
from tests.fault.kernel.daemon import MEBIBYTE, SCRIPT

AT_ONCE = 4  # processes
PATIENCE = 90.0  # seconds for one answer while everything is being killed
HAS_OUTCOMES = ("completed",)


class Started(NamedTuple):
    """A process that was asked for."""

    pid: int
    ledger: Path
    threads: int
    was_killed: bool  # we asked for its end


class Load(threading.Thread):
    """One client that starts processes, waits for their end, and starts others, until it is told to stop."""

    def __init__(self, directory: Path, runtime_dir: Path, seed: int, *, has_groups: bool) -> None:
        super().__init__(name=f"load-{seed}")
        self._directory, self._runtime_dir, self._has_groups = directory, runtime_dir, has_groups
        self._chance = random.Random(seed)
        self._seed = seed
        self.goes_on = True
        self.started: list[Started] = []
        self.infos: dict[int, Any] = {}
        self.error: BaseException | None = None
        self.slowest = 0.0  # seconds that an answer took

    def run(self) -> None:
        """Load until told to stop, then see everything end."""
        try:
            with Client(self._runtime_dir, timeout=PATIENCE, start_timeout=PATIENCE) as client:
                self._load(client)
        except BaseException as error:  # told by whoever started this thread
            self.error = error

    def _ask(self, client: Client, request: Any) -> Any:
        began = time.monotonic()
        answer = client.call(request)
        if not isinstance(request, Wait):
            self.slowest = max(self.slowest, time.monotonic() - began)
        return answer

    def _load(self, client: Client) -> None:
        number = 0
        while self.goes_on:
            batch = []
            for _ in range(AT_ONCE):
                number += 1
                batch.append(self._start(client, number))
            for started in batch:
                self.started.append(started)
                self.infos[started.pid] = self._await(client, started.pid)

    def _start(self, client: Client, number: int) -> Started:
        ledger = self._directory / f"ledger-{self._seed}-{number}"
        kind = self._chance.choice(("script", "script", "script", "tool", "victim"))
        if kind == "tool":
            spec = Spec("tool", kind="tool", command=["/bin/sh", "-c", "echo begun; sleep 0.1; echo done"])
            return Started(self._ask(client, Spawn(spec))["pid"], ledger, 0, was_killed=False)
        steps = [[["work", self._chance.uniform(0.0, 0.05), 60.0] for _ in range(12)] for _ in range(3)]
        if self._has_groups and self._chance.random() < 0.2:
            steps[1][0] = ["grow", 400, 60.0]  # the OOM killer takes its worker
        config = msgspec.Raw(msgspec.msgpack.encode({"ledger": str(ledger), "steps": steps}))
        limits = Limits(workers=2, worker_memory=96 * MEBIBYTE) if self._has_groups else Limits(workers=2)
        pid = self._ask(client, Spawn(Spec("script", SCRIPT, config=config, limits=limits, stop_timeout=1.0)))["pid"]
        if kind == "victim":
            time.sleep(self._chance.uniform(0.0, 0.3))  # at some point of its life
            with contextlib.suppress(RequestRefused):  # it has ended meanwhile
                self._ask(client, Kill(pid))
        return Started(pid, ledger, sum(map(len, steps)), was_killed=kind == "victim")

    def _await(self, client: Client, pid: int) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            info = self._ask(client, Wait(pid, timeout=5.0))
            if info.ended_at:
                return info
            if time.monotonic() > deadline:
                raise DadmsError(f"{info} after {PATIENCE:g} s")
