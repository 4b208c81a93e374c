"""The end of a private daemon whose keeper and kernel died at once: the logger, which lives longest, ends what they left, and removes its groups.

Any other daemon has a next one on its directories, which does this at its start. A kernel that lives does it itself, also one that is stopped and goes on later.
"""

import hashlib
import shutil
import time
from pathlib import Path

LASTS = 5.0  # seconds for everything to die after SIGKILL


def end_what_is_left(runtime_dir: str) -> None:
    """End everything of a private daemon, unless its kernel does."""
    if _kernel_lives(Path(runtime_dir)):
        return
    from dadmsd.kernel import host  # here: no other logger needs them
    from dadmsd.kernel.confine import Confinement

    instance = f"dadms-{hashlib.sha256(runtime_dir.encode()).hexdigest()[:8]}"  # as the kernel names it
    confinement = Confinement(host.detect(instance), memory_limit=0)
    deadline = time.monotonic() + LASTS
    while not confinement.end_all() and time.monotonic() < deadline:
        time.sleep(0.01)  # nobody is left who would tell us
    shutil.rmtree(runtime_dir, ignore_errors=True)


def _kernel_lives(runtime_dir: Path) -> bool:
    try:
        lines = (runtime_dir / "servers").read_text(encoding="ascii").splitlines()
    except OSError:
        return True  # somebody has cleared up already
    from dadmsd.kernel.host.processes import look  # as above

    for name, pid, ticks in (line.split() for line in lines):
        if name == "kernel":
            seen = look(int(pid))
            return seen is not None and seen.start == int(ticks)
    return False
