"""What an import may not change in the process that it runs in, set back after it, with a sentence about each thing that was.

Everything that a zygote holds is inherited by all that it forks: a thread does not survive the fork, an ignored SIGCHLD loses exit codes, a descriptor is
shared by all. Threads and descriptors cannot be taken back, so they are only told. Nothing of ours that a zygote holds imports ``threading``, whose hook puts its
books in order in every child: a quarter of the pages that a child copies until it is ready. Code that needs it brings it.
"""

import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from threading import Thread

SHOWN = 5  # threads or descriptors named in a warning
_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
_STANDARD = (0, 1, 2)


class Surroundings:
    """The state of this process before an import."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._directory = os.open(".", os.O_PATH | os.O_CLOEXEC)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._copies = [os.dup(fd) for fd in _STANDARD]
        self._threads = set(_threads())
        self._tasks = count_threads()
        self._fds = _open_descriptors()
        self.kept: set[int] = set()  # descriptors that imports opened: they belong to the imported code

    def restore(self, subject: str) -> list[str]:
        """Set everything back, and say what ``subject`` had changed.

        A copy of this process that an import forked and let run on ends here: there is one zygote a name.
        """
        if os.getpid() != self._pid:
            os._exit(0)
        warnings = [
            *self._restore_streams(subject),
            *self._restore_signals(subject),
            *self._restore_directory(subject),
            *self._threads_left(subject),
        ]
        gc.disable()
        opened = _open_descriptors() - self._fds
        self._fds |= opened
        self.kept |= opened
        if opened:
            names = [_target(fd) for fd in sorted(opened)[:SHOWN]]
            warnings.append(
                f"{subject} leaves {_counted(len(opened), 'descriptor')} open, which every process of it will share: {', '.join(names)}"
            )
        return warnings

    def forget(self) -> None:
        """Close what was kept for the sake of ``restore``."""
        for fd in (self._directory, *self._copies):
            os.close(fd)

    def _restore_streams(self, subject: str) -> list[str]:
        closed = []
        for fd, copy in zip(_STANDARD, self._copies, strict=True):
            try:
                is_same = os.path.sameopenfile(fd, copy)
            except OSError:
                is_same = False
            if not is_same:
                os.dup2(copy, fd)
                closed.append(str(fd))
        stdin, stdout, stderr = self._streams
        sys.stdin = stdin if stdin and not stdin.closed else open(0, closefd=False)  # noqa: SIM115 - a stream of the process, by number
        sys.stdout = stdout if stdout and not stdout.closed else open_stream(1)
        sys.stderr = stderr if stderr and not stderr.closed else open_stream(2)
        sys.stdout.flush()
        return [f"{subject} closed or replaced descriptor {', '.join(closed)}: it is set back"] if closed else []

    def _restore_signals(self, subject: str) -> list[str]:
        changed = [number for number, handler in self._handlers.items() if signal.getsignal(number) is not handler]
        for number in changed:
            handler = self._handlers[number]
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0.0)
        names = ", ".join(signal.Signals(number).name for number in sorted(changed))
        return [f"{subject} changes how {names} is handled: it is set back; do that in a process, not in an import"] if changed else []

    def _restore_directory(self, subject: str) -> list[str]:
        os.umask(self._umask)
        try:
            is_same = Path().samefile(f"/proc/self/fd/{self._directory}")
        except OSError:
            is_same = False
        os.fchdir(self._directory)
        return [] if is_same else [f"{subject} changes the working directory: it is set back"]

    def _threads_left(self, subject: str) -> list[str]:
        now = count_threads()
        count, self._tasks = now - self._tasks, now
        if count <= 0:
            return []
        names = [thread.name for thread in _threads() if thread not in self._threads]
        self._threads.update(_threads())
        shown = f" ({', '.join(names[:SHOWN])})" if names else ""
        return [f"{subject} leaves {_counted(count, 'thread')} running{shown}, not in the processes that are forked"]


def open_stream(fd: int) -> TextIO:
    """Open a standard stream by number: by line, and nothing that is printed can fail to be encoded."""
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def count_threads() -> int:
    """Count the threads of this process, those of C libraries included."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - a count, not paths


def _threads() -> "list[Thread]":
    """Give the threads that Python knows besides this one; it knows none while nobody has loaded its module."""
    loaded = sys.modules.get("threading")
    return [] if loaded is None else [thread for thread in loaded.enumerate() if thread is not loaded.main_thread()]


def _open_descriptors() -> frozenset[int]:
    """Give every open descriptor but the one that the listing itself takes."""
    return frozenset(fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open(fd))  # noqa: PTH208 - numbers, not paths


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _target(fd: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{fd}").readlink())
    except OSError:
        return f"descriptor {fd}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
