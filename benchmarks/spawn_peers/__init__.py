"""The supervisors that ``benchmarks.spawn`` is measured beside: each starts the same children, at one command, in one run with ours.

They come from PyPI and live in a virtual environment of their own under ``~/.cache/dadms``, made at the first run. Each runs as a daemon that knows the group of children
beforehand; the clock runs from the command on its own socket to the last child's hello.
"""

import os
import subprocess
import sys
from pathlib import Path

PACKAGES = ("circus", "supervisor", "setuptools<81")  # the last is what supervisor imports and does not ask for
PATIENCE = 300.0  # seconds for pip


def environment() -> Path | str:
    """Make the environment, once; gives its directory of programs, or the reason why there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "dadms" / f"benchmark-supervisors-{sys.version_info.major}.{sys.version_info.minor}"
    programs = directory / "bin"
    if (programs / "circusd").exists() and (programs / "supervisord").exists():
        return programs
    directory.parent.mkdir(parents=True, exist_ok=True)
    for command in ([sys.executable, "-m", "venv", str(directory)], [str(programs / "python"), "-m", "pip", "install", "-q", *PACKAGES]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return f"pip did not end within {PATIENCE:g} s"
        if done.returncode:
            return done.stderr.strip().splitlines()[-1][:200]
    return programs
