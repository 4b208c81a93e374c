"""What a zygote does when its control channel has closed: keeper and kernel are both gone, for the keeper holds an end of it while kernels come and go.

Nobody is left who knows what was forked here, or could end it, so it is ended now: the children, everything in their sessions, and everything that descends from them. What a child started in a
session of its own and left behind is found by nothing but a cgroup.
"""

import contextlib
import os
import signal
import time
from collections.abc import Mapping

SECONDS = 1.0  # that they have to be gone once they were sent SIGKILL


def end_family(leaders: Mapping[int, int]) -> None:
    """End the children of this process, given as pid to start time, with all that is theirs; the dead are reaped, for who waits for their end may look for zombies."""
    from dadmsd.kernel.host.processes import all_processes, family, send  # not before there is need: a zygote's pages are every child's

    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        members = {pid: seen for pid, seen in family(all_processes(), {}, dict(leaders)).items() if pid != os.getpid()}
        if not members:
            return
        with contextlib.suppress(PermissionError):  # it runs as another user, whom this one may not signal
            send(members.values(), signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.005)  # grandchildren are nobody's here: their end tells nobody
