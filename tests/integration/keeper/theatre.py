"""Runs a real keeper whose servers are puppets, and holds their strings."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATIENCE = 20.0  # seconds: for a loaded machine; nothing takes a tenth of it


class String:
    """The test's hold on one puppet."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.settimeout(PATIENCE)
        self._heard: deque[dict[str, Any]] = deque()
        born = self._next()
        self.name: str = born["name"]
        self.pid: int = born["pid"]
        self.fds: list[int] = born["fds"]

    def _next(self) -> dict[str, Any]:
        packet = self._socket.recv(1 << 20)
        if not packet:
            raise EOFError(f"{getattr(self, 'name', 'a puppet')} is gone")
        found: dict[str, Any] = json.loads(packet)
        return found

    def do(self, do: str, **order: Any) -> Any:
        """Have it do something; gives the result."""
        self._socket.send(json.dumps({"do": do, **order}).encode())
        while True:
            word = self._next()
            if "done" in word:
                return word["result"]
            self._heard.append(word)

    def order(self, do: str, **order: Any) -> None:
        """Have it do something that it does not come back from."""
        self._socket.send(json.dumps({"do": do, **order}).encode())

    def say(self, message: str, *args: Any) -> None:
        """Have it say a message to the keeper."""
        self.do("say", message=message, args=list(args))

    def hears(self, message: str, **fields: Any) -> dict[str, Any]:
        """Wait for a message of the keeper with these fields; earlier ones of other kinds are passed over."""
        while True:
            word = self._heard.popleft() if self._heard else self._next()
            if word.get("heard") == message and all(word["fields"].get(key) == value for key, value in fields.items()):
                return word

    def hears_until(self, message: str) -> list[dict[str, Any]]:
        """Give everything up to and with a message."""
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1].get("heard") != message:
            heard.append(self._heard.popleft() if self._heard else self._next())
        return heard

    def is_gone(self) -> bool:
        """Wait for its end."""
        with contextlib.suppress(ConnectionResetError):
            while packet := self._socket.recv(1 << 20):
                self._heard.append(json.loads(packet))
        return True

    def close(self) -> None:
        self._socket.close()


class Theatre:
    """A keeper, and puppets as they come."""

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self.runtime = directory / "r"
        self.state = directory / "s"
        self.errors = directory / "stderr"
        self._strings: list[String] = []
        self._waiting: list[String] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(directory / "p"))
        self._listener.listen(100)
        self._listener.settimeout(PATIENCE)
        self._environment = {**os.environ, "DADMS_PUPPETS": str(directory / "p"), **(environment or {})}
        self.keeper: subprocess.Popen[bytes] | None = None

    def open(self, *options: str, fds: tuple[int, ...] = (), files: int | None = None, **commands: str) -> None:
        """Start the keeper, at most ``files`` descriptors in it; a server without a command of its own is a puppet."""
        puppet = f"{shlex.quote(sys.executable)} {shlex.quote(str(HERE / 'puppet.py'))}"
        parts = {name: f"{puppet} {name}" for name in ("zygote", "kernel", "bus", "logger")} | commands
        argv = [sys.executable, str(HERE / "daemon.py"), str(self.runtime), str(self.state)]
        argv += [f"{name}={line}" for name, line in parts.items()]
        if files is not None:
            argv = ["prlimit", f"--nofile={files}:{files}", *argv]
        with self.errors.open("ab") as errors:
            self.keeper = subprocess.Popen([*argv, *options], env=self._environment, stderr=errors, pass_fds=fds)

    @property
    def pid(self) -> int:
        assert self.keeper is not None
        return self.keeper.pid

    def actor(self, name: str) -> String:
        """Wait for the next puppet of this part."""
        while True:
            for waiting in self._waiting:
                if waiting.name == name:
                    self._waiting.remove(waiting)
                    return waiting
            try:
                string = String(self._listener.accept()[0])
            except TimeoutError:
                raise AssertionError(f"no {name} came; the keeper says: {self.said()}") from None
            self._strings.append(string)
            self._waiting.append(string)

    def cast(self, *names: str) -> Iterator[String]:
        """Wait for one puppet of each part."""
        for name in names:
            yield self.actor(name)

    def _newest(self, name: str) -> String:
        known = [string for string in self._strings if string.name == name]
        return known[-1] if known else self.actor(name)

    def said(self) -> str:
        """What the keeper has said to people."""
        return self.errors.read_text()

    def signal(self, number: signal.Signals) -> None:
        assert self.keeper is not None
        self.keeper.send_signal(number)

    def over(self) -> int:
        """Wait for the keeper's end; gives its exit code."""
        assert self.keeper is not None
        return self.keeper.wait(PATIENCE)

    def servers_log(self) -> str:
        """What is in servers.log."""
        return (self.state / "logs" / "servers.log").read_text()

    def finish(self, kernel: String, logger: String) -> int:
        """End it in order, from SIGTERM to its exit code."""
        self.signal(signal.SIGTERM)
        kernel.hears("StopAsked")
        kernel.say("Stopped")
        logger.hears("StopAsked")
        logger.order("exit", code=0)
        return self.over()

    def close(self) -> None:
        """End it, if a test has not: in order when the newest kernel and logger can be found, else by cutting all strings: new puppets find nobody then."""
        if self.keeper is not None and self.keeper.poll() is None:
            self.keeper.send_signal(signal.SIGCONT)
            with contextlib.suppress(OSError, EOFError, AssertionError, subprocess.TimeoutExpired):
                self.finish(self._newest("kernel"), self._newest("logger"))
        for string in self._strings:
            string.close()
        self._listener.close()
        if self.keeper is not None and self.keeper.poll() is None:
            self.keeper.send_signal(signal.SIGTERM)
            self.keeper.wait(PATIENCE)


def breakable(name: str, directory: Path, words: str = "") -> str:
    """Give the command of a puppet that exits at once while ``DIRECTORY/broken`` exists, with some last words."""
    program = directory / f"{name}.sh"
    program.write_text(
        f'#!/bin/sh\n[ -e "{directory}/broken" ] && {{ {f"echo {shlex.quote(words)} >&2; " if words else ""}exit 1; }}\nexec "{sys.executable}" "{HERE}/puppet.py" {name} "$@"\n'
    )
    program.chmod(0o755)
    return str(program)
