"""Real groups on this host, made for one test and removed after it, and real processes in them."""

import contextlib
import functools
import itertools
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable

from dadms_ipc.errors import HostFailure
from dadmsd.kernel import host
from dadmsd.kernel.host.backend import Backend
from dadmsd.kernel.host.mounts import Found, hierarchies

PATIENCE = 10.0  # seconds that a test awaits what takes milliseconds on an idle machine
_numbers = itertools.count(1)


def awaited(claim: Callable[[], bool]) -> bool:
    """Wait until a claim about the host holds; False when it does not come true."""
    deadline = time.monotonic() + PATIENCE
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)  # the kernel tells no one when a v1 group froze or a directory fell free
    return True


class Child:
    """A Python process that stands at a gate until it is let through; its code may talk over its input and output."""

    def __init__(self, code: str) -> None:
        gated = f"import sys\nprint('waits', flush=True)\nassert sys.stdin.readline() == 'go\\n'\n{code}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", gated], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.pid = self.process.pid
        assert self.line() == "waits"

    def line(self) -> str:
        """Read the next line that it prints."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        assert ready, "the child printed nothing in time"
        return self.process.stdout.readline().rstrip("\n")

    def go(self) -> None:
        """Open the gate."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def ended(self) -> int:
        """Wait for its end: the exit code, or minus the signal."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it, if a test has not."""
        self.process.kill()
        self.process.wait(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Place:
    """One backend, and everything that a test started in it."""

    def __init__(self, found: Found) -> None:
        self.instance = f"dadms-test-{os.getpid()}-{next(_numbers)}"
        self.found = found
        self.backend: Backend = host.choose(found, self.instance)
        self.children: list[Child] = []

    def child_unattached(self, code: str) -> Child:
        """Start a process that stays where it is, at its gate."""
        child = Child(code)
        self.children.append(child)
        return child

    def child(self, leaf: str, code: str) -> Child:
        """Start a process, put it into a leaf, and let it go."""
        child = self.child_unattached(code)
        self.backend.attach(leaf, child.pid)
        child.go()
        return child

    def close(self) -> None:
        """End and remove everything, and see that nothing is left."""
        for group in reversed(self.backend.groups()):
            with contextlib.suppress(HostFailure):
                self.backend.thaw(group)
            self.backend.kill(group)
        for child in self.children:
            child.close()
        tops = [group for group in self.backend.groups() if "/" not in group]
        for group in tops:
            assert awaited(functools.partial(self.backend.remove, group)), f"{group} is still in use"
        assert self.backend.dismantle()
        assert left_over(self.instance) == []


def left_over(instance: str) -> list[str]:
    """Find directories of an instance in any hierarchy."""
    found = on_this_host()
    places = [*found.v1.values(), *([found.v2] if found.v2 else [])]
    return [path for place in places if os.path.isdir(path := f"{place.directory}/{instance}")]  # noqa: PTH112 -- a file system of the kernel's


def on_this_host() -> Found:
    """Find the hierarchies that are mounted here."""
    with open("/proc/self/mountinfo") as mounts, open("/proc/self/cgroup") as paths:  # noqa: PTH123 -- files of /proc
        return hierarchies(mounts.read(), paths.read(), "none")
