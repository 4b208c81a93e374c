"""An orchestrator for the fuzzing of ports: its main, or a thread in its worker, says to the kernel over its own port whatever chance gives.

Only what the kernel can decode goes out, but for the last frame: one that it cannot ends the child. The socket is written to as it is, past the library.
"""

import contextlib
import os
import random
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc import context, port
from dadms_ipc.channel import VERSION
from dadms_ipc.codec import encode_body
from dadms_orchestrators.contract import Orchestrator, Thread
from dadms_orchestrators.sdk.process import Process
from dadms_orchestrators.sdk.session import StopRequested, ThreadEnded
from dadmsd.worker import messages as worker
from dadmsd.zygote.messages import GateFailed
from tests.fuzz.calls import changed, pack

FRAMES = 600  # of one child: more than its socket holds, so that the kernel reads while it lives
INLINE = 60_000  # bytes of a packet, at most
NIL = msgspec.Raw(b"\xc0")
CALLS: tuple[tuple[Any, int, int], ...] = (  # operation, thread, process
    (context.Set("r", "k", NIL), 0, 0),
    (context.Increment("r", "n", 1), 1, 1001),
    (context.Lock("r", "l", 0.05), 0, 0),
    (context.Unlock("r", "l", 1), 0, 0),
    (context.Watch("r", "k", 0, 0.05), 0, 0),
    (context.Share("r", ["*"], ["main"]), 0, 0),
    (port.Reserve(1000), 0, 0),
)
MAIN: tuple[Any, ...] = (
    port.Ready(["nothing"], [], [port.Declaration("nothing", True, 4, 1 << 26)]),
    port.Submit(
        1, "nothing", [NIL, NIL], ["a", "b"], 1.0, 3, 5.0, port.Retry(2, "fixed", 0.01, 0.1, 0.0, ("exception",)), ["k", "l"], "g", True
    ),
    port.Submit(2, "nothing", [msgspec.Raw(encode_body({"a": [1, 2.5, "x"]}))]),
    port.Cancel(3, [1, 2, 3]),
    port.Steer(4, "priority", [1, 2], 5),
    port.Steer(5, "suspend", [], 0, "g"),
    port.Seen(1),
    port.Note("kind", "text", msgspec.Raw(encode_body({"a": 1}))),
    port.Outcome("completed", msgspec.Raw(encode_body({"a": 1})), ""),
    port.Checkpoint(1, msgspec.Raw(encode_body({"a": 1}))),
    port.Watchdog(),
    *(port.ContextCall(number, 0, operation, tid, pid) for number, (operation, tid, pid) in enumerate(CALLS, 1)),
)
WORKER: tuple[Any, ...] = (
    worker.Ready(),
    worker.Doorbell(1),
    worker.Yield(1, 1),
    worker.Progress(1, "text", 0.5),
    *(message for message in MAIN if isinstance(message, port.ContextCall)),
)
READS: dict[str, Any] = {
    "main": msgspec.msgpack.Decoder(port.FromProcess),
    "worker": msgspec.msgpack.Decoder(worker.FromWorker),
}


def bodies(chance: random.Random, role: str) -> Iterator[bytes]:
    """Give bodies of frames without end: what the kernel can decode, and what ends no child by its mere meaning."""
    plain = [encode_body(message) for message in (MAIN if role == "main" else WORKER)]
    while True:
        body = changed(chance, plain)
        with contextlib.suppress(msgspec.DecodeError, ValueError, RecursionError):
            if not isinstance(READS[role].decode(body), port.GateFailed | GateFailed | worker.Spoiled) and len(body) < INLINE:
                yield body


def attack(role: str, seed: int) -> None:
    """Say all of it over every port that this child has."""
    chance = random.Random(seed)
    for spoken in _ports():
        spoken.setblocking(True)
        made = bodies(chance, role)
        with spoken, contextlib.suppress(OSError):  # the kernel has had enough of it
            for number in range(FRAMES):
                epoch = chance.choice((0, 1, 2**63 - 1))
                spoken.send(pack([VERSION, epoch, number]).replace(b"\xdd\0\0\0\x03", b"\x94", 1) + next(made))
            spoken.send(b"\x94\x01\x01\x01\x91\xa1\xff")


def _ports() -> list[socket.socket]:
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(Path("/proc/self/fd", name).stat().st_mode):
                one = socket.socket(fileno=os.dup(int(name)))
                if one.type == socket.SOCK_SEQPACKET:
                    found.append(one)
                else:
                    one.close()
    return found


def attack_from_thread(arguments: Any, thread: Thread) -> object:
    """Be hostile as a worker, and stay: a thread that returns may have completed before the kernel has read the last of it."""
    attack("worker", int(arguments))
    signal.pause()
    return None


def run(process: Process) -> None:
    """Be hostile as a main, or have a thread be it."""
    process.ready(ORCHESTRATOR.entries)
    if process.config["role"] == "main":
        attack("main", process.config["seed"])
        os._exit(3)
    process.submit("attack", [process.config["seed"]])
    while not isinstance(event := process.next_event(), ThreadEnded | StopRequested):
        pass
    process.outcome("completed", {"thread": str(event)})


def _nothing(arguments: Any, thread: Thread) -> object:
    return None


ORCHESTRATOR = Orchestrator(name="hostile", version="1.0.0", run=run, entries={"attack": attack_from_thread, "nothing": _nothing})
