"""Threads a second, beside five pools of Python users: ``python -m benchmarks.threads [--json] [--repeats N] [--only NAME ...]``.

Ours: a process of a real private daemon creates threads one by one in its two workers, each validated, journaled, recorded with its result, killable alone; the
clock runs in the process, from the first ``create`` to the last value read. Theirs: one ``submit`` a task to two workers, from the first to the last result;
they keep no journal. Each measurement has a process of its own, and all take turns, so that a neighbour on the machine disturbs everybody.

loky, Pebble and dask distributed are installed into an environment of this benchmark's own, ``.venv-peers`` in the checkout; where they cannot be, their
figures are absent. Chunked ``Pool.map`` is beside them for comparison: nothing of it can be killed, waited for or told apart alone.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.report import WHOLE_MACHINE, Row, machine, report
from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.errors import DadmsError, HostFailure
from dadmsctl.private import PrivateDaemon

REPEATS = 3
PATIENCE = 60.0  # seconds, the longest that a request may wait at once
PEER_PATIENCE = 300.0  # seconds
HERE = Path(__file__).parent
PEERS_ENVIRONMENT = HERE.parent / ".venv-peers"
PEERS = ("loky", "pebble", "distributed")  # packages
LIMITS = requests.Limits(workers=2)
# how many tasks each gets: about half a second's work, on a quiet machine
COUNTS = {
    "ours": 100_000,
    "processpoolexecutor": 5_000,
    "multiprocessing_pool": 10_000,
    "chunked_map": 200_000,
    "loky": 3_000,
    "pebble": 2_000,
    "dask": 1_000,
}
RATIOS = ("processpoolexecutor", "multiprocessing_pool", "loky", "pebble", "dask")
SPINS = 1_000
IDLE = 1_000
LATENCIES = (("idle", 0.002, "after 2 ms of nothing"), ("next", 0.0, "right after another"))  # figure, seconds of pause, words
LONE_PEERS = ("processpoolexecutor", "multiprocessing_pool", "echo", "relay")
TERMINATIONS = 15
CURVE = (0, 10_000, 30_000, 100_000)  # waiting threads
OPERATIONS = 50
SUSPENSIONS = 30
NAPS = 1000
NEWEST = 1 << 62  # above every event's number
ORCHESTRATOR = "benchmarks.thread_work:ORCHESTRATOR"


def ours(client: Client, measure: str, count: int, **config: object) -> Any:
    """Run one measurement in a process of its own and give what it found."""
    spec = requests.Spec(
        name=measure,
        orchestrator=ORCHESTRATOR,
        config=msgspec.Raw(msgspec.msgpack.encode({"measure": measure, "count": count, **config})),
        limits=LIMITS,
        enforcement="best-effort",
        thread_timeout=600.0,
    )
    pid = client.call(requests.Spawn(spec))["pid"]
    for _ in range(10):
        info = client.call(requests.Wait(pid, timeout=PATIENCE))
        if info.ended_at:
            break
    if info.status != "completed":
        raise HostFailure(f"cannot measure {measure}: process {pid} is {info.status}: {info.cause} {info.reason}")
    return info.outcome["found"]


def theirs(python: str, name: str, work: str, count: int) -> float:
    """Run one measurement of a peer and give its seconds."""
    return _said([python, str(HERE / "thread_peers.py"), name, work, str(count)], name)[-1]


def _said(command: list[str], name: str) -> list[float]:
    """Run a file of ours and give the numbers that it says last."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PEER_PATIENCE, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        raise HostFailure(f"cannot measure {name}: {error}") from error
    return [float(number) for number in done.stdout.splitlines()[-1].split()]


def peers_python() -> str:
    """Give the Python of the peers' environment, which is made where it is not there; "" where it cannot be made."""
    python = PEERS_ENVIRONMENT / "bin" / "python"
    have = subprocess.run([str(python), "-c", f"import {', '.join(PEERS)}"], capture_output=True, check=False) if python.exists() else None
    if have is not None and have.returncode == 0:
        return str(python)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(PEERS_ENVIRONMENT)], check=True, capture_output=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS], check=True, capture_output=True, timeout=PEER_PATIENCE)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        sys.stderr.write(f"the peers {', '.join(PEERS)} are left out, they cannot be installed: {error}\n")
        return ""
    return str(python)


