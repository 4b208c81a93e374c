"""A daemon whose state is on a small file system of its own, which a test fills: mounted in a mount namespace that ends with the daemon."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Daemon

SIZE = "24m"
PIECE = 1 << 16  # bytes of one write of what fills it


def demand() -> None:
    """Skip where nobody may mount."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root mounts a file system in a namespace")
    tried = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False, timeout=20)
    if tried.returncode:
        pytest.skip(f"no file system can be mounted in a namespace here: {tried.stderr.decode().strip()}")


class Roomless(Daemon):
    """A daemon as ``Daemon``, but for its state directory; ``is_whole``: its runtime directory is on that file system, too."""

    def __init__(self, directory: Path, *, is_whole: bool = False) -> None:
        self.mounted = directory / "m"
        self.mounted.mkdir(mode=0o700)
        self.state_dir = self.mounted / "s"
        self.runtime_dir = self.mounted / "r" if is_whole else directory / "r"
        self._errors = directory / "stderr"
        command = [sys.executable, "-m", "dadmsd", "--runtime-dir", str(self.runtime_dir), "--state-dir", str(self.state_dir)]
        mount = f'mount -t tmpfs -o size={SIZE},mode=700 tmpfs "$0" && mkdir -m 700 "$0/s" && exec "$@"'
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, str(self.mounted), *command], stderr=errors
            )
        if is_whole:  # nobody outside sees it under its own name
            self.runtime_dir = Path(f"/proc/{self.process.pid}/root{self.runtime_dir}")

    @property
    def inside(self) -> Path:
        """The state directory as the daemon sees it."""
        return Path(f"/proc/{self.process.pid}/root{self.state_dir}")

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave not a byte on its file system; somebody else's file has them all."""
        ballast = self.inside / "ballast"
        try:
            self.fill()
            yield
        finally:
            ballast.unlink()

    def fill(self) -> None:
        """Take what has become free meanwhile as well."""
        with (self.inside / "ballast").open("ab", buffering=0) as file:
            for size in (PIECE, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass


@contextlib.contextmanager
def roomless(directory: Path, *, is_whole: bool = False) -> Iterator[Roomless]:
    """Run one."""
    demand()
    made = Roomless(directory, is_whole=is_whole)
    try:
        yield made
    finally:
        made.close()
