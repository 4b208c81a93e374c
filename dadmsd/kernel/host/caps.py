"""What a group may use and what it uses, in the units that the rest of the kernel speaks: bytes, cores, tasks, seconds.

Rule 1: what is asked is rounded so that nobody gets less: memory up to a whole page, CPU to a microsecond of each period.
Rule 2: a cap is in force only when it was read back. A number that differs from what was written is the host's failure, told with both numbers.
"""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from dadms_ipc.errors import HostFailure

PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes; the kernel counts memory in these
CPU_PERIOD = 100_000  # microseconds: the kernel's default; shorter ones cost more switches, longer ones stall for longer
CPU_LEAST = 0.01  # cores: the kernel takes no quota under 1 ms a period (sched_cfs_bandwidth)
CPU_MOST = 1_000_000  # cores: more are on no machine, and a float that is larger is no quota
NONE: Mapping[str, float] = MappingProxyType({})
CONTROLLERS = ("memory", "cpu", "pids")


STEERED = {
    "memory_high": "memory",
    "swap": "memory",
    "cpu_weight": "cpu",
    "io": "io",
}  # what a backend may steer, and the controller that it needs


class IoCap(NamedTuple):
    """Rates of one block device, a second; None is no limit."""

    device: str  # "8:0"
    read_bytes: int | None
    write_bytes: int | None
    read_ops: int | None
    write_ops: int | None


class Caps(NamedTuple):
    """Caps of one group; None is no cap here (those above still hold)."""

    memory: int | None = None  # bytes; swap is not added to it unless ``swap`` says so
    cpu: float | None = None  # cores
    pids: int | None = None  # tasks: processes and their threads
    memory_high: int | None = None  # bytes above which it is slowed down
    swap: int | None = None  # bytes of swap beside the memory; None: none where memory is capped
    cpu_weight: int | None = None  # against its neighbours, when the CPU is short: 1 to 10000
    io: tuple[IoCap, ...] = ()


class Usage(NamedTuple):
    """What a group and everything below it uses."""

    memory: int  # bytes charged now, page cache included: the number that the cap is compared with
    memory_peak: int  # bytes
    cpu_seconds: float
    pids: int  # tasks of a group with a cap on them, otherwise processes
    oom_kills: int  # victims of the OOM killer in this very group, not below it
    throttled_seconds: float = 0.0  # that its cap on CPU made it wait
    pressure: Mapping[str, float] = NONE  # "cpu", "memory", "io": percent of the last ten seconds in which some task waited for it (PSI)


def page_rounded(size: int) -> int:
    """Round bytes up to whole pages: the kernel would round down and give less than was asked."""
    return -(-size // PAGE) * PAGE


def quota(cores: float) -> int:
    """Give the microseconds of CPU time a period that these cores are."""
    return round(min(cores, CPU_MOST) * CPU_PERIOD)


def same(group: str, file: str, asked: int, found: str) -> int:
    """Give the number that was read back; HostFailure when it is not the one that was written."""
    if found.strip() != str(asked):
        raise HostFailure(f'cannot hold "{group}" to its limit: {file} was set to {asked} and reads {found.strip() or "nothing"}')
    return asked


def cores_text(cores: float) -> str:
    """Show a number of cores."""
    return f"{cores:g} core{'' if cores == 1 else 's'}"


def size_text(size: int) -> str:
    """Write bytes for people: ``64 MiB``, ``1.5 GiB``."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} B"
