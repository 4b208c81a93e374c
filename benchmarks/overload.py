"""What others notice when one receiver is overloaded: ``python -m benchmarks.overload [--json] [--seconds N]``.

A receiver handles a fixed number of messages a second; senders offer it none, as many, twice, five and ten times as many, and at last all that they can. Meanwhile a
bystander asks another program (data door) and the bus (control door), one after the other. What cannot be handled has to be refused at once when the receiver's queue is full, and the
bystander's latency has to stay flat. There is no peer: brokers without refusals have no such figure.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.overload_work import RATE
from benchmarks.report import Row, machine, report
from dadms_ipc.client import Client
from dadmsctl.private import PrivateDaemon

PATIENCE = 60.0  # seconds
QUEUE = 1000  # messages that may wait for one receiver: two seconds of its work
FACTORS = (0, 1, 2, 5, 10, None)  # offered load in receivers' capacities; None: all that can be
SENDERS = 2
PAUSE = 0.002  # seconds between two questions of the bystander


class Level(NamedTuple):
    """What was seen at one load."""

    data: list[float]  # seconds of each of the bystander's requests
    control: list[float]
    sent: dict[str, float]  # what became of what was offered


class Worker:
    """A program that takes orders, a line each."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = str(self.hear())

    def hear(self) -> Any:
        """Give what it says next."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def tell(self, **order: Any) -> None:
        """Give it an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def _worker(module: str, *arguments: str) -> Iterator[Worker]:
    worker = Worker(module, *arguments)
    try:
        yield worker
    finally:
        worker.close()


def measure(seconds: float) -> dict[int | None, Level]:
    """Run every level."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        config = Path(place, "dadms.toml")
        config.write_text(f"[message_bus]\nmax_queue_size = {QUEUE}\n")
        daemon = stack.enter_context(PrivateDaemon(PATIENCE, config=config))
        directory = str(daemon.door.runtime_dir)
        echo = stack.enter_context(_worker("benchmarks.bus_peers.dadms", "respond", directory, "echo"))
        slow = stack.enter_context(_worker("benchmarks.overload_work", "slow", directory))
        senders = [stack.enter_context(_worker("benchmarks.overload_work", "send", directory)) for _ in range(SENDERS)]
        client = stack.enter_context(Client(directory, timeout=PATIENCE))
        _ask(client, echo.name, 0.5)
        levels: dict[int | None, Level] = {}
        for factor in FACTORS:
            if factor != 0:
                for sender in senders:
                    sender.tell(do="send", to=slow.name, rate=(factor or 0) * RATE / SENDERS, seconds=seconds)
            data, control = _ask(client, echo.name, seconds)
            sent: dict[str, float] = {}
            for said in (sender.hear() for sender in senders if factor != 0):
                sent = {name: sent.get(name, 0) + value for name, value in said.items()}
            levels[factor] = Level(data, control, sent)
        return levels


def _ask(client: Client, echo: str, seconds: float) -> tuple[list[float], list[float]]:
    data: list[float] = []
    control: list[float] = []
    body = bytes(140)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        client.request(echo, body)
        data.append(time.perf_counter() - began)
        time.sleep(PAUSE)
        began = time.perf_counter()
        client.bus_status()
        control.append(time.perf_counter() - began)
        time.sleep(PAUSE)
    return data, control


def at(times: list[float], percent: int) -> float:
    """Give a percentile, milliseconds."""
    return statistics.quantiles(times, n=100)[percent - 1] * 1000


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each level")
    asked = parser.parse_args()
    on = machine()
    levels = measure(asked.seconds)
    quiet, ten = levels[0], levels[10]
    rows = []
    for factor, level in levels.items():
        name = "quiet" if factor == 0 else "as much as can be" if factor is None else f"{factor} x"
        sent = level.sent
        note = ""
        if sent:
            offered = sent["offered"] or 1
            shares = ", ".join(f"{sent.get(what, 0) / offered:.0%} {what}" for what in ("handled", "refused", "expired"))
            note = f"{offered * SENDERS / sent['seconds']:.0f} a second offered: {shares}; refused in {sent['refused_in_ms_p50'] / SENDERS:.1f} ms"
        for door, times in (("request", level.data), ("control", level.control)):
            rows.append(Row(f"{name}: {door}, p50", [at(times, 50)], "ms", note))
            rows.append(Row(f"{name}: {door}, p99", [at(times, 99)], "ms"))
            note = ""
    figures = {
        "request_p50_ratio_at_10": at(ten.data, 50) / at(quiet.data, 50),
        "request_p99_ratio_at_10": at(ten.data, 99) / at(quiet.data, 99),
        "control_p50_ratio_at_10": at(ten.control, 50) / at(quiet.control, 50),
        "control_p99_ratio_at_10": at(ten.control, 99) / at(quiet.control, 99),
        "refused_share_at_10": ten.sent.get("refused", 0) / (ten.sent["offered"] or 1),
        "refused_in_ms_p50_at_10": ten.sent["refused_in_ms_p50"] / SENDERS,
    }
    report("overload", figures, rows, as_json=asked.json, about="what a bystander waits for", on=on)


if __name__ == "__main__":
    main()