def throughput(client: Client, repeats: int, wanted: list[str]) -> tuple[dict[str, float], list[Row]]:
    """No-ops, everybody in turn."""
    outside = peers_python() if {"loky", "pebble", "dask"} & set(wanted) else ""
    names = [name for name in wanted if name not in ("loky", "pebble", "dask") or outside]
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            count = COUNTS[name]
            seconds = ours(client, "noop", count) if name == "ours" else theirs(outside or sys.executable, name, "noop", count)
            rates[name].append(count / seconds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    figures = {"noop_per_second": medians["ours"]} | {
        f"ratio_vs_{name}": medians["ours"] / medians[name] for name in RATIOS if name in medians
    }
    rows = [Row("no-op threads, one by one", rates["ours"], "/s", "journaled")]
    rows += [Row(f"  {name.replace('_', ' ')}", rates[name], "/s", "all at once" if name == "chunked_map" else "") for name in names[1:]]
    return figures, rows


def efficiency(client: Client, repeats: int) -> tuple[dict[str, float], list[Row]]:
    """Threads of a millisecond, beside two bare loops."""
    values = []
    for _ in range(repeats):
        bare = theirs(sys.executable, "bare", "spin", SPINS)
        values.append(bare / ours(client, "spin", SPINS))
    return {"efficiency_1ms": statistics.median(values)}, [Row("threads of 1 ms, against two bare loops", values, "")]


def latency(client: Client, repeats: int) -> tuple[dict[str, float], list[Row]]:
    """One thread at a time on an idle system: after a pause, in which every core goes to sleep, and one right after the other."""
    figures: dict[str, float] = {}
    rows: list[Row] = []
    for name, pause, words in LATENCIES:
        medians: dict[str, list[float]] = {peer: [] for peer in ("ours", *LONE_PEERS)}
        tails: dict[str, list[float]] = {peer: [] for peer in medians}
        for _ in range(repeats):
            for peer in medians:
                p50, p99 = _alone(client, pause) if peer == "ours" else their_latency(peer, pause)
                medians[peer].append(p50 * 1e6)
                tails[peer].append(p99 * 1e6)
        mine = statistics.median(medians["ours"])
        figures |= {f"{name}_latency_us_p50": mine, f"{name}_latency_us_p99": statistics.median(tails["ours"])}
        figures |= {f"{name}_latency_ratio_vs_{peer}": mine / statistics.median(medians[peer]) for peer in LONE_PEERS}
        rows += [Row(f"one thread, {words}, p50", medians["ours"], "us", f"of {IDLE}, {PAUSE_WORDS}"), Row("  p99", tails["ours"], "us")]
        for peer in LONE_PEERS:
            rows += [Row(f"  {peer.replace('_', ' ')}, p50", medians[peer], "us"), Row("    p99", tails[peer], "us")]
    return figures, rows


def _alone(client: Client, pause: float) -> tuple[float, float]:
    found = sorted(ours(client, "idle", IDLE, pause=pause))
    return found[len(found) // 2], found[len(found) * 99 // 100]


def their_latency(name: str, pause: float) -> tuple[float, float]:
    """Measure one task at a time in a peer; give p50 and p99 in seconds."""
    p50, p99 = _said([sys.executable, str(HERE / "thread_alone.py"), name, str(pause), str(IDLE)], name)
    return p50, p99


PAUSE_WORDS = "from its creation to its value in the process"


def termination(client: Client, _repeats: int) -> tuple[dict[str, float], list[Row]]:
    """Terminating a thread that runs."""
    values = [seconds * 1e3 for seconds in ours(client, "terminate", TERMINATIONS)]
    return {"terminate_ms_p50": statistics.median(values)}, [Row("terminating a thread that runs", values, "ms", "until its process knows")]


def suspension(client: Client, _repeats: int) -> tuple[dict[str, float], list[Row]]:
    """Suspending a thread that runs, from a client's request to the event that its worker stands still."""
    config = msgspec.Raw(msgspec.msgpack.encode({"measure": "hold", "count": 0}))
    spec = requests.Spec(
        name="hold", orchestrator=ORCHESTRATOR, config=config, limits=LIMITS, enforcement="best-effort", thread_timeout=600.0
    )
    after = client.call(requests.Events(NEWEST)).last
    pid = client.call(requests.Spawn(spec))["pid"]
    tid, after = _told(client, after, "thread.started", "turn for ever")
    values = []
    for _ in range(SUSPENSIONS):
        began = time.perf_counter()
        client.call(requests.SuspendThread(tid))
        _, after = _told(client, after, "thread.suspended")
        values.append((time.perf_counter() - began) * 1e3)
        client.call(requests.ResumeThread(tid))
        _, after = _told(client, after, "thread.resumed")
    client.call(requests.Kill(pid, force=True))
    return {"suspend_ms_p50": statistics.median(values)}, [Row("suspending a thread that runs", values, "ms", "until a client knows")]


def _told(client: Client, after: int, kind: str, label: str = "") -> tuple[int, int]:
    """Wait for an event about a thread; gives its number, and where to go on."""
    for _ in range(100):
        page = client.call(requests.Events(after, wait=PATIENCE / 10))
        for event in page.events:
            if event.kind == kind and (not label or event.data["label"] == label):
                return event.data["tid"], event.number
        after = page.last
    raise HostFailure(f"cannot measure: no {kind} came")


def curve(client: Client, _repeats: int) -> tuple[dict[str, float], list[Row]]:
    """What an operation costs while others wait."""
    rows = []
    for count in CURVE:
        found = ours(client, "waiting", count, operations=OPERATIONS)
        for name, what in (("create", "creating one"), ("terminate", "terminating it")):
            values = [seconds * 1e6 for seconds in found[name]]
            rows.append(Row(f"{what}, {count} waiting", [statistics.median(values)], "us"))
        if count:
            rows.append(Row(f"  those {count} then run in", found["all"], "s"))
    return {}, rows


def asynchronous(client: Client, repeats: int) -> tuple[dict[str, float], list[Row]]:
    """A thousand async threads that sleep for a second, beside a bare loop that does."""
    values, bare = [], []
    for _ in range(repeats):
        values.append(ours(client, "naps", NAPS))
        bare.append(theirs(sys.executable, "bare_asyncio", "noop", NAPS))
    return {f"async_{NAPS}_seconds": statistics.median(values)}, [
        Row(f"{NAPS} async threads that sleep 1 s", values, "s", "one worker, journaled"),
        Row("  asyncio alone", bare, "s", "no threads, nothing to kill"),
    ]


SECTIONS = {
    "async": asynchronous,
    "latency": latency,
    "efficiency": efficiency,
    "termination": termination,
    "suspension": suspension,
    "curve": curve,
}


def measure(repeats: int, only: list[str]) -> tuple[dict[str, float], list[Row], str]:
    """Run everything that was asked for."""
    figures: dict[str, float] = {}
    rows: list[Row] = []
    with PrivateDaemon(PATIENCE, config=WHOLE_MACHINE) as daemon, Client(daemon.door.runtime_dir, timeout=2 * PATIENCE) as client:
        backend = daemon.info.limits_backend
        ours(client, "noop", 1)  # the zygote of the version stands from here on
        wanted = [name for name in COUNTS if not only or name in only]
        if "ours" in wanted or not only:
            found = throughput(client, repeats, wanted)
            figures |= found[0]
            rows += found[1]
        for name, section in SECTIONS.items():
            if not only or name in only:
                found = section(client, repeats)
                figures |= found[0]
                rows += found[1]
    return figures, rows, backend


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"of each measurement; medians are shown (default {REPEATS})")
    parser.add_argument("--only", nargs="*", default=[], choices=[*COUNTS, *SECTIONS], help="a part of it; throughput needs ours")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that a run that is cut short leaves nothing
    on = machine()
    with tempfile.TemporaryDirectory(prefix="dadms-bench-") as cache:
        os.environ["PYTHONPYCACHEPREFIX"] = cache  # nobody compiles on the clock
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPATH"] = str(HERE.parent)  # where the orchestrator of this benchmark is found
        try:
            figures, rows, backend = measure(max(1, options.repeats), options.only)
        except DadmsError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    on["limits_backend"] = backend
    report("threads", figures, rows, as_json=options.json, about="individually created threads in two workers", on=on)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
