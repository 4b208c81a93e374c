"""How long until a hundred capped decision processes are ready, beside a hundred plain subprocesses: ``python -m benchmarks.spawn [--no-scale] [--json]``.

Ours: ``Spawn`` requests through the client library to a real private daemon, each process with caps on memory, CPU and tasks that are read back, its row in
the journal, its contract handshake done; the clock runs from the first request to the answer that the last one is ready. "Warm" has the zygote of the
version standing, "cold" includes the start of the daemon and the import.

Theirs: ``subprocess.Popen`` of a child that imports pyzmq, msgspec and the same orchestrator and says hello over a socket; the clock runs from the first start
to the last hello. It has no limits, no journal and no supervision, which is to its advantage, and so is that its byte code is compiled before the clock runs.

circus and supervisord start the same children as one group, at one command on their own socket (benchmarks/spawn_peers); they supervise, and have neither limits nor a
journal. All take turns, so that a neighbour on the machine disturbs each.

Unless ``--no-scale`` says so, a thousand are measured besides, the default of ``max_processes``: start, ends, memory, the idle servers (benchmarks/spawn_scale.py); how fast an exit is told while the bus is
flooded, and how fast a new kernel takes over a hundred.
"""

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import spawn_peers, spawn_scale
from benchmarks.report import WHOLE_MACHINE, Row, machine, report
from benchmarks.spawn_peers import supervisors
from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.errors import DadmsError, HostFailure
from dadmsctl.private import PrivateDaemon

COUNT = 100
SCALE = 1000  # the default of max_processes
REPEATS = 3
WARM_RUNS = 2  # of ours in each turn: it takes a tenth of theirs, and a neighbour's second weighs more in it
PATIENCE = 120.0  # seconds for anything; a run that needs more has failed
LIMITS = requests.Limits(memory=64 << 20, cpu=0.5, pids=16)
HELLO = b"hello"
CHILD = """
import socket, sys
import zmq, msgspec
from dadms_orchestrators.decision.orchestrator import ORCHESTRATOR
peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
peer.connect(sys.argv[1])
peer.sendall(b"hello")
peer.recv(1)
"""


def spawn(client: Client, count: int, *, enforcement: str) -> list[requests.ProcessInfo]:
    """Start processes and wait until every one is ready."""
    pids = []
    for number in range(count):
        spec = requests.Spec(name=f"decision-{number}", orchestrator="decision", limits=LIMITS, enforcement=enforcement)
        pids.append(client.call(requests.Spawn(spec))["pid"])
    return [client.call(requests.Wait(pid, until="ready", timeout=PATIENCE)) for pid in pids]


def check(infos: list[requests.ProcessInfo], *, is_capped: bool) -> None:
    """See that what was timed is what was asked: alive, ready, and under limits that were read back."""
    for info in infos:
        if info.status != "running":
            raise HostFailure(f"cannot measure: process {info.pid} is {info.status}: {info.cause} {info.reason}")
        unheld = [name for name in ("memory", "cpu", "pids") if "read back" not in info.limits.get(name, "")]
        if is_capped and unheld:
            raise HostFailure(f"cannot measure: process {info.pid} is not held to {', '.join(unheld)}")


def end(client: Client, infos: list[requests.ProcessInfo]) -> None:
    """End processes and wait until nothing of them is left."""
    for info in infos:
        client.call(requests.Kill(info.pid, force=True))
    for info in infos:
        ended = client.call(requests.Wait(info.pid, until="ended", timeout=PATIENCE))
        if not ended.ended_at:
            raise HostFailure(f"cannot measure: process {info.pid} did not end in {PATIENCE:g} s")


def pss_megabytes(infos: list[requests.ProcessInfo]) -> float:
    """Give the memory of a main with its share of what it has in common with its zygote (PSS), as the mean."""
    total = 0
    for info in infos:
        for line in Path(f"/proc/{info.os_pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total / len(infos) / 1e6


def cold(*, enforcement: str, is_capped: bool) -> tuple[float, float]:
    """Start a daemon and the processes on it; gives the seconds of all and of the daemon's own start."""
    began = time.perf_counter()
    with PrivateDaemon(PATIENCE, config=WHOLE_MACHINE) as daemon, Client(daemon.door.runtime_dir, timeout=PATIENCE) as client:
        up = time.perf_counter()
        infos = spawn(client, COUNT, enforcement=enforcement)
        ready = time.perf_counter()
        check(infos, is_capped=is_capped)
    return ready - began, up - began


def subprocesses(count: int) -> float:
    """Start the children as plain subprocesses and wait for every hello; gives the seconds."""
    children: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dadms-bench-"))) / "hello"
        listener = stack.enter_context(_listening(path, count))
        stack.callback(_end_children, children)
        began = time.perf_counter()
        for _ in range(count):
            children.append(subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdin=subprocess.DEVNULL))
        _await_hellos(listener, count, stack)
        return time.perf_counter() - began


