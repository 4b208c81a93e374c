"""What the host knows about a child: when it started, how it ended, and what it used.

A zombie keeps its exit status and its resource usage until it is reaped, and it is reaped only when the kernel has journaled its exit; so both are read with
WNOWAIT. ``os.waitid`` gives no usage, and a zombie's /proc has its CPU time but no longer its memory: the system call itself fills in a rusage.
"""

import ctypes
import os
from typing import NamedTuple

# waitid(2), by machine; the libc's wrapper of the same name has no rusage.
_WAITID_NUMBERS = {"x86_64": 247, "aarch64": 95, "riscv64": 95}
_NUMBER = _WAITID_NUMBERS.get(os.uname().machine)
_P_PID = 1
_OPTIONS = os.WEXITED | os.WNOWAIT | os.WNOHANG
_TICKS = os.sysconf("SC_CLK_TCK")  # a second
_UTIME = 13  # index of the field in /proc/PID/stat, counted from 0; three more follow: system time, and both of reaped children


class _Usage(ctypes.Structure):
    """struct rusage of getrusage(2), as far as it is used; the kernel writes sixteen longs."""

    _fields_ = (
        ("user_seconds", ctypes.c_long),
        ("user_microseconds", ctypes.c_long),
        ("system_seconds", ctypes.c_long),
        ("system_microseconds", ctypes.c_long),
        ("peak_kb", ctypes.c_long),
        ("rest", ctypes.c_long * 13),
    )


_syscall = ctypes.CDLL(None, use_errno=True).syscall  # each CDLL is a class of its own, which only the collector would free
_siginfo = ctypes.create_string_buffer(128)


class Exit(NamedTuple):
    """How a child ended, and what it and the children that it reaped used."""

    how: int  # si_code of waitid(2): CLD_EXITED, CLD_KILLED, CLD_DUMPED
    status: int  # exit code or signal number
    cpu_seconds: float
    peak_kb: int  # largest resident set, KiB, what it shares with its zygote included; 0 where the machine does not tell


def start_ticks(os_pid: int) -> int:
    """Give field 22 of /proc/PID/stat, clock ticks from boot to start: with the boot id, it names the process for good."""
    return int(_stat(os_pid)[21])


def look_at_exit(os_pid: int) -> Exit | None:
    """Tell how a child ended, without reaping it; None while it runs."""
    info = os.waitid(os.P_PID, os_pid, _OPTIONS)
    if info is None:
        return None
    usage = _Usage()
    if _NUMBER is None or _syscall(_NUMBER, _P_PID, os_pid, _siginfo, _OPTIONS, ctypes.byref(usage)) != 0:
        ticks = sum(int(field) for field in _stat(os_pid)[_UTIME : _UTIME + 4])
        return Exit(info.si_code, info.si_status, ticks / _TICKS, 0)
    cpu_seconds = usage.user_seconds + usage.system_seconds + (usage.user_microseconds + usage.system_microseconds) / 1e6
    return Exit(info.si_code, info.si_status, cpu_seconds, usage.peak_kb)


def _stat(os_pid: int) -> list[bytes]:
    """Give the fields of /proc/PID/stat; the second, the program's name, may hold anything and counts as one.

    Right after a fork every page that a zygote touches is copied, so this touches few: by pathlib it took half a millisecond.
    """
    fd = os.open(f"/proc/{os_pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(fd, 4096)
    finally:
        os.close(fd)
    before, _, after = content.rpartition(b")")
    return [before, b"", *after.split()]
