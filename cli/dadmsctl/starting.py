"""A daemon that was started a moment ago and has not come as far as its lock: it is seen as a process, and waited for.

1. Only a dadmsd that is younger than YOUNG counts, of our user or of root, whose options and environment lead to the directory that is asked about.
2. It is waited for until it runs there, or ends, or the time is up. It needs a tenth of a second.
"""

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dadms_ipc import paths

YOUNG = 3.0  # seconds: an interpreter and its imports on a busy machine
LOOK = 20  # milliseconds between looks; the process's end is noticed at once


def await_start(runtime_dir: Path, has_come: Callable[[], bool], timeout: float) -> bool:
    """Wait for a daemon that is about to run in a directory; False when none is, or it did not come in time."""
    for pid in _starting(runtime_dir):
        try:
            watch = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            poll = select.poll()
            poll.register(watch, select.POLLIN)
            deadline = time.monotonic() + min(timeout, YOUNG)
            while not has_come() and time.monotonic() < deadline and not poll.poll(LOOK):
                pass
        finally:
            os.close(watch)
    return has_come()


def _starting(runtime_dir: Path) -> Iterator[int]:
    """Find young daemons that mean a directory."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    for name in os.listdir("/proc"):  # noqa: PTH208 - numbers, not paths
        if name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):  # it ended, or is none of our business
                place = Path("/proc", name)
                arguments = [os.fsdecode(word) for word in (place / "cmdline").read_bytes().split(b"\0")[:-1]]
                if _is_dadmsd(arguments) and now - _started_at(place) < YOUNG and _means(place, arguments) == runtime_dir:
                    yield int(name)


def _is_dadmsd(arguments: list[str]) -> bool:
    """Tell a keeper from its servers (``-m dadmsd.bus``) and from an editor of its files."""
    words = arguments[:4]  # interpreter, its options, the program
    return any(Path(word).name == "dadmsd" and (index == 0 or "python" in Path(words[0]).name) for index, word in enumerate(words))


def _started_at(place: Path) -> float:
    """Give when a process was started, in seconds since boot (proc_pid_stat(5), field 22, counted after the name, which may hold anything)."""
    fields = (place / "stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _means(place: Path, arguments: list[str]) -> Path:
    """Give the runtime directory that a dadmsd was told, or would choose."""
    for index, word in enumerate(arguments):
        if word == "--runtime-dir":
            return place.joinpath("cwd").readlink() / arguments[index + 1]
        if word.startswith("--runtime-dir="):
            return place.joinpath("cwd").readlink() / word.partition("=")[2]
    environment = dict(os.fsdecode(pair).split("=", 1) for pair in (place / "environ").read_bytes().split(b"\0") if b"=" in pair)
    named = environment.get("DADMS_RUNTIME_DIR")
    return (place.joinpath("cwd").readlink() / named) if named else paths.runtime_dir()
