"""Fixtures for every test: a temporary directory and a subreaper for the session, and a real daemon."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from dadms_ipc.paths import CONTROL_SOCKET
from dadmsd.keeper.descent import become_subreaper
from tests import leaks

settings.register_profile(
    "seeded", derandomize=True, deadline=None, database=None
)  # the same examples each time; --hypothesis-profile=default looks for others
settings.load_profile("seeded")


@pytest.fixture(scope="session", autouse=True)
def temporary_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make what the tests and their processes leave in a temporary directory ours to see; its path is short, as sockets' must be."""
    tmp_path_factory.getbasetemp()  # pytest's own stays where it was
    with pytest.MonkeyPatch.context() as patch:
        directory = Path(tempfile.mkdtemp(prefix="dt-"))
        patch.setenv("TMPDIR", str(directory))
        patch.setattr(tempfile, "tempdir", None)
        yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session", autouse=True)
def subreaper() -> None:
    """Become the parent of whatever loses its parent."""
    become_subreaper()


@pytest.fixture
def short_path(temporary_directory: Path) -> Iterator[Path]:
    """Give an empty directory with a path short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="t", dir=temporary_directory))
    yield directory
    deadline = time.monotonic() + leaks.GRACE
    while directory.exists():
        try:
            shutil.rmtree(directory)
        except OSError:  # servers that outlived a killed keeper still put away what is theirs in it
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # an end leaves no event for who is not its parent


class Daemon:
    """A real ``dadmsd`` in the foreground, in a directory of its own."""

    def __init__(self, directory: Path, *options: str, lease: int | None = None, files: int | None = None) -> None:
        bounds = [] if files is None else ["prlimit", f"--nofile={files}:{files}"]
        self.runtime_dir = directory / "r"
        self.state_dir = directory / "s"
        if lease is not None:  # a private daemon: its directory is there before it, and holds everything
            self.runtime_dir.mkdir(mode=0o700)
            self.state_dir = self.runtime_dir / "state"
            options = (*options, "--lease-fd", str(lease))
        self._errors = directory / "stderr"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*bounds, sys.executable, "-m", "dadmsd", "--runtime-dir", self.runtime_dir, "--state-dir", self.state_dir, *options],
                stderr=errors,
                pass_fds=() if lease is None else (lease,),
            )

    @property
    def control(self) -> Path:
        """The socket that clients connect to."""
        return self.runtime_dir / CONTROL_SOCKET

    def said(self) -> str:
        """What it has said to people."""
        return self._errors.read_text()

    def stop(self, timeout: float = 40.0) -> int:
        """End it in order, or at once when it does not; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def close(self) -> None:
        """End it, if the test has not."""
        if self.process.poll() is None:
            self.stop()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.runtime_dir)


@pytest.fixture
def keeper_daemon(short_path: Path) -> Iterator[Daemon]:
    """Give a real daemon: keeper, kernel, bus, logger and zygote. A client waits for its socket with ``start_timeout``."""
    daemon = Daemon(short_path)
    yield daemon
    daemon.close()


@pytest.fixture
def no_leaks(subreaper: None, temporary_directory: Path) -> Iterator[None]:
    """Check that the test leaves nothing behind; applied to every test that starts processes."""
    before = leaks.look()
    yield
    leaks.check(before)


@pytest.fixture(scope="module")
def no_leaks_of_module(subreaper: None, temporary_directory: Path) -> Iterator[None]:
    """Check the same of fixtures that live for a module."""
    before = leaks.look()
    yield
    leaks.check(before)


def pytest_configure() -> None:
    """Undo what a shell does to what it starts with ``&``: it ignores Ctrl-C (POSIX, asynchronous lists), and hands that on to every program of a test."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_report_header() -> str:
    """Say what the host lets the tests try."""
    return f"dadms: uid {os.geteuid()}, Python {sys.version.split()[0]}"
