"""An orchestrator for these tests: a main that submits nothing and gives an outcome, and entries of every temper. It depends on no other orchestrator."""

import importlib.util
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc.channel import Channel
from dadms_ipc.port import Gate, Outcome, Ready, ToProcess


class BpmnLikeError(Exception):
    """An error with a code, as the contract has it."""

    def __init__(self, code: str) -> None:
        super().__init__(f"code {code}")
        self.bpmn_code = code


class Opaque:
    """A value that cannot travel."""


class Sample:
    """The object that the zygote finds."""

    name = "sample"
    version = "3.2.1"

    def __init__(self, entries: Mapping[str, Callable[[Any, Any], object]]) -> None:
        self.entries = entries

    def load_handlers(self, path: str) -> list[str]:
        """Import the module under its stem; its TOPICS are the topics."""
        spec = importlib.util.spec_from_file_location(Path(path).stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["sample_handlers"] = module
        spec.loader.exec_module(module)
        return list(module.TOPICS)

    def main(self, port: socket.socket, gate: Gate) -> int:
        """Become ready, do what the configuration says, and exit with its code."""
        config = msgspec.msgpack.decode(gate.config)
        channel: Channel[ToProcess] = Channel(port, ToProcess)
        channel.send(Ready(sorted(self.entries)))
        if config.get("raise"):
            raise RuntimeError(config["raise"])
        if config.get("wait"):
            channel.receive(30.0)
        value = {"directory": str(Path.cwd()), "sid": os.getsid(0), "pid": gate.pid, "signals": _signals(), "open": sorted(_open())}
        channel.send(Outcome("completed", msgspec.Raw(msgspec.msgpack.encode(value))))
        return int(config.get("exit", 0))


def _signals() -> dict[str, str]:
    return {name: str(signal.getsignal(getattr(signal, name))) for name in ("SIGCHLD", "SIGTERM", "SIGPIPE")}


def _open() -> list[str]:
    return [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink() and os.path.lexists(entry)]


def _fail(arguments: Any, thread: Any) -> None:
    raise {"value": ValueError, "memory": MemoryError, "exit": SystemExit, "interrupt": KeyboardInterrupt}[arguments]("as asked")


def _bpmn(arguments: Any, thread: Any) -> None:
    raise BpmnLikeError(arguments)


def _describe(arguments: Any, thread: Any) -> object:
    return [thread.tid, thread.pid, thread.worker, thread.config, thread.directory, arguments]


def _wander(arguments: Any, thread: Any) -> str:
    before = str(Path.cwd())
    os.chdir("/")
    os.umask(0o022)
    return before


def _sleep(arguments: Any, thread: Any) -> str:
    time.sleep(arguments)
    return "slept"


def _mark_and_wait(arguments: Any, thread: Any) -> str:
    """Leave a line, then wait until the file that is named exists no longer; a run that happens twice leaves two lines."""
    with Path(arguments["log"]).open("a") as log:
        log.write(f"{thread.tid}\n")
    while arguments.get("while") and Path(arguments["while"]).exists():
        time.sleep(0.002)
    return "marked"


def _progress(arguments: Any, thread: Any) -> str:
    thread.progress("half way", 0.5)
    return "done"


def _print(arguments: Any, thread: Any) -> None:
    sys.stdout.write(arguments)


def _leave_thread(arguments: Any, thread: Any) -> str:
    left = threading.Thread(target=threading.Event().wait, daemon=True)
    left.start()
    return left.name


def _opened(arguments: Any, thread: Any) -> object:
    return sorted(_open())


ORCHESTRATOR = Sample(
    {
        "noop": lambda arguments, thread: None,
        "echo": lambda arguments, thread: arguments,
        "fail": _fail,
        "bpmn": _bpmn,
        "describe": _describe,
        "wander": _wander,
        "sleep": _sleep,
        "mark": _mark_and_wait,
        "progress": _progress,
        "print": _print,
        "leave-thread": _leave_thread,
        "opaque": lambda arguments, thread: {"scores": [1, {"x": Opaque()}]},
        "bytes": lambda arguments, thread: b"x" * arguments,
        "kill-self": lambda arguments, thread: os.kill(os.getpid(), signal.SIGKILL),
        "open": _opened,
        "sibling": lambda arguments, thread: __import__(arguments).NAME,
        "environment": lambda arguments, thread: os.environ.get(arguments),
    }
)
