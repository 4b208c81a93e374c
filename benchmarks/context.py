"""What an operation on shared context costs, and how soon a killed thread's lock is the next one's: ``python -m benchmarks.context [--json] [--repeats N]``.

Ours: a thread in a worker of a real private daemon; each change is a transaction of the journal before it is answered, and takes effect once over a death of the
kernel. The peer is the standard library's ``multiprocessing.Manager``: a dictionary and a lock in a server process, in memory, whose lock is never free again when
its holder is killed. Its changes are no transactions, and an increment is two round trips.
"""

import argparse
import multiprocessing
import statistics
import time
from typing import Any

import msgspec

from benchmarks.report import WHOLE_MACHINE, Row, machine, report
from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.errors import HostFailure
from dadmsctl.private import PrivateDaemon

COUNT = 1000  # operations of each kind
KILLS = 15
PATIENCE = 60.0  # seconds
ORCHESTRATOR = "benchmarks.context_work:ORCHESTRATOR"


def ours(client: Client, measure: str, count: int) -> Any:
    """Run one measurement in a process of its own and give what it found."""
    config = msgspec.Raw(msgspec.msgpack.encode({"measure": measure, "count": count}))
    spec = requests.Spec(
        measure, ORCHESTRATOR, config=config, limits=requests.Limits(workers=2), enforcement="best-effort", thread_timeout=600.0
    )
    pid = client.call(requests.Spawn(spec))["pid"]
    info = client.call(requests.Wait(pid, timeout=PATIENCE))
    if info.status != "completed":
        raise HostFailure(f"cannot measure {measure}: process {pid} is {info.status}: {info.cause} {info.reason}")
    return info.outcome["found"]


def _manager(count: int, results: "multiprocessing.Queue[dict[str, list[float]]]", shared: Any, lock: Any) -> None:
    """Do the same with a manager's proxies, in a process of its own."""
    seconds: dict[str, list[float]] = {name: [] for name in ("get", "set", "lock")}
    shared["value"] = 0
    for number in range(count):
        marks = [time.perf_counter()]
        shared.get("value")
        marks.append(time.perf_counter())
        shared["value"] = number
        marks.append(time.perf_counter())
        lock.acquire()
        lock.release()
        marks.append(time.perf_counter())
        for name, began, ended in zip(seconds, marks, marks[1:], strict=False):
            seconds[name].append(ended - began)
    results.put(seconds)


def theirs(count: int) -> dict[str, list[float]]:
    """Run the peer."""
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        results: multiprocessing.Queue[dict[str, list[float]]] = context.Queue()
        shared, lock = manager.dict(), manager.Lock()  # what nobody refers to, the manager forgets
        process = context.Process(target=_manager, args=(count, results, shared, lock))
        process.start()
        found = results.get(timeout=PATIENCE)
        process.join()
    return found


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What an operation on shared context costs.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    on = machine()
    here: dict[str, list[float]] = {}
    there: dict[str, list[float]] = {}
    kills: list[float] = []
    with PrivateDaemon(PATIENCE, config=WHOLE_MACHINE) as daemon, Client(daemon.door.runtime_dir, timeout=2 * PATIENCE) as client:
        for _ in range(options.repeats):
            for name, seconds in ours(client, "operate", COUNT).items():
                here.setdefault(name, []).append(statistics.median(seconds) * 1e6)
            for name, seconds in theirs(COUNT).items():
                there.setdefault(name, []).append(statistics.median(seconds) * 1e6)
        kills = [seconds * 1e3 for seconds in ours(client, "kill", KILLS)]
    figures = {f"{name}_us_p50": statistics.median(values) for name, values in here.items()}
    figures |= {f"{name}_ratio_vs_manager": statistics.median(here[name]) / statistics.median(values) for name, values in there.items()}
    figures |= {"lock_after_kill_ms_p50": statistics.median(kills), "lock_after_kill_ms_max": max(kills)}
    rows = [Row(f"{name}{' and unlock' if name == 'lock' else ''}", values, "us") for name, values in here.items()]
    rows += [Row(f"  {name}, multiprocessing.Manager", values, "us", "in memory only") for name, values in there.items()]
    rows.append(Row("from the order to kill its holder to the lock", kills, "ms", f"{KILLS} kills"))
    report("context", figures, rows, as_json=options.json, about="one thread's operations, one after the other", on=on)


if __name__ == "__main__":
    main()
