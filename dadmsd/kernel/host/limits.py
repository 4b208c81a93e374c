"""Who enforces what: the limits of a process, as caps of its groups and as limits of each of its OS processes.

Rule 1: a cap on the whole tree is the cgroup's alone. Where no cgroup holds it, ``enforcement = "strict"`` refuses the start, and ``"best-effort"`` puts what an
rlimit can do in its place and says what it cannot: RLIMIT_DATA holds each OS process to the memory, not their sum; nothing holds CPU or the number of tasks
(RLIMIT_NPROC counts everything that the user runs, so it is never used).
Rule 2: rlimits are set from outside where the host allows it (prlimit(2): same user, or CAP_SYS_RESOURCE); what it does not allow is returned, for the child to
set on itself before its gate is passed. Hard limits are only ever lowered, and a zygote's not at all: what it forks inherits them and may be granted more.
Rule 3: whoever is cheaper to lose goes first when the host runs out of memory: workers before mains and zygotes before the daemon (``oom_score_adj``).
"""

import os
import resource
from collections.abc import Iterable
from typing import Any, NamedTuple

from dadms_ipc.errors import HostFailure, RequestRefused
from dadms_ipc.requests import Limits
from dadmsd.kernel.host.backend import Backend
from dadmsd.kernel.host.caps import CPU_LEAST, PAGE, STEERED, Caps, cores_text, page_rounded, size_text
from dadmsd.kernel.host.steering import io_caps, io_line
from dadmsd.zygote.messages import Rlimit

WORKER_OOM_SCORE = 500  # thousandths of the machine's memory that are added to what a worker uses, when a victim is chosen
MAIN_OOM_SCORE = 200  # the same for a main and a zygote: after every worker, before the daemon at 0

_ENFORCEMENTS = ("strict", "best-effort")
_LEAST = {"memory": PAGE, "worker_memory": PAGE, "cpu": CPU_LEAST, "pids": 1, "files": 16, "core": 0, "workers": 0}

RLIMIT_MOST = 2**63 - 1  # what prlimit(2) is called with here at most: a C long; a journal may hold more, from a daemon that took it in
_DATA_SLACK = 4 << 20  # bytes a child must be able to add to what it was forked with: less, and it dies before it can say why


class Role(NamedTuple):
    """What a group or a leaf is for, and which of the limits are its own."""

    caps: tuple[tuple[str, str], ...]  # (controller, field of Limits): caps of the group
    data: tuple[str, ...]  # fields of Limits that bound each OS process's memory where no cgroup does; the smallest counts
    oom_score: int | None  # None: as the daemon's
    has_process: bool = True  # False: a group above leaves, with no OS process of its own
    is_inherited: bool = False  # what it is held to must not hold what it forks
    is_steered: bool = False  # memory mark, swap, weight and rates are this group's


_WHOLE = (("memory", "memory"), ("cpu", "cpu"), ("pids", "pids"))
ROLES: dict[str, Role] = {
    "process": Role(_WHOLE, (), None, has_process=False, is_steered=True),  # the group of a process: the cap above all its leaves
    "main": Role((), ("memory",), MAIN_OOM_SCORE),
    "worker": Role((("memory", "worker_memory"),), ("worker_memory", "memory"), WORKER_OOM_SCORE),
    "zygote": Role(_WHOLE, ("memory",), MAIN_OOM_SCORE, is_inherited=True),
    "command": Role((), ("memory",), MAIN_OOM_SCORE),
    "server": Role(_WHOLE, ("memory",), None),  # the bus: capped, and as dear as the daemon itself
}


class Plan(NamedTuple):
    """What is set where, decided before anything exists."""

    caps: Caps  # of the group
    rlimits: tuple[tuple[str, int], ...]  # of each OS process: ("RLIMIT_NOFILE", 1024)
    oom_score: int | None
    warnings: tuple[str, ...]  # what the limits say and nobody enforces
    is_soft: bool = False  # set the soft rlimits only


class Enforced(NamedTuple):
    """What holds, and what does not, in words."""

    limits: dict[str, str]  # name -> "64 MiB by cgroup v1 memory, read back"
    warnings: list[str]
    values: dict[str, Any]  # name -> the same as a number: bytes, cores, or how many


class Applied(NamedTuple):
    """What was set on a process, and what it must set on itself."""

    enforced: Enforced
    left: list[Rlimit]  # for the child's gate; check them with ``read_back`` once it has passed


def check(limits: Limits) -> None:
    """Refuse numbers that no backend can mean."""
    for name, least in _LEAST.items():
        value = getattr(limits, name)
        if value is not None and not value >= least:  # so written that a NaN is refused
            raise RequestRefused(f"cannot hold a process to {name} = {value}: the least is {least:g}")


