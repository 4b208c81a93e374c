"""A daemon for one run: started where none runs, and gone without a trace when its owner is, however that ends.

1. It lives by a lease: a pipe whose only write end is ours. When we end, by whatever signal, it reads EOF, ends everything and removes its directory.
2. Its directory is named here and made there, so that a death in between leaves nothing; what it says goes to memory without a name.
3. A server of it that failed by an error of ours is told when all is over, and what it wrote is kept: the daemon takes its logs with it.
4. A server that fails again and again (a full disk, a limit of the shell) ends the run, with its last words.
5. It has a session of its own: Ctrl-C at the terminal is ours to answer.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import click

from dadms_ipc import paths, requests
from dadms_ipc.errors import DeadlinePassed, HostFailure, Unreachable
from dadmsctl.door import Door
from dadmsctl.exits import WorkLost
from dadmsctl.siblings import python
from dadmsctl.terminal import printable

START_LIMIT = 30.0  # seconds until the first answer; it takes a quarter of one on a quiet machine
FAILURES_MOST = 6  # of one server, by errors of its own; a disk that is full or a limit of the shell does not go away by itself
LOOK = 0.5  # seconds between looks for them
STOP_LIMIT = 60.0  # seconds after the lease has ended; the daemon's own limit is 30
REMOVE_LIMIT = 5.0  # seconds that the servers of a killed keeper have to end
WORDS_LIMIT = 65_536  # bytes of what the daemon said that are looked at
_FAILED = re.compile(
    r"^dadmsd: (\w+) \(pid \d+\) ended after [\d.]+ s: (exit [1-9]\d*)(?:: .*)?; it is started again", re.MULTILINE
)  # keeper/loop.py
SOCKET_PATH_LIMIT = 107  # bytes, unix(7)


class PrivateDaemon:
    """A private daemon; a context manager that starts and ends it.

    While it runs, SIGCHLD is ours: a daemon that ends before its time is an error at once, in the middle of whatever waits for it: a HostFailure until it answers,
    WorkLost from then on.
    """

    def __init__(self, timeout: float, *, config: Path | None = None) -> None:
        self.door = Door(_place(), timeout)
        self._config = config
        self.start_seconds = 0.0
        self._purpose, self._is_answering = "start", False
        self._is_over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._words = os.memfd_create("dadmsd says")
        self._process: subprocess.Popen[bytes] | None = None
        self._lease: int | None = None
        self._before = signal.getsignal(signal.SIGCHLD)

    def __enter__(self) -> Self:
        began = time.monotonic()
        try:
            signal.signal(signal.SIGCHLD, lambda *_: self._demand_life())
            self._start()
            self._demand_life()
            self.info = self._await_answer()
        except BaseException:
            self._end()
            raise
        self._purpose, self._is_answering = "go on", True
        self._watcher.start()
        self.start_seconds = time.monotonic() - began
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def _start(self) -> None:
        lease, self._lease = os.pipe()
        directory = str(self.door.runtime_dir)
        chosen = ("--config", str(self._config)) if self._config is not None else ()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own installation
                python("-m", "dadmsd", "--runtime-dir", directory, "--state-dir", f"{directory}/state", "--lease-fd", str(lease), *chosen),
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                pass_fds=[lease],
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(lease)

    def _demand_life(self) -> None:
        """Raise, in the daemon's own words where it has said any, unless it lives."""
        code = self._process.poll() if self._process is not None else None
        if code is None:
            if self._is_answering and (failing := self._failing()):
                self._is_answering = False  # said once: what follows is the end of it
                raise WorkLost(f"cannot go on: the {failing} of the private daemon does not get up: {self._last_words()}")
            return
        said = [line for line in os.pread(self._words, WORDS_LIMIT, 0).decode(errors="replace").splitlines() if line.strip()]
        how = said[-1].removeprefix("dadmsd: ") if said else "it said nothing"
        end = f"signal {-code}" if code < 0 else f"exit code {code}"
        text = f"cannot {self._purpose}: the private daemon has ended ({end}): {how}"
        raise WorkLost(text) if self._is_answering else HostFailure(text)

    def _failing(self) -> str:
        """Give the name of a server that has failed so often that it will not get up; "" when none has."""
        names = [name for name, _ in _FAILED.findall(os.pread(self._words, WORDS_LIMIT, 0).decode(errors="replace"))]
        return next((name for name in dict.fromkeys(names) if names.count(name) >= FAILURES_MOST), "")

    def _last_words(self) -> str:
        """Give the last line that a server wrote: usually the reason of its end."""
        try:
            lines = (self.door.runtime_dir / "state" / "logs" / "servers.log").read_bytes()[-4096:].decode(errors="replace").splitlines()
        except OSError as error:
            return f"what it wrote cannot be read: {error.strerror}"
        spoken = [line.strip() for line in lines if line.strip() and "Z dadmsd: " not in line]
        return spoken[-1] if spoken else "it wrote nothing"

    def _watch(self) -> None:
        """Look for servers that do not get up, in a thread: what is found is raised where the main thread takes signals."""
        while not self._is_over.wait(LOOK):
            if self._failing():
                os.kill(os.getpid(), signal.SIGCHLD)
                return

    def _await_answer(self) -> requests.DaemonInfo:
        from dadms_ipc.client import Client

        try:
            with Client(self.door.runtime_dir, timeout=START_LIMIT, start_timeout=START_LIMIT) as client:
                info: requests.DaemonInfo = client.call(requests.Status())
        except (Unreachable, DeadlinePassed) as error:
            raise HostFailure(f"cannot start: the private daemon has not answered for {START_LIMIT:.0f} s") from error
        return info

    def _end(self) -> None:
        """End the lease and wait until everything is gone; a daemon that cannot end is killed, and its servers with it."""
        self._is_over.set()
        if self._watcher.ident is not None:  # it reads what is closed below
            self._watcher.join()
        signal.signal(signal.SIGCHLD, self._before)
        self._keep_traces()
        if self._lease is not None:
            os.close(self._lease)
        if self._process is not None:
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        _remove(self.door.runtime_dir)
        os.close(self._words)

    def _keep_traces(self) -> None:
        """Keep what the servers wrote, and say where, when one of them ended by an exit of its own."""
        failures = _FAILED.findall(os.pread(self._words, WORDS_LIMIT, 0).decode(errors="replace"))
        if not failures:
            return
        kept = Path(tempfile.gettempdir()) / f"{self.door.runtime_dir.name}.log"
        servers = ", ".join(dict.fromkeys(name for name, _ in failures))
        try:
            shutil.copyfile(self.door.runtime_dir / "state" / "logs" / "servers.log", kept)
        except OSError as error:
            where = f"what it wrote could not be kept: {error.strerror}"
        else:
            where = f"what it wrote is in {kept}"
        text = f"dadmsctl: warning: the {servers} of the private daemon failed ({failures[-1][1]}) and was started again; {where}"
        click.echo(printable(text), err=True)


def _remove(directory: Path) -> None:
    """Remove what a killed keeper could not; its servers, which are not our children, may still write there for a moment."""
    deadline = time.monotonic() + REMOVE_LIMIT
    while directory.exists() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            shutil.rmtree(directory)
            return
        time.sleep(0.05)


def _place() -> Path:
    """Name a directory that does not exist, short enough for the socket in it."""
    name = f"dadms-run-{secrets.token_hex(8)}"
    wished = Path(tempfile.gettempdir()) / name
    fits = len(os.fsencode(wished / paths.CONTROL_SOCKET)) <= SOCKET_PATH_LIMIT
    return wished if fits else Path("/tmp") / name  # noqa: S108 - unguessable, and made by the keeper for itself alone
