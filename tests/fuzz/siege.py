"""A real bus under attack, and a client that goes on working: what must hold, and what it took.

The attacker is stopped now and then and let go on: what the client waits for in those lulls is what its requests under attack are compared with. So both are of the
same minutes, and whoever else uses the machine weighs on both.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.errors import DadmsError
from dadms_ipc.keys import write_key
from tests.fault.bus.network import Network
from tests.integration.bus.daemon import INFO

WARM_UP = 200  # requests before the attack
ONSLAUGHT, LULL = 0.9, 0.3  # seconds of attack, and of quiet after it, in turns
SETTLED = 0.02  # seconds: when the bus has read nothing more in so long, it has done with what the attacker had said
SETTLE_MOST = 0.5  # seconds: a bus that is still busy then is judged as it is
WORSE_MOST = (
    3.0  # times the p99 of the lulls: what is asked of it. Told and no failure, as it is the machine's and its other users' as well
)
GROWTH = 96 * 1024 * 1024  # bytes: what is open and waits for the attackers' own sake, far below the cap of 512 MiB
ANSWER = 20.0  # seconds that a request may take: one that takes longer is one that hangs
ATTACKERS = 5  # that are sent one after the other when they abort
PAUSE = 0.002  # seconds between two requests: the client asks as a person's tool does, and leaves the machine to the others


@dataclass
class Outcome:
    """What was seen."""

    sent: int = 0
    seconds: float = 0.0
    received: int = 0
    violations: int = 0
    cut: int = 0
    before: int = 0  # bytes resident
    after: int = 0
    audit: int = 0  # bytes of the audit's newest file
    quiet: list[float] = field(default_factory=list)  # seconds of each request
    meanwhile: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def worse(self) -> float:
        """How many times the p99 of the lulls the p99 under attack is."""
        return percentile(self.meanwhile, 99) / percentile(self.quiet, 99)


def percentile(times: list[float], percent: int) -> float:
    """Give a percentile, seconds."""
    return statistics.quantiles(times, n=100)[percent - 1]


class Siege:
    """One attack on one bus."""

    def __init__(self, directory: Path, seed: int, *, gives_way: bool = False) -> None:
        self._directory = directory
        self._seed = seed
        self._gives_way = gives_way  # the attacker does, to all who want the machine: for figures, where nobody else does

    def run(self, *, messages: int, seconds: float) -> Outcome:
        """Attack, and look."""
        outcome = Outcome()
        with Network(self._directory) as network:
            network.daemon.kernel.enroll(1001)
            bus = network.daemon.bus
            assert bus is not None
            with Client(network.daemon.directory, timeout=ANSWER) as client:
                for _ in range(WARM_UP):
                    _ask(client, outcome)
                    time.sleep(PAUSE)
                outcome.before = _resident(bus.pid)
                self._attack(network, client, outcome, messages, seconds)
                outcome.meanwhile.append(_ask(client, outcome))
                counters = client.bus_status(timeout=ANSWER)["counters"]
            outcome.received, outcome.violations, outcome.cut = (counters[name] for name in ("received", "violations", "cut"))
            outcome.after = _resident(bus.pid)
            outcome.audit = len(network.audit())
            if bus.poll() is not None:
                outcome.failures.append(f"the bus ended with {bus.returncode}")
            if network.daemon.starts != 1:
                outcome.failures.append("the bus was started again")
            if outcome.after - outcome.before > GROWTH:
                outcome.failures.append(f"the bus grew by {outcome.after - outcome.before} bytes, at most {GROWTH} may be")
            if "Traceback" in network.daemon.text():
                outcome.failures.append(f"the bus was surprised: {network.daemon.text()[-2000:]}")
        return outcome

    def _attack(self, network: Network, client: Client, outcome: Outcome, messages: int, seconds: float) -> None:
        file = self._directory / "attacker.key"
        write_key(file, network.key("attacker"))
        command = [
            sys.executable, "-m", "tests.fuzz.attacker", str(network.daemon.directory), "--seed", str(self._seed), "--messages", str(messages),
            "--seconds", str(seconds), "--key", str(file), "--ports", str(network.ports["kernel"]), str(network.ports["data"]),
            *["--gives-way"] * self._gives_way,
        ]  # fmt: skip
        began = time.monotonic()
        for _ in range(ATTACKERS):
            outcome.sent, ended = self._send_attacker(command, client, outcome)
            if ended != -signal.SIGABRT:  # libzmq asserts in a client that is cut in the middle of a message: that is the attacker's loss
                break
        outcome.seconds = time.monotonic() - began
        if not outcome.sent:
            outcome.failures.append(f"the attacker failed: it ended with {ended}")

    def _send_attacker(self, command: list[str], client: Client, outcome: Outcome) -> tuple[int, int]:
        """Run one attacker to its end, asking meanwhile; gives how much it sent and its exit code."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as attacker:
            try:
                while attacker.poll() is None and not outcome.failures:
                    _ask_on(client, outcome, outcome.meanwhile, ONSLAUGHT)
                    attacker.send_signal(signal.SIGSTOP)
                    _settle(client)
                    _ask_on(client, outcome, outcome.quiet, LULL)
                    attacker.send_signal(signal.SIGCONT)
            finally:
                attacker.kill()
            said = attacker.stdout.read() if attacker.stdout is not None else ""
        return int(said or 0), attacker.returncode


def _ask_on(client: Client, outcome: Outcome, times: list[float], seconds: float) -> None:
    """Ask for so long, one after the other."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        times.append(_ask(client, outcome))
        time.sleep(PAUSE)


def _settle(client: Client) -> None:
    """Wait until the bus has done with what a stopped attacker had said."""
    end, seen = time.monotonic() + SETTLE_MOST, -1
    while (read := client.bus_status(timeout=ANSWER)["counters"]["received"]) > seen + 1 and time.monotonic() < end:
        seen = read  # the question itself is one
        time.sleep(SETTLED)


def _ask(client: Client, outcome: Outcome) -> float:
    """Ask for something; gives the seconds that it took."""
    before = time.perf_counter()
    try:
        if client.call(requests.Status()) != INFO:
            outcome.failures.append("a request was answered wrongly")
    except DadmsError as error:
        outcome.failures.append(f"a request failed: {error}")
    return time.perf_counter() - before


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