def plan(limits: Limits, backend: Backend, role: str, *, enforcement: str = "strict") -> Plan:
    """Decide what holds the limits of a group or leaf with this role.

    Raises RequestRefused for numbers without a meaning, HostFailure under "strict" when this host cannot enforce one of them.
    """
    check(limits)
    if enforcement not in _ENFORCEMENTS:
        raise RequestRefused(f'cannot enforce limits "{enforcement}": it is one of {", ".join(_ENFORCEMENTS)}')
    part = ROLES[role]
    caps: dict[str, int | float] = {}
    unheld: list[str] = []
    for controller, field in part.caps:
        value = getattr(limits, field)
        if value is None:
            continue
        if controller in backend.holds:
            caps[controller] = value
        else:
            unheld.append(_unheld(field, value))
    steered: dict[str, Any] = {}
    for field in STEERED if part.is_steered else ():
        value = getattr(limits, field)
        if value and field in backend.steers:
            steered[field] = io_caps(value) if field == "io" else value
        elif value:
            unheld.append(f"{_steered_text(field, value)}: not with this backend")
    if unheld and enforcement == "strict":
        raise HostFailure(f"cannot enforce {'; '.join(unheld)} (limits backend: {backend.name}; {_why(backend)})")
    rlimits: list[tuple[str, int]] = []
    if part.has_process:
        if "memory" not in backend.holds:
            sizes = [size for field in part.data if (size := getattr(limits, field)) is not None]
            rlimits.append(
                ("RLIMIT_DATA", page_rounded(min(sizes)) if sizes else resource.RLIM_INFINITY)
            )  # not what its zygote was held to
        for name, number in (("RLIMIT_NOFILE", limits.files), ("RLIMIT_CORE", limits.core)):
            if number is not None:
                rlimits.append((name, min(number, RLIMIT_MOST)))
    cores = caps.get("cpu")
    integers = {name: int(value) for name, value in caps.items() if name != "cpu"}
    return Plan(
        Caps(memory=integers.get("memory"), cpu=None if cores is None else float(cores), pids=integers.get("pids"), **steered),
        tuple(rlimits),
        part.oom_score,
        tuple(f"not enforced: {text}" for text in unheld),
        part.is_inherited,
    )


def _steered_text(field: str, value: Any) -> str:
    """Write what was asked for people."""
    if field == "io":
        return f"io of {', '.join(value)}"
    return f"{field} = {value if field == 'cpu_weight' else size_text(value)}"


def _unheld(field: str, value: float) -> str:
    """Say of one limit what cannot be done about it."""
    if field == "pids":
        return f"pids = {value}: only a cgroup counts the tasks of one process (RLIMIT_NPROC counts all that the user runs)"
    if field == "cpu":
        return f"cpu = {cores_text(value)}: only a cgroup caps CPU time by the second"
    tree = "a worker and its children" if field == "worker_memory" else "the whole tree"
    return f"{field} = {size_text(int(value))} for {tree}: RLIMIT_DATA holds each OS process to it, not their sum"


def _why(backend: Backend) -> str:
    return "; ".join(backend.reasons) or "no reason was recorded"


def held_caps(caps: Caps, backend: Backend) -> dict[str, str]:
    """Say of caps that were read back who holds them."""
    texts: dict[str, str] = {}
    if caps.memory is not None:
        texts["memory"] = f"{size_text(caps.memory)} by {backend.kind} memory, read back"
    if caps.cpu is not None:
        texts["cpu"] = f"{cores_text(caps.cpu)} by {backend.kind} cpu, read back"
    if caps.pids is not None:
        texts["pids"] = f"{caps.pids} by {backend.kind} pids, read back"
    for field, controller in STEERED.items():
        value = getattr(caps, field)
        if value:
            words = "; ".join(map(io_line, value)) if field == "io" else size_text(value) if field != "cpu_weight" else str(value)
            texts[field] = f"{words} by {backend.kind} {controller}, read back"
    return texts


def held_values(caps: Caps) -> dict[str, Any]:
    """Give caps that were read back as numbers, by the same names; rates by device."""
    values: dict[str, Any] = {name: value for name in ("memory", "cpu", "pids") if (value := getattr(caps, name)) is not None}
    for field in STEERED:
        value = getattr(caps, field)
        if value:
            values[field] = (
                {cap.device: {rate: number for rate, number in cap._asdict().items() if isinstance(number, int)} for cap in value}
                if field == "io"
                else value
            )
    return values


