"""What all processes together have on disk, and who gets no more: artifacts, logs and working directories against ``disk_limit_mb``.

1. The shell measures, in a thread of its own, when somebody asks for room and the last measurement is older than STALE, and after it removed something; nothing looks at intervals. In between, what
   was granted since the measurement began counts as written.
2. Beyond the limit no process is started and no artifact is written. Work that runs goes on: what it writes itself is counted, and not held up.
3. A refusal has the numbers and how old they are, and has the disk measured again, so that who makes room and asks again is heard.
"""

from dadms_ipc.port import Room
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.context import Refused
from dadmsd.kernel.core.ledger import size_text
from dadmsd.kernel.core.state import State

STALE = 5.0  # seconds that a measurement serves


def look(state: State, *, now: bool = False) -> None:
    """Have the disk measured, unless that was done lately or is being done; ``now``: however lately."""
    disk = state.disk
    if not disk.is_looking and (now or disk.looked_at is None or state.now - disk.looked_at >= STALE):
        disk.is_looking = True
        disk.granted_since = 0
        state.do(effects.MeasureDisk())


def on_measured(state: State, event: events.DiskMeasured) -> None:
    """The shell has counted what there is."""
    disk = state.disk
    disk.is_looking = False
    disk.looked_at = state.now
    disk.measured = event.size
    disk.granted = disk.granted_since


def on_cleared(state: State, _event: events.DiskCleared) -> None:
    """There is more room than at the last look: nobody is to be refused for what is gone."""
    look(state, now=True)


def refusal(state: State, what: str, size: int = 0) -> str:
    """Say why something that takes so many bytes may not be done; "" when it may."""
    disk = state.disk
    used = disk.measured + disk.granted
    if used + size <= disk.limit and (size or used < disk.limit):
        look(state)
        return ""
    age = state.now - disk.looked_at if disk.looked_at is not None else 0.0
    look(state, now=True)
    more = f", and this takes {size_text(size)}" if size else ""
    return (
        f"cannot {what}: artifacts, logs and working directories have {size_text(used)} (looked at {age:.1f} s ago){more}, "
        f"at most {size_text(disk.limit)} (disk_limit_mb)"
    )


def reserve(state: State, size: int) -> Room:
    """Grant room for an artifact. Raises Refused."""
    if size < 0:
        raise Refused(f"cannot keep an artifact of {size} bytes")
    why = refusal(state, "keep an artifact", size) if size else ""
    if why:
        raise Refused(why)
    disk = state.disk
    disk.granted += size
    disk.granted_since += size
    return Room(disk.measured + disk.granted, disk.limit)
