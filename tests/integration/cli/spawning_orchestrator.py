"""An orchestrator that has others started: a service by its main, as itself, and a tool by each of its threads."""

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_orchestrators.contract import Orchestrator, Thread
from dadms_orchestrators.entries import thread
from dadms_orchestrators.sdk.process import Process


def spawned(client: Client, spec: requests.Spec) -> int:
    return int(client.call(requests.Spawn(spec))["pid"])


@thread
def exits(code: int, me: Thread) -> list[object]:
    with Client(timeout=20.0) as client:
        pid = spawned(client, requests.Spec(f"exits-{code}", kind="tool", command=["/bin/sh", "-c", f"exit {code}"], parent=me.pid))
        ended = client.call(requests.Wait(pid, timeout=20.0), timeout=30.0)
    return [ended.status, ended.exit_code, ended.parent]


def run(process: Process) -> None:
    process.ready(ORCHESTRATOR.entries)
    with process.client(timeout=20.0) as client:
        pid = spawned(client, requests.Spec("company", kind="service", command=["/bin/sleep", "600"]))
        company = client.call(requests.Wait(pid, until="ready", timeout=20.0), timeout=30.0)
        monitored = {event.kind for event in client.call(requests.Events(pid=pid)).events}
        address = client.address
    threads = [process.create("exits", {"code": code}) for code in (0, 7)]
    if process.wait(threads):
        value = {"address": address, "company": [company.status, company.parent], "ends": [each.value() for each in threads]}
        process.outcome("completed", {**value, "is_monitored": "process.running" in monitored})


ORCHESTRATOR = Orchestrator(name="spawning", version="1.0.0", run=run, entries=[exits])
