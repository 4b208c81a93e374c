"""Between what every number of a specification must lie, and what every text of one must be free of: whoever asks, in a request or in a file.

1. BOUNDS has every field of ``Spec`` and ``Limits`` that is a number, and RATE the rates of a device; a test compares them with the fields there are.
2. What is longer, larger or more than any host can mean is refused here: the calls that take such numbers (poll, prlimit, a file of a cgroup) take no larger ones.
3. A text ends in a call of the OS, a file's name or a log: none may hold a null byte, or be what UTF-8 cannot say.
4. What a journal may hold of an older daemon is not asked again: whoever converts a number for the OS cuts it to what the OS takes.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from dadms_ipc.requests import Spec
from dadmsd.kernel.core.ledger import MEBIBYTE, size_text

SECONDS_MOST = 30 * 24 * 3600  # thirty days, as for the configuration and the command line: longer is a unit mistaken
BYTES_MOST = 1024**5  # 1 PiB, as for the configuration
CORES_MOST = 1_000_000
LEAST_MEMORY = 8 * MEBIBYTE  # below it an interpreter does not fork
LEAST_ORCHESTRATOR_MEMORY = 20 * MEBIBYTE  # main, a worker and what they import: with 18 MiB an empty model ends out of memory
LEAST_PIDS = 2
LEAST_ORCHESTRATOR_PIDS = 6  # fork server, main with its two threads for messages, worker, and one to spare: with 5 no worker comes up
MOST_PIDS = 4_194_304  # PID_MAX_LIMIT of Linux: more tasks than that are on no machine, and no pids.max takes the number
MOST_FILES = 2_147_483_584  # what fs.nr_open can be at most
MOST_WEIGHT = 10_000  # cpu.weight of cgroup-v2
MOST_WORKERS = 256
COUNT_MOST = 2**63 - 1  # of threads and processes: the daemon counts them with as many bits
ID_MOST = 2**32 - 2  # of users and groups; the number above it means none


class Bound(NamedTuple):
    """The least and the most that a number can be."""

    least: float
    most: float
    unit: str = ""  # "bytes" are shown as people write them
    is_range: bool = False  # both ends are told of either mistake


def _times(least: float, *names: str) -> dict[str, Bound]:
    return dict.fromkeys(names, Bound(least, SECONDS_MOST, "s"))


SHARE = Bound(0.0, 1.0, is_range=True)  # a part of something else
ID = Bound(0, ID_MOST, is_range=True)
RATE = Bound(1, BYTES_MOST)  # bytes or operations of a device, a second
LIMITS: dict[str, Bound] = {
    "memory": Bound(LEAST_MEMORY, BYTES_MOST, "bytes"),
    "worker_memory": Bound(LEAST_MEMORY, BYTES_MOST, "bytes"),
    "memory_high": Bound(LEAST_MEMORY, BYTES_MOST, "bytes"),
    "swap": Bound(0, BYTES_MOST, "bytes"),
    "core": Bound(0, BYTES_MOST, "bytes"),
    "cpu": Bound(0.01, CORES_MOST, "cores"),
    "pids": Bound(LEAST_PIDS, MOST_PIDS, "tasks, more are on no Linux (kernel.pid_max)"),
    "files": Bound(16, MOST_FILES),
    "workers": Bound(1, MOST_WORKERS, "a process"),
    "cpu_weight": Bound(1, MOST_WEIGHT),
}
CHANGED: dict[str, Bound] = {  # of the specification itself, that change as limits do
    "memory_request": Bound(0, BYTES_MOST, "bytes"),
    "cpu_request": Bound(0.0, CORES_MOST, "cores"),
    "nice": Bound(-20, 19, is_range=True),
}
BOUNDS: dict[str, Bound] = {
    **CHANGED,
    **_times(0.0, "stop_timeout", "backoff_reset", "run_timeout"),
    **_times(0.001, "thread_timeout", "ready_timeout", "recycle_seconds", "start_limit_seconds"),
    **_times(0.01, "backoff", "backoff_most", "ready_interval", "live_interval", "probe_timeout", "watchdog"),
    **_times(0.1, "max_age"),
    "backoff_jitter": SHARE,
    "max_age_jitter": SHARE,
    "start_limit": Bound(0, 1000, is_range=True),
    "live_threshold": Bound(1, 1000, is_range=True),
    "recycle_threads": Bound(1, COUNT_MOST),
    "weight": Bound(0.01, 1_000_000),
    "umask": Bound(0, 0o777, is_range=True),
    "stop_signal": Bound(1, 64, is_range=True),
    "uid": ID,
    "gid": ID,
    "parent": Bound(0, COUNT_MOST),
}
_OF_ORCHESTRATORS = {"memory": LEAST_ORCHESTRATOR_MEMORY, "pids": LEAST_ORCHESTRATOR_PIDS}
# In the order of the fields; what is the orchestrator's business alone (``config``) is no text of ours.
TEXTS = (
    "name", "orchestrator", "handlers", "enforcement", "group", "environment", "kind", "command", "directory", "restart", "ready", "ready_command", "live_command",
    "after", "requires", "escalate",
)  # fmt: skip


def beyond(name: str, value: float, bound: Bound) -> str:
    """Say how a number is beyond its bound; "" when it is not."""
    if bound.least <= value <= bound.most:  # so written that a NaN is refused
        return ""
    shown, least, most = (size_text(int(each)) if bound.unit == "bytes" else each for each in (value, bound.least, bound.most))
    if bound.is_range:
        return f"{name} is {shown}, it can be from {_plain(least)} to {_plain(most)}"
    if value > bound.most:
        most, unit = (BYTES_MOST >> 40, "TiB") if bound.unit == "bytes" else (bound.most, bound.unit)
        return f"{name} = {value}: the most is {most} {unit}".rstrip()
    return f"{name} is {shown}, at least {_plain(least)} is needed"


def _plain(bound: float | str) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def text_flaws(spec: Spec) -> Iterator[tuple[str, str]]:
    """Give every text of a specification that no call takes, each with its field."""
    for name in TEXTS:
        if why := text_flaw(name, getattr(spec, name)):
            yield name, why
    if why := text_flaw("io", spec.limits.io):
        yield "io", why


def number_flaws(spec: Spec) -> Iterator[tuple[str, str]]:
    """Give every number of a specification that no host can mean, each with its field."""
    for name, bound in BOUNDS.items():
        value = getattr(spec, name)
        least = spec.backoff if name == "backoff_most" and bound.least < spec.backoff <= bound.most else bound.least
        if value is not None and not least <= value <= bound.most:  # so written that a NaN is refused
            yield name, beyond(name, value, bound._replace(least=least))
    yield from _limits_flaws(spec)


def changed_flaws(spec: Spec) -> Iterator[tuple[str, str]]:
    """Give what is wrong with what can be changed under a running process as limits are."""
    if why := text_flaw("io", spec.limits.io):
        yield "io", why
    for name, bound in CHANGED.items():
        if why := beyond(name, getattr(spec, name), bound):
            yield name, why
    yield from _limits_flaws(spec)


def _limits_flaws(spec: Spec) -> Iterator[tuple[str, str]]:
    """Give what is wrong with limits, each with its field."""
    is_orchestrator = spec.kind == "orchestrator"
    for name, bound in LIMITS.items():
        value = getattr(spec.limits, name)
        least = _OF_ORCHESTRATORS.get(name, bound.least) if is_orchestrator else bound.least
        if value is not None and not least <= value <= bound.most:
            yield (
                name,
                beyond(name, value, bound._replace(least=least))
                + (" by an orchestrator and its worker" if value < least > bound.least else ""),
            )
    for path, rates in spec.limits.io.items():
        for name, rate in msgspec.structs.asdict(rates).items():
            if rate is not None and (why := beyond(f"{name} of {path}", rate, RATE)):
                yield "io", why


def text_flaw(name: str, value: Any) -> str:
    """Say what no call of the OS takes in a text, or in one of several; "" when nothing."""
    for text in _texts(value):
        if "\0" in text:
            return f"a null byte is in its {name}"
        if not text.isascii() and not _is_sayable(text):
            return f"its {name} has half of a character (a lone surrogate), which UTF-8 cannot say"
    return ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(key)
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _is_sayable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
