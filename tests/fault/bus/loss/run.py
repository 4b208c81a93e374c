"""One run: a real daemon, receivers that are restarted, senders that are followed by others, and somebody who kills and stops at random."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from dadms_ipc import dead_letters, requests
from dadms_ipc.client import Client
from dadms_ipc.errors import DadmsError
from tests.conftest import Daemon
from tests.fault.bus.loss.account import Account

ROOT = Path(__file__).parents[4]
RECEIVER = "tests.fault.bus.loss.receiver:ORCHESTRATOR"
STOPPED = 0.3  # seconds that a stopped process stands still
DRAIN = 120.0  # seconds for what is on its way or on disk to come out, once nobody is killed any more


class Run:
    """Everything of one run; the same seed kills the same things after the same pauses."""

    def __init__(self, daemon: Daemon, folder: Path, *, messages: int, senders: int, receivers: int, pause: float, seed: int) -> None:
        self.daemon = daemon
        self.folder = folder
        self.chance = random.Random(seed)  # repeatable
        self.pause = pause  # seconds between two faults, on average
        self.faults: Counter[str] = Counter()
        self.account = Account()
        self.senders: dict[int, subprocess.Popen[bytes]] = {}
        self.names: list[str] = []
        share = messages // senders
        self.spans = [range(index * share, (index + 1) * share) for index in range(senders)]
        with self._client() as client:
            self.pids = [str(client.call(requests.Spawn(self._spec(index)))["pid"]) for index in range(receivers)]
            for pid in self.pids:
                client.call(requests.Wait(int(pid), until="ready", timeout=60), timeout=70)

    def _client(self) -> Client:
        return Client(self.daemon.runtime_dir, timeout=60, start_timeout=60)

    def _spec(self, index: int) -> requests.Spec:
        return requests.Spec(
            f"receiver {index}",
            RECEIVER,
            config=msgspec.Raw(msgspec.msgpack.encode({"log": str(self.folder / f"receiver-{index}")})),
            environment={"PYTHONPATH": str(ROOT)},
            restart="always",
            backoff=0.02,
            backoff_most=0.1,
            start_limit=0,
            stop_timeout=0.2,
        )

    def go(self, seconds: float, *, faults: int = sys.maxsize) -> None:
        """Send everything under fire, or what there is time for, or until there were so many faults; then let it come out, and account for it."""
        end = time.monotonic() + seconds
        try:
            for index in range(len(self.spans)):
                self._start_sender(index, self.spans[index].start)
            while self._is_sending() and time.monotonic() < end and self.faults.total() < faults:
                time.sleep(self.chance.uniform(0.2, 1.8) * self.pause)  # the pause is the point: faults come when they come
                self._fault()
        finally:
            for sender in self.senders.values():
                if time.monotonic() >= end or self.faults.total() >= faults:
                    sender.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    sender.wait(DRAIN)
                sender.kill()
                sender.wait()
        self._settle()

    def _start_sender(self, index: int, first: int) -> None:
        name = f"s{index}.{len(self.names)}"
        self.names.append(name)
        arguments = [str(self.daemon.runtime_dir), str(self.folder / name), name, str(first), str(self.spans[index].stop), *self.pids]
        self.senders[index] = subprocess.Popen([sys.executable, "-m", "tests.fault.bus.loss.sender", *arguments], cwd=ROOT)

    def _is_sending(self) -> bool:
        return any(sender.poll() is None for sender in self.senders.values())

    # faults

    def _fault(self) -> None:
        what = self.chance.choice(("receiver", "receiver", "sender", "bus", "bus", "kernel"))
        how = self.chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
        index = self.chance.randrange(1000)
        if what == "sender":
            self._hit_sender(index % len(self.senders), how)
        else:
            victim = self._find(what, index)
            if victim:
                self._hit(victim, how, what)

    def _find(self, what: str, index: int) -> int:
        try:
            with Client(self.daemon.runtime_dir, timeout=2, start_timeout=2) as client:
                if what == "receiver":
                    return int(client.call(requests.Status(int(self.pids[index % len(self.pids)]))).os_pid)
                daemon = client.call(requests.Status())
                return int(daemon.os_pid) if what == "kernel" else int(daemon.servers["bus"]["os_pid"])
        except DadmsError:
            return 0  # it is being restarted already

    def _hit(self, victim: int, how: signal.Signals, what: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, how)
            if how == signal.SIGSTOP:
                time.sleep(STOPPED)
                os.kill(victim, signal.SIGCONT)
        self.faults[f"{what} {how.name}"] += 1

    def _hit_sender(self, index: int, how: signal.Signals) -> None:
        sender = self.senders[index]
        if sender.poll() is not None:
            return
        self._hit(sender.pid, how, "sender")
        if how == signal.SIGKILL:
            sender.wait()
            told = [int(line.split()[0]) for line in (self.folder / self.names_of(index)).read_text().splitlines()]
            first = max(told, default=self.spans[index].start - 1) + 1 + 400  # it may have said that many more
            if first < self.spans[index].stop:
                self._start_sender(index, first)

    def names_of(self, index: int) -> str:
        """Give the name of the newest sender of a place."""
        return next(name for name in reversed(self.names) if name.startswith(f"s{index}."))

    # the end

    def _settle(self) -> None:
        """Wait until nothing is on its way, and read all sides."""
        end = time.monotonic() + DRAIN
        with self._client() as client:
            while True:
                status = client.bus_status()
                if not (status["stored"] or status["exchanges"]) or time.monotonic() > end:
                    break
                time.sleep(0.05)  # nothing tells that a queue is empty
            self.account.outcomes = status["outcomes"]
            letters = client.call(dead_letters.DeadLetters())
            self.account.read_letters([client.call(dead_letters.ShowDeadLetter(letter.number)) for letter in letters])
        for name in self.names:
            self.account.read_sender(self.folder / name, name)
        for index, pid in enumerate(self.pids):
            self.account.read_receiver(self.folder / f"receiver-{index}", pid)

    def summary(self) -> str:
        """Say what happened."""
        account = self.account
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items())) or "no faults"
        told = Counter(account.acknowledged.values())
        again = sum(len(times) - 1 for times in account.handled.values())
        return (
            f"{len(account.acknowledged)} acknowledged ({told['handled']} handled, {told['stored']} stored), {len(account.refused)} refused, "
            f"{len(account.handled)} handled, {again} again by a later incarnation, {len(account.dead)} dead letters; {faults}; on disk: {account.outcomes}"
        )
