"""What the options that cap a process come to: the limits that the kernel is asked for, and how strictly.

1. A limit that was asked for holds or the process is refused ("strict"), unless ``--best-effort`` was given, or the daemon is the private one of an ordinary
   user, who has nothing better than rlimits: what they cannot hold is said.
2. A limit that nobody asked for holds where it can, and is said aloud where it cannot: nobody's first run fails for a limit that they have not heard of.
3. The kernel knows one enforcement for all limits of a process. So beside limits that were asked for, a default that the host cannot hold is left out here.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from dadms_ipc.requests import Limits
from dadms_ipc.specs import CPU_TOGETHER_PERCENT, MEMORY_TOGETHER_MB
from dadmsctl.quantities import bytes_text, cores_text

# What a run may use unless it is told otherwise: enough for work, little enough that a model that grows without end is ended before the machine suffers.
DEFAULTS = {"memory": 2 * 1024**3, "worker_memory": 1024**3, "pids": 256}
CONTROLLERS = {
    "memory": "memory",
    "worker_memory": "memory",
    "cpu": "cpu",
    "pids": "pids",
}  # limit -> what has to hold it, for a whole group
STEERED = ("memory_high", "swap", "cpu_weight", "io")  # nobody has one of these who did not ask


class Demand(NamedTuple):
    """What a process is started with, and the defaults that it goes without."""

    limits: Limits
    enforcement: str
    warnings: list[str]


def limits_from(caps: Mapping[str, Any], **defaults: Any) -> Limits:
    """Build Limits from options, naming only what was asked for, so that the kernel's defaults stay the kernel's; ``defaults`` hold where an option was not given."""
    given = {name: value for name, value in caps.items() if value is not None and name in Limits.__struct_fields__}
    return msgspec.convert(defaults | given, Limits)


def requests_from(caps: Mapping[str, Any]) -> dict[str, Any]:
    """Give what is to be reserved, by the fields of ``Spec``, naming only what was asked for."""
    return {name: caps[name] for name in ("memory_request", "cpu_request") if caps.get(name) is not None}


def is_strict(caps: Mapping[str, Any], *, is_own: bool = False) -> bool:
    """Tell whether a limit that the host cannot hold refuses the process: when one was asked for, and not as a mere wish.

    ``is_own``: on the private daemon of an ordinary user.
    """
    return not is_own and not caps.get("best_effort") and any(caps.get(name) is not None for name in (*CONTROLLERS, *STEERED))


def unasked(caps: Mapping[str, Any]) -> dict[str, str]:
    """Give the limits that a run has by default, and that nobody named, as they are shown."""
    return {name: str(value) if name == "pids" else bytes_text(value) for name, value in DEFAULTS.items() if caps.get(name) is None}


def demand(caps: Mapping[str, Any], backend: str, *, is_own: bool = False) -> Demand:
    """Give what a run asks for; ``backend`` is the daemon's name of what holds limits, and matters only where ``is_strict``."""
    if not is_strict(caps, is_own=is_own):
        return Demand(limits_from(caps, **DEFAULTS), "best-effort", [])  # the kernel says what it does not enforce
    held = held_by(backend)
    kept = {name: value for name, value in DEFAULTS.items() if CONTROLLERS[name] in held}
    absent = [name for name in DEFAULTS if name not in kept and caps.get(name) is None]
    texts = [f"{name} = {text}" for name, text in unasked(caps).items() if name in absent]
    warnings = [f"not enforced: {', '.join(texts)}, which a run has by default: limits are held by {backend}"] if texts else []
    return Demand(limits_from(caps, **kept), "strict", warnings)


def beyond_private(caps: Mapping[str, Any], *, cores: int, is_own: bool) -> str:
    """Say which limit is more than all processes of a private daemon may use together, so that none need start to refuse it; "" when none is."""
    memory, cpu = caps.get("memory"), caps.get("cpu")
    if memory is not None and memory > MEMORY_TOGETHER_MB * 1024**2:
        return f"a memory limit of {bytes_text(memory)} asked, all processes together may use {bytes_text(MEMORY_TOGETHER_MB * 1024**2)} (memory_limit_mb)"
    together = cores * CPU_TOGETHER_PERCENT / 100
    if cpu is not None and cpu > together + 1e-9 and is_strict(caps, is_own=is_own):
        return f"{cores_text(cpu)} asked, all processes together may use {together:g} (cpu_limit_percent)"
    return ""


def held_by(backend: str) -> set[str]:
    """Give the controllers that a backend has, by the name that people are shown: ``cgroup v2 (no cpu, no pids)``."""
    if backend.startswith("rlimits"):
        return set()
    return set(CONTROLLERS.values()) - set(re.findall(r"\bno (\w+)", backend))
