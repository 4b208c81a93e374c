"""What steers a group without refusing it anything, and what bounds its reads and writes: a memory mark, swap, a CPU weight, and rates per device.

| | cgroup v2 | cgroup v1 |
|---|---|---|
| ``memory_high`` | memory.high: above it, allocations are slowed down and pages reclaimed | none (the soft limit of v1 acts only when the host runs out) |
| ``swap`` | memory.swap.max | memory.memsw.limit_in_bytes, above the cap on memory |
| ``cpu_weight`` | cpu.weight, 1 to 10000, 100 where none is set | cpu.shares, 1024 where none is set: the same proportion |
| ``io`` | io.max of each device | none (the throttle of v1 does not see buffered writes) |
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from dadms_ipc.errors import HostFailure
from dadms_ipc.requests import IoLimit
from dadmsd.kernel.host.caps import IoCap

WEIGHT = 100  # of a group that has none: cpu.weight of cgroup-v2
SHARES = 1024  # the same in cpu.shares of cgroup-v1
SHARES_LEAST = 2  # the kernel takes no less


def shares(weight: int) -> int:
    """Give cpu.shares for a weight."""
    return max(SHARES_LEAST, round(weight * SHARES / WEIGHT))


def io_caps(asked: Mapping[str, IoLimit]) -> tuple[IoCap, ...]:
    """Find the device of each rate: a block device, its numbers, or a file or directory that is on one. Raises HostFailure."""
    return tuple(
        sorted(IoCap(_device(path), limit.read_bytes, limit.write_bytes, limit.read_ops, limit.write_ops) for path, limit in asked.items())
    )


def _device(path: str) -> str:
    name = path
    if not re.fullmatch(r"\d+:\d+", path):
        try:
            found = Path(path).stat()
        except OSError as error:
            raise HostFailure(f'cannot limit reads and writes of "{path}": {error.strerror}') from error
        number = found.st_rdev if stat.S_ISBLK(found.st_mode) else found.st_dev
        name = f"{os.major(number)}:{os.minor(number)}"
    if not Path("/sys/dev/block", name).exists():
        raise HostFailure(f'cannot limit reads and writes of "{path}": it is on no block device ({name})')
    return name


def io_line(cap: IoCap) -> str:
    """Write a line of io.max."""
    rates = {"rbps": cap.read_bytes, "wbps": cap.write_bytes, "riops": cap.read_ops, "wiops": cap.write_ops}
    return " ".join([cap.device, *(f"{name}={'max' if value is None else value}" for name, value in rates.items())])


def io_held(text: str, device: str) -> str:
    """Give the line of a device in io.max as ``io_line`` writes it; "" when it is not there, which means no limit."""
    for line in text.splitlines():
        name, *rates = line.split()
        if name == device:
            return " ".join([name, *rates])
    return ""


def pressure(text: str | None) -> float | None:
    """Read the share of the last ten seconds, in percent, in which some task waited (PSI, ``some avg10``); None where the host does not measure it."""
    for line in (text or "").splitlines():
        kind, *fields = line.split()
        if kind == "some":
            return float(fields[0].partition("=")[2])
    return None


def swap_total() -> int:
    """Give the bytes of swap that the machine has (proc(5), meminfo)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("SwapTotal:"):
            return int(line.split()[1]) * 1024
    return 0