def supervised(start: Callable[[Path, list[str], int], AbstractContextManager[Callable[[], None]]], programs: Path, count: int) -> float:
    """Let a supervisor start the children, and wait for every hello; gives the seconds from the command."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dadms-bench-")))
        listener = stack.enter_context(_listening(directory / "hello", count))
        command = stack.enter_context(start(programs, supervisors.python(CHILD, directory / "hello", directory), count))
        began = time.perf_counter()
        command()
        _await_hellos(listener, count, stack)
        return time.perf_counter() - began


@contextlib.contextmanager
def _listening(path: Path, count: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(count)
        listener.settimeout(PATIENCE)
        yield listener


def _await_hellos(listener: socket.socket, count: int, stack: contextlib.ExitStack) -> None:
    for _ in range(count):
        try:
            peer = stack.enter_context(listener.accept()[0])
            peer.settimeout(PATIENCE)
            said = peer.recv(len(HELLO), socket.MSG_WAITALL)
        except TimeoutError:
            raise HostFailure(f"cannot measure: a child said nothing in {PATIENCE:g} s") from None
        if said != HELLO:
            raise HostFailure("cannot measure: a child ended before its hello")


def _end_children(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()
    for child in children:
        child.wait()


def measure(repeats: int) -> tuple[dict[str, float], list[Row], str]:
    """Run everything; gives the figures, the rows of the table, and the limits backend."""
    warm: list[float] = []
    plain: list[float] = []
    memory: list[float] = []
    peers: dict[str, list[float]] = {"circus": [], "supervisord": []}
    programs = spawn_peers.environment()
    with PrivateDaemon(PATIENCE, config=WHOLE_MACHINE) as daemon, Client(daemon.door.runtime_dir, timeout=PATIENCE) as client:
        backend = daemon.info.limits_backend
        is_capped = backend.startswith("cgroup")
        enforcement = "strict" if is_capped else "best-effort"
        end(client, spawn(client, 1, enforcement=enforcement))  # the zygote of the version stands from here on
        subprocesses(1)  # and the byte code of the child is there
        for _ in range(repeats):
            for _ in range(WARM_RUNS):
                began = time.perf_counter()
                infos = spawn(client, COUNT, enforcement=enforcement)
                warm.append(time.perf_counter() - began)
                check(infos, is_capped=is_capped)
                if os.geteuid() == 0:  # smaps_rollup of another's process takes rights; all of ours are root's then
                    memory.append(pss_megabytes(infos))
                end(client, infos)
            plain.append(subprocesses(COUNT))
            if isinstance(programs, Path):
                peers["circus"].append(supervised(supervisors.circus, programs, COUNT))
                peers["supervisord"].append(supervised(supervisors.supervisord, programs, COUNT))
    colds = [cold(enforcement=enforcement, is_capped=is_capped) for _ in range(repeats)]
    figures = {
        "ready_100_seconds": statistics.median(warm),
        "ready_100_cold_seconds": statistics.median(seconds for seconds, _ in colds),
        "ratio_vs_subprocess": statistics.median(plain) / statistics.median(warm),
    }
    rows = [
        Row(f"{COUNT} decision processes, zygote warm", warm, note=f"each in its own groups: {backend}"),
        Row(f"{COUNT} decision processes, cold", [seconds for seconds, _ in colds], note="with the daemon's start and the import"),
        Row("  of which the daemon's start", [up for _, up in colds]),
        Row(f"{COUNT} plain subprocesses", plain, note="without limits, journal and supervision"),
    ]
    for name, values in peers.items():
        if values:
            figures[f"ratio_vs_{name}"] = statistics.median(values) / statistics.median(warm)
            rows.append(Row(f"{COUNT} children of {name}", values, note="supervised, without limits and journal"))
    if not isinstance(programs, Path):
        sys.stderr.write(f"circus and supervisord are left out: {programs}\n")
    if memory:
        figures["pss_mb_per_process"] = statistics.median(memory)
        rows.append(Row("memory of a process (PSS)", memory, "MB", f"with {COUNT} of them"))
    return figures, rows, backend


def measure_scale() -> tuple[dict[str, float], list[Row]]:
    """Measure a thousand, exits, and adoption; each once, as each takes its time."""
    figures: dict[str, float] = {}
    rows: list[Row] = []
    with PrivateDaemon(PATIENCE, config=WHOLE_MACHINE) as daemon, Client(daemon.door.runtime_dir, timeout=PATIENCE) as client:
        is_capped = daemon.info.limits_backend.startswith("cgroup")
        enforcement = "strict" if is_capped else "best-effort"
        keeper = int((Path(daemon.door.runtime_dir) / "lock").read_text())
        end(client, spawn(client, 1, enforcement=enforcement))
        infos = spawn(client, COUNT, enforcement=enforcement)
        exits = spawn_scale.exits_seen(client, Path(daemon.door.runtime_dir), infos)
        small = spawn_scale.exits_seen(client, Path(daemon.door.runtime_dir), spawn_scale.sleepers(client, enforcement=enforcement))
        end(client, infos[spawn_scale.EXITS :])
        adopted = []
        infos = spawn(client, COUNT, enforcement=enforcement)
        for _ in range(REPEATS):
            adopted.append(spawn_scale.adoption(client, infos))
        end(client, infos)
        ready, over = [], {}
        for force in (True, False):
            began = time.perf_counter()
            infos = spawn(client, SCALE, enforcement=enforcement)
            ready.append(time.perf_counter() - began)
            check(infos, is_capped=is_capped)
            if force:
                memory = pss_megabytes(infos) if os.geteuid() == 0 else 0.0
                idle = spawn_scale.idle_percent(client, keeper)
            over[force] = spawn_scale.stopped(client, infos, force=force)
    figures["ready_1000_seconds"] = statistics.median(ready)
    figures["killed_1000_seconds"], figures["stop_1000_seconds"] = over[True], over[False]
    figures["idle_core_percent_1000"] = idle
    figures["exit_seen_ms_p50"] = statistics.median(each.by_subscriber for each in exits)
    figures["exit_seen_from_kill_ms_p50"] = statistics.median(each.in_all for each in exits)
    figures["small_exit_seen_from_kill_ms_p50"] = statistics.median(each.in_all for each in small)
    figures["adopt_100_seconds"] = statistics.median(adopted)
    if memory:
        figures["pss_mb_per_process"] = memory
        rows.append(Row("memory of a process (PSS)", [memory], "MB", f"with {SCALE} of them"))
    rows += [
        Row(f"{SCALE} processes ready", ready),
        Row(f"{SCALE} processes killed", [over[True]]),
        Row(f"{SCALE} processes stopped gracefully", [over[False]]),
        Row(f"keeper, kernel, bus and logger, {SCALE} processes idle", [idle], "%", "of a core"),
        Row("a killed decision process is dead", [each.death for each in exits], "ms", "the bus flooded by two publishers"),
        Row("  its exit is in the kernel", [each.by_kernel for each in exits], "ms", "from then on"),
        Row("  is journaled, and published to a client", [each.by_subscriber for each in exits], "ms", "from then on"),
        Row("  in all", [each.in_all for each in exits], "ms", "from the kill on"),
        Row("the same of a `sleep`, which has no memory to give back", [each.in_all for each in small], "ms", "from the kill on"),
        Row(f"a killed kernel's {COUNT} processes are all known again", adopted, note="its start included"),
    ]
    return figures, rows


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spawn", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"of each measurement; medians are shown (default {REPEATS})")
    parser.add_argument(
        "--scale", action=argparse.BooleanOptionalAction, default=True, help="a thousand processes, exits and adoption, too"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that a run that is cut short leaves nothing either
    on = machine()
    with tempfile.TemporaryDirectory(prefix="dadms-bench-") as cache:
        os.environ["PYTHONPYCACHEPREFIX"] = cache  # whether or not this environment keeps byte code: nobody compiles on the clock
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            figures, rows, backend = measure(max(1, options.repeats))
            if options.scale:
                more, others = measure_scale()
                figures |= more
                rows += others
        except DadmsError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    on["limits_backend"] = backend
    report("spawn", figures, rows, as_json=options.json, about=f"until {COUNT} processes are ready", on=on)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
