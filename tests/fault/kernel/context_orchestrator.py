"""An orchestrator for tests of shared context: it runs all the threads that its configuration names at once and gives their values, and its own, as its outcome."""

import random
import time
from typing import Any

from dadms_ipc import context
from dadms_ipc.errors import DadmsError
from dadms_ipc.shared import Context
from dadms_orchestrators.contract import Orchestrator, Thread
from dadms_orchestrators.sdk.handles import ThreadFailed
from dadms_orchestrators.sdk.process import Process
from dadms_orchestrators.sdk.session import StopRequested, ThreadEnded

Row = list[object]  # a linearizability.Done


def hammer(arguments: Any, thread: Thread) -> list[Row]:
    """Do so many operations on one value, seeded, and record each; "go" starts all clients at once."""
    thread.context.increment("start", "here")
    thread.context.watch("start", "go", after=0, timeout=60.0)
    return hammered(thread.context, arguments["seed"], arguments["count"])


def hammered(shared: Context, seed: int, count: int) -> list[Row]:
    """Read, increment, and compare-and-swap with what was read last."""
    choices = random.Random(seed)
    rows: list[Row] = []
    known = context.Cell()
    for _ in range(count):
        kind = choices.choice(["get", "cas", "cas", "increment"])
        called = time.monotonic()
        if kind == "get":
            known = shared.get("r", "n")
            rows.append([called, time.monotonic(), kind, None, 0, True, known.version, known.value])
        elif kind == "cas":
            number = choices.randrange(1000)
            answer = shared.cas("r", "n", number, expected=known.version)
            rows.append([called, time.monotonic(), kind, number, known.version, answer.applied, answer.version, answer.value])
            known = context.Cell(answer.version, number if answer.applied else answer.value)
        else:
            by = choices.randrange(1, 10)
            answer = shared.change(context.Increment("r", "n", by))
            rows.append([called, time.monotonic(), kind, by, 0, True, answer.version, answer.value])
            known = context.Cell(answer.version, answer.value)
    return rows


def hold(arguments: Any, thread: Thread) -> str:
    """Have the lock, say so, and compute for ever."""
    lock = thread.context.lock("r", "l")
    thread.context.set("r", f"held {arguments}", [thread.tid, lock.token])
    time.sleep(3600)
    return "never"


def take(arguments: Any, thread: Thread) -> Row:
    """Have the lock once it is free, and say when that was."""
    thread.context.watch("r", f"held {arguments}", after=0, timeout=60.0)
    thread.context.set("r", f"wants {arguments}", thread.tid)
    with thread.context.lock("r", "l", timeout=60.0) as lock:
        thread.context.set("r", "taken", thread.tid)
        return [time.monotonic(), lock.token]


def write_late(arguments: Any, thread: Thread) -> Row:
    """Have the lock, and write under it before and after it is taken away."""
    with thread.context.lock("r", "l") as lock:
        thread.context.set("r", "a", "mine", guard=lock)
        thread.context.set("r", "ready", thread.tid)
        thread.context.watch("r", "broken", after=0, timeout=60.0)
        try:
            thread.context.set("r", "a", "mine again", guard=lock)
        except DadmsError as error:
            return [type(error).__name__, str(error)]
    return ["written", ""]


def use(arguments: Any, thread: Thread) -> list[object]:
    """Use all of it once."""
    shared = thread.context
    made = shared.set("u", "k", {"a": 1})
    shared.update("u", "k", {"b": [1, 2]})
    swapped = shared.cas("u", "k", "x", expected=made)
    shared.share("u", readers=["*"])
    count = shared.increment("u", "n", 2)
    with shared.lock("u", "l", timeout=1.0) as lock:
        shared.set("u", "under", 1, guard=lock)
        owner = shared.regions()[0].owner
    gone = shared.delete("u", "under")
    try:
        shared.watch("u", "n", after=shared.get("u", "n").version, timeout=0.05)
    except DadmsError as error:
        late = type(error).__name__
    view = shared.read("u")
    return [
        swapped.applied,
        swapped.value,
        count,
        owner == f"{thread.pid}/{thread.tid}",
        gone,
        late,
        {key: cell.value for key, cell in view.cells.items()},
    ]


def make(arguments: Any, thread: Thread) -> object:
    """Keep so many bytes, and give the reference."""
    return {"data": thread.artifact(bytes(range(256)) * (int(arguments) // 256))}


def read(arguments: Any, thread: Thread) -> Row:
    """Open what others kept."""
    view = thread.open(arguments["data"])
    return [len(view), view[-1], sorted(region.name for region in thread.context.regions())]


def chain(process: Process, size: int) -> None:
    """Have a thread keep something, look at it, and have another thread look at it, too."""
    process.ready(ORCHESTRATOR.entries)
    made = process.create("make", size)
    process.wait([made])
    try:
        reference = made.value()
    except ThreadFailed as error:
        process.outcome("failed", {}, error.result.message)
        return
    read_by_other = process.create("read", reference)
    read_own = process.create("read", {"data": process.artifact(b"of the main")})
    process.wait([read_by_other, read_own])
    seen = process.open(reference["data"])
    process.outcome(
        "completed", {"main": [len(seen), seen[-1]], "threads": [read_by_other.value(), read_own.value()], "reference": reference}
    )


def run(process: Process) -> None:
    """Run every thread of the configuration at once; with "main", take part in the hammering."""
    if "chain" in process.config:
        chain(process, process.config["chain"])
        return
    process.ready(ORCHESTRATOR.entries)
    tickets = [process.submit(entry, [argument]) for entry, argument in process.config["threads"]]
    clients = process.config.get("clients", 0)
    own: list[Row] = []
    if clients:
        seen = process.context.get("start", "here")
        while (seen.value or 0) < clients:
            seen = process.context.watch("start", "here", after=seen.version, timeout=60.0)
        process.context.set("start", "go", 1)
        own = hammered(process.context, 0, process.config["count"])
    values: dict[int, object] = {}
    while len(values) < len(tickets):
        match process.next_event():
            case StopRequested():
                return
            case ThreadEnded() as end:
                values[end.ticket] = end.value if end.is_completed else [end.result.status, end.result.cause, end.result.message]
    process.outcome("completed", {"main": own, "threads": [values[ticket] for ticket in tickets]})


ORCHESTRATOR = Orchestrator(
    name="context-test",
    version="1",
    run=run,
    entries={"hammer": hammer, "hold": hold, "take": take, "write_late": write_late, "use": use, "make": make, "read": read},
)
