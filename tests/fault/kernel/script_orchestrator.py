"""An orchestrator for tests: it submits what its configuration says, in steps, and gives what came of every thread as its outcome."""

import atexit
import ctypes
import os
import sys
import time
from typing import Any

from dadms_orchestrators.contract import Orchestrator, Thread
from dadms_orchestrators.sdk.process import Process
from dadms_orchestrators.sdk.session import Refused, StopRequested, ThreadEnded


def _note(thread: Thread, word: str) -> None:
    """Write one line of the ledger: O_APPEND makes lines of different processes whole."""
    fd = os.open(thread.config["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    os.write(fd, f"{word} {thread.tid} {os.getpid()}\n".encode())
    os.close(fd)


def work(arguments: Any, thread: Thread) -> object:
    """Compute for so many seconds, and say so in the ledger at begin and end."""
    _note(thread, "begun")
    end = time.monotonic() + float(arguments)
    while time.monotonic() < end:
        sum(range(1000))
    _note(thread, "done")
    return thread.tid


def die(arguments: Any, thread: Thread) -> object:
    """Be killed from outside in the middle of it."""
    _note(thread, "begun")
    os.kill(os.getpid(), int(arguments))
    return None


def leave(arguments: Any, thread: Thread) -> object:
    """Exit behind everybody's back."""
    _note(thread, "begun")
    os._exit(int(arguments))


def grow(arguments: Any, thread: Thread) -> object:
    """Allocate, and touch, more and more memory."""
    _note(thread, "begun")
    held = []
    for _ in range(int(arguments)):
        held.append(bytearray(os.urandom(1 << 20)))
    return len(held)


def hang(arguments: Any, thread: Thread) -> object:
    """Never return to Python: a C call without end."""
    _note(thread, "begun")
    ctypes.CDLL(None).pause() if arguments is None else time.sleep(float(arguments))
    return None


def fail(arguments: Any, thread: Thread) -> object:
    """Raise."""
    raise ValueError(str(arguments))


def say(arguments: Any, thread: Thread) -> object:
    """Write to the log."""
    for stream in (sys.stdout, sys.stderr):
        stream.write(f"{arguments}\n")
    return None


def big(arguments: Any, thread: Thread) -> object:
    """Give a result of so many bytes."""
    return b"x" * int(arguments)


def write(arguments: Any, thread: Thread) -> object:
    """Write a file that is larger than a small disk."""
    with open(arguments, "wb") as file:  # noqa: PTH123 - a path as text
        try:
            file.write(bytes(64 << 20))
        finally:
            os.unlink(arguments)  # noqa: PTH108 - as above
    return None


def scribble(arguments: Any, thread: Thread) -> object:
    """Write over the page of the worker, as C code may that has lost its way, and return as if nothing had happened."""
    _note(thread, "begun")
    with open("/proc/self/maps") as maps:  # noqa: PTH123 - as above
        place = next(line.split("-")[0] for line in maps if "dadms-page" in line)
    ctypes.memset(int(place, 16), int(arguments), 1 << 20)
    return None


def fork(arguments: Any, thread: Thread) -> object:
    """Fork, and let the child return as well."""
    os.fork()
    _note(thread, "begun")
    return None


def run(process: Process) -> None:
    """Run ``steps``: each a list of [entry, argument, time-out]; a step begins when the one before has ended."""
    process.ready(ORCHESTRATOR.entries)
    results: list[list[object]] = []
    for step in process.config["steps"]:
        for entry, argument, timeout in step:
            if entry == "linger-in-main":
                atexit.register(time.sleep, 300)  # the outcome is recorded, and the process does not exit
                continue
            process.submit(entry, [argument], labels=[entry], timeout=timeout)
        open_threads = sum(entry != "linger-in-main" for entry, _, _ in step)
        while open_threads:
            match process.next_event():
                case StopRequested():
                    return
                case Refused(reason=reason):
                    open_threads -= 1
                    results.append(["refused", "", reason])
                case ThreadEnded() as end:
                    open_threads -= 1
                    results.append([end.result.status, end.result.cause, end.result.message])
    process.outcome("completed", {"results": results})


ORCHESTRATOR = Orchestrator(
    name="script",
    version="1",
    run=run,
    entries={
        "work": work,
        "die": die,
        "leave": leave,
        "grow": grow,
        "hang": hang,
        "fail": fail,
        "say": say,
        "big": big,
        "fork": fork,
        "write": write,
        "scribble": scribble,
    },
)
