"""Who waits for whom: a process starts when what it depends on is ready, and ends before it.

1. ``requires``: each name needs a process that is there: ready, as readiness.py says it, or, of a tool that says nothing about that, completed. ``after``: a name under which
   somebody is about to be there is waited for; one that nobody has, or that has ended, is not.
2. A circle of names is refused where it would close, with the names in it.
3. Of processes that are ended together, each ends after those that depend on it; where nothing orders them, all at once. Each has a deadline, so nobody waits for ever.
4. When what a process requires has ended, it ends too, and waits to run again.
"""

from collections.abc import Iterable, Mapping

from dadms_ipc.requests import Spec
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.state import State

HAS_TREE = frozenset({"starting", "running", "stopping"})  # statuses in which something of it lives


def named(state: State, name: str) -> list[Process]:
    """Give the processes of the table that have a name, the newest last."""
    return [process for process in state.processes.values() if process.spec.name == name]


def is_there(process: Process) -> bool:
    """Tell whether what depends on a process may start; a program that merely runs has done nothing yet that another could build on."""
    is_up = (
        process.status == "running" and process.desired == "up"
    )  # one that is to end, and waits for others to end before it, is not to be built on
    if process.spec.kind == "tool":
        return process.status == "completed" or (is_up and process.spec.ready in ("notify", "exec"))
    return is_up


def unmet(state: State, process: Process) -> list[str]:
    """Say what a process waits for, a sentence each; empty when it may start."""
    found = []
    for name in process.spec.requires:
        same = [each for each in named(state, name) if each.pid != process.pid]
        if not same:
            found.append(f'requires "{name}", and there is no such process')
        elif not any(is_there(each) for each in same):
            found.append(f'requires "{name}" ({same[-1].pid}), which is {same[-1].status}')
    for name in process.spec.after:
        coming = [
            each
            for each in named(state, name)
            if each.pid != process.pid and each.status not in ENDED and each.desired != "down" and not is_there(each)
        ]
        if coming and name not in process.spec.requires:
            found.append(f'starts after "{name}" ({coming[0].pid}), which is {coming[0].status}')
    return found


def holders(state: State, process: Process) -> list[Process]:
    """Give those whose end a process's end has to wait for: they depend on it, and are being ended as well."""
    name = process.spec.name
    return [
        each
        for each in _ordered(state)
        if each.pid != process.pid
        and each.desired != "up"
        and each.status in HAS_TREE
        and (name in each.spec.requires or name in each.spec.after)
    ]


def note(state: State, process: Process) -> None:
    """Remember that a process depends on others, if it does: most do not, and are not looked at when others end."""
    if process.spec.requires or process.spec.after:
        state.ordered[process.pid] = None
    else:
        state.ordered.pop(process.pid, None)


def _ordered(state: State) -> list[Process]:
    """Give the processes of the table that depend on others."""
    return [state.processes[pid] for pid in state.ordered]


def dependents(state: State, process: Process) -> list[Process]:
    """Give those that live and require a process, directly or through others, the furthest first."""
    found: dict[int, Process] = {}
    names = [process.spec.name]
    while names:
        name = names.pop()
        for each in _ordered(state):
            if name in each.spec.requires and each.status not in ENDED and each.pid != process.pid and each.pid not in found:
                found[each.pid] = each
                names.append(each.spec.name)
    return list(reversed(found.values()))


def circle(spec: Spec, others: Mapping[str, Iterable[str]]) -> list[str]:
    """Give the names of the circle that a specification would close, first and last the same; empty when it closes none."""
    way: list[str] = []
    seen: set[str] = set()

    def walk(name: str) -> bool:
        way.append(name)
        if name == spec.name and len(way) > 1:
            return True
        if name not in seen:
            seen.add(name)
            below = [*spec.requires, *spec.after] if name == spec.name else others.get(name, ())
            if any(walk(each) for each in below):
                return True
        way.pop()
        return False

    return way if walk(spec.name) else []


def edges(state: State) -> dict[str, list[str]]:
    """Give what each name of the living depends on."""
    found: dict[str, list[str]] = {}
    for process in _ordered(state):
        if process.status in ENDED:
            continue
        found.setdefault(process.spec.name, []).extend([*process.spec.requires, *process.spec.after])
    return found


def flaw(state: State, spec: Spec) -> str:
    """Say why a process with these dependencies cannot be; "" when it can."""
    if not spec.requires and not spec.after:
        return ""
    found = circle(spec, edges(state))
    if found:
        return f"its dependencies go in a circle: {' → '.join(found)}"
    missing = next((name for name in spec.requires if not named(state, name)), None)
    return f'it requires "{missing}", and there is no process of that name' if missing is not None else ""
