"""What a thousand processes cost: their start, their ends, their memory, the servers while nothing happens; and how fast an exit is told and a new kernel takes over."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.errors import DadmsError, HostFailure

IDLE_SECONDS = 10.0  # that the servers are watched
EXITS = 30
LOADS = 2  # publishers that flood the bus
PATIENCE = 120.0  # seconds
LOAD = """
import sys
from dadms_ipc.client import Client
with Client(sys.argv[1], timeout=60.0) as client:
    sys.stdout.write("loads")
    sys.stdout.flush()
    while True:
        client.publish("benchmark/load", b"x" * 200)
"""
DEATHS = """
import os, select, sys, time
for line in sys.stdin:
    pidfd = os.pidfd_open(int(line))
    print("watched", flush=True)
    select.select([pidfd], [], [])
    print(time.monotonic(), flush=True)
    os.close(pidfd)
"""
TICKS = os.sysconf("SC_CLK_TCK")


def server_pids(client: Client, keeper: int) -> list[int]:
    """Find keeper, kernel, bus and logger."""
    info: Any = client.call(requests.Status())
    return [keeper, info.os_pid, *(int(info.servers[name]["os_pid"]) for name in ("bus", "logger"))]


def cpu_seconds(pids: list[int]) -> float:
    """Give the CPU time of processes, in seconds of a core."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def idle_percent(client: Client, keeper: int) -> float:
    """Give the part of a core that the servers use while nobody asks for anything."""
    pids = server_pids(client, keeper)
    time.sleep(1.0)  # what was begun comes to its end
    before, began = cpu_seconds(pids), time.monotonic()
    time.sleep(IDLE_SECONDS)
    return (cpu_seconds(pids) - before) / (time.monotonic() - began) * 100


def stopped(client: Client, infos: list[requests.ProcessInfo], *, force: bool) -> float:
    """End processes as `dadmsctl kill` does, which asks for all at once and waits for all at once; gives the seconds until the last one has ended."""
    began = time.perf_counter()
    asked = client.call_many(requests.Kill(info.pid, force=force) for info in infos)
    refused = next((answer for answer in asked if isinstance(answer, DadmsError)), None)
    if refused is not None:
        raise HostFailure(f"cannot measure: {refused}")
    for info, ended in zip(infos, client.call_many(requests.Wait(info.pid, until="ended", timeout=60.0) for info in infos), strict=True):
        if isinstance(ended, DadmsError) or not ended.ended_at:
            raise HostFailure(f"cannot measure: process {info.pid} did not end in 60 s")
    return time.perf_counter() - began


class Seen(NamedTuple):
    """The way of one exit, in milliseconds."""

    death: float  # from the SIGKILL until it was dead, as a pidfd told another program
    by_kernel: float  # from then until the turn of the kernel began that wrote it down
    by_subscriber: float  # and until a client had it who asked the bus for events
    in_all: float  # from the SIGKILL until then


def sleepers(client: Client, *, enforcement: str) -> list[requests.ProcessInfo]:
    """Start programs that die as soon as they are killed, having nothing to give back."""
    spec = requests.Spec(name="sleeper", kind="tool", command=["sleep", "1000"], enforcement=enforcement)
    pids = [client.call(requests.Spawn(spec))["pid"] for _ in range(EXITS)]
    return [client.call(requests.Wait(pid, until="ready", timeout=PATIENCE)) for pid in pids]


def exits_seen(client: Client, runtime_dir: Path, infos: list[requests.ProcessInfo]) -> list[Seen]:
    """Kill processes one by one while the bus is flooded."""
    loads = [subprocess.Popen([sys.executable, "-c", LOAD, str(runtime_dir)], stdout=subprocess.PIPE) for _ in range(LOADS)]
    deaths = subprocess.Popen([sys.executable, "-c", DEATHS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        with Client(runtime_dir, timeout=PATIENCE) as watcher:
            watcher.subscribe("events/#")
            for load in loads:
                assert load.stdout is not None
                load.stdout.read(5)
            return [_exit_seen(client, watcher, deaths, info) for info in infos[:EXITS]]
    finally:
        for load in loads:
            load.kill()
            load.communicate()
        deaths.kill()
        deaths.communicate()


def _exit_seen(client: Client, watcher: Client, deaths: "subprocess.Popen[str]", info: requests.ProcessInfo) -> Seen:
    assert deaths.stdin is not None
    assert deaths.stdout is not None
    time.sleep(0.05)  # what the exit before it left behind is cleared away
    deaths.stdin.write(f"{info.os_pid}\n")
    deaths.stdin.flush()
    deaths.stdout.readline()
    began, wall = time.monotonic(), time.time()
    os.kill(info.os_pid, signal.SIGKILL)
    while watcher.receive(timeout=PATIENCE).topic != f"events/{info.pid}/process.exited":
        pass
    told = time.monotonic() - began
    dead = float(deaths.stdout.readline()) - began
    (event,) = [event for event in client.call(requests.Events(pid=info.pid)).events if event.kind == "process.exited"]
    return Seen(dead * 1000, (event.at - wall - dead) * 1000, (told - dead) * 1000, told * 1000)


def adoption(client: Client, infos: list[requests.ProcessInfo]) -> float:
    """Kill the kernel; gives the seconds until the next one has answered that every process runs on."""
    before: Any = client.call(requests.Status())
    began = time.perf_counter()
    os.kill(before.os_pid, signal.SIGKILL)
    after: Any = client.call(requests.Status())
    running = {process.pid: process.os_pid for process in client.call(requests.List(include_ended=False)) if process.status == "running"}
    took = time.perf_counter() - began
    if after.epoch == before.epoch or any(running.get(info.pid) != info.os_pid for info in infos):
        raise HostFailure("cannot measure: the next kernel does not have every process")
    return took