def apply(plan: Plan, pid: int) -> Applied:
    """Set what is set on one OS process from outside: its rlimits, and its place in the order of the OOM killer."""
    left: list[Rlimit] = []
    texts: dict[str, str] = {}
    values: dict[str, Any] = {}
    warnings = list(plan.warnings)
    for name, value in plan.rlimits:
        if name == "RLIMIT_DATA" and value != resource.RLIM_INFINITY:
            _check_room(pid, value)
        number = getattr(resource, name)
        try:
            _, hard = resource.prlimit(pid, number)
            least = _least(value, hard)
            wanted = (least, hard if plan.is_soft else least)
            resource.prlimit(pid, number, wanted)
            found = resource.prlimit(pid, number)
        except PermissionError:  # another user's process, and no CAP_SYS_RESOURCE
            found = rlimits_of(pid)[name]
            least = _least(value, found[1])
            if found != (least, least):  # a sibling may have inherited it
                left.append(Rlimit(name, least))
                continue
            wanted = found
        except (ValueError, OverflowError, OSError) as error:
            raise HostFailure(f"cannot set {name} of process {pid} to {value}: {error}") from error
        if found != wanted:
            raise HostFailure(f"cannot set {name} of process {pid} to {value}: it reads {found[0]} and {found[1]}")
        if value != resource.RLIM_INFINITY:
            texts[_FIELDS[name]] = _held_rlimit(name, value, least, warnings)
            values[_FIELDS[name]] = least
    if plan.oom_score is not None:
        _set_oom_score(pid, plan.oom_score, warnings)
    return Applied(Enforced(texts, warnings, values), left)


def read_back(pid: int, left: Iterable[Rlimit]) -> Enforced:
    """Read from /proc what a child has set on itself; HostFailure when one of them is not in force."""
    texts: dict[str, str] = {}
    values: dict[str, Any] = {}
    warnings: list[str] = []
    found = rlimits_of(pid)
    for limit in left:
        soft, hard = found[limit.resource]
        if limit.value == resource.RLIM_INFINITY:
            continue
        if resource.RLIM_INFINITY in (soft, hard) or max(soft, hard) > limit.value:
            raise HostFailure(
                f"cannot open the gate of process {pid}: {limit.resource} was to be {limit.value} and reads {_shown(soft)} and {_shown(hard)}"
            )
        texts[_FIELDS[limit.resource]] = _held_rlimit(limit.resource, limit.value, hard, warnings)
        values[_FIELDS[limit.resource]] = hard
    return Enforced(texts, warnings, values)


def _least(asked: int, hard: int) -> int:
    """Give the lower of two limits; infinity is -1 to the kernel."""
    if resource.RLIM_INFINITY in (asked, hard):
        return max(asked, hard)
    return min(asked, hard)


def _shown(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def _held_rlimit(name: str, asked: int, found: int, warnings: list[str]) -> str:
    as_text = size_text if name in ("RLIMIT_DATA", "RLIMIT_CORE") else str
    if found < asked:
        warnings.append(
            f"{name} is {as_text(found)}, not the {as_text(asked)} that were asked: that is its hard limit, which is only ever lowered"
        )
    each = " for each OS process, not the tree" if name == "RLIMIT_DATA" else ""
    return f"{as_text(found)} by {name}{each}, read back"


_FIELDS = {"RLIMIT_DATA": "memory", "RLIMIT_NOFILE": "files", "RLIMIT_CORE": "core"}  # what people call them: the fields of Limits
_PROC_NAMES = {  # /proc/PID/limits: the name in front of the numbers
    "RLIMIT_DATA": "Max data size",
    "RLIMIT_NOFILE": "Max open files",
    "RLIMIT_CORE": "Max core file size",
}


def rlimits_of(pid: int) -> dict[str, tuple[int, int]]:
    """Read the rlimits that are set here, soft and hard, from /proc/PID/limits, which anybody may: prlimit(2) asks for more rights even to read."""
    found: dict[str, tuple[int, int]] = {}
    lines = _proc(pid, "limits").splitlines()
    for name, label in _PROC_NAMES.items():
        for line in lines:
            if line.startswith(label):
                soft, hard = (resource.RLIM_INFINITY if word == "unlimited" else int(word) for word in line[len(label) :].split()[:2])
                found[name] = (soft, hard)
    return found


def _check_room(pid: int, value: int) -> None:
    """Refuse a limit on data that the process is over before it has begun; the kernel would take it, and every allocation would fail."""
    for line in _proc(pid, "status").splitlines():
        if line.startswith("VmData:"):
            held = int(line.split()[1]) * 1024
            if value < held + _DATA_SLACK:
                least = f"it holds {size_text(held)} before it begins, and needs {size_text(_DATA_SLACK)} more"
                raise HostFailure(f"cannot hold process {pid} to {size_text(value)} by RLIMIT_DATA: {least}")


def _set_oom_score(pid: int, wanted: int, warnings: list[str]) -> None:
    """Raise a process's place in the order of victims; lowering it would need CAP_SYS_RESOURCE, and is never asked for."""
    value = wanted
    try:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        try:
            value = max(wanted, int(os.pread(fd, 64, 0)))
            os.write(fd, str(value).encode())
            found = int(os.pread(fd, 64, 0))
        finally:
            os.close(fd)
    except OSError as error:
        warnings.append(f"not enforced: oom_score_adj of process {pid} is not {value}: {error.strerror}")
        return
    if found != value:
        warnings.append(f"not enforced: oom_score_adj of process {pid} is {found}, not {value}")


def _proc(pid: int, name: str) -> str:
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 16384).decode()
        finally:
            os.close(fd)
    except OSError as error:
        raise HostFailure(f"cannot read {name} of process {pid}: {error.strerror}") from error
