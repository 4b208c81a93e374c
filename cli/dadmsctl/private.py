"""A daemon for one run: started where none runs, and gone without a trace when its owner is, however that ends.

1. It lives by a lease: a pipe whose only write end is ours. When we end, by whatever signal, it reads EOF, ends everything and removes its directory.
2. Its directory is named here and made there, so that a death in between leaves nothing; what it says goes to memory without a name.
3. It has a session of its own: Ctrl-C at the terminal is ours to answer.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from dadms_ipc import paths, requests
from dadms_ipc.errors import DeadlinePassed, HostFailure, Unreachable
from dadmsctl.door import Door
from dadmsctl.siblings import python
from dadmsctl.terminal import printable

START_LIMIT = 30.0  # seconds until the first answer; it takes a quarter of one on a quiet machine
STOP_LIMIT = 60.0  # seconds after the lease has ended; the daemon's own limit is 30
LOOK = 0.25  # seconds between looks whether a daemon that does not answer yet still lives
WORDS_LIMIT = 65_536  # bytes of what the daemon said that are looked at
SOCKET_PATH_LIMIT = 107  # bytes, unix(7)


class PrivateDaemon:
    """A running private daemon; a context manager that ends it."""

    def __init__(self, timeout: float) -> None:
        self.door = Door(_place(), timeout)
        self.start_seconds = 0.0
        self._words = os.memfd_create("dadmsd says")
        lease, self._lease = os.pipe()
        directory = str(self.door.runtime_dir)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own installation
                python("-m", "dadmsd", "--runtime-dir", directory, "--state-dir", f"{directory}/state", "--lease-fd", str(lease)),
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                pass_fds=[lease],
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(lease)

    def __enter__(self) -> Self:
        began = time.monotonic()
        try:
            self.info = self._await_answer(began + START_LIMIT)
        except BaseException:
            self._end()
            raise
        self.start_seconds = time.monotonic() - began
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    @property
    def os_pid(self) -> int:
        """Give the keeper's process."""
        return self._process.pid

    def end_sentence(self) -> str:
        """Say how the daemon ended, in its own words where it has said any; nothing while it lives."""
        code = self._process.poll()
        if code is None:
            return ""
        said = [printable(line) for line in os.pread(self._words, WORDS_LIMIT, 0).decode(errors="replace").splitlines() if line.strip()]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return said[-1].removeprefix("dadmsd: ") if said else f"it ended with {how} and said nothing"

    def _await_answer(self, deadline: float) -> requests.DaemonInfo:
        from dadms_ipc.client import Client

        while True:
            try:
                with Client(self.door.runtime_dir, timeout=LOOK, start_timeout=LOOK) as client:
                    info: requests.DaemonInfo = client.call(requests.Status(), timeout=max(LOOK, deadline - time.monotonic()))
                    return info
            except (Unreachable, DeadlinePassed):
                if said := self.end_sentence():
                    raise HostFailure(f"cannot start a private daemon: {said}") from None
                if time.monotonic() > deadline:
                    raise HostFailure(f"cannot start a private daemon: no answer after {START_LIMIT:.0f} s") from None

    def _end(self) -> None:
        """End the lease and wait until everything is gone; a daemon that cannot end is killed, and its servers with it."""
        os.close(self._lease)
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            if self.door.runtime_dir.exists():  # the keeper was killed, and nobody else removes it
                shutil.rmtree(self.door.runtime_dir)
        os.close(self._words)


def _place() -> Path:
    """Name a directory that does not exist, short enough for the socket in it."""
    name = f"dadms-run-{secrets.token_hex(8)}"
    wished = Path(tempfile.gettempdir()) / name
    fits = len(os.fsencode(wished / paths.CONTROL_SOCKET)) <= SOCKET_PATH_LIMIT
    return wished if fits else Path("/tmp") / name  # noqa: S108 - unguessable, and made by the keeper for itself alone
