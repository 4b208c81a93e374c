"""Who waits for whom: a process starts when what it depends on is ready, and ends before it.

1. ``requires``: each name needs a process that is there: ready, as readiness.py says it, or, of a tool that says nothing about that, completed. ``after``: a name under which
   somebody is about to be there is waited for; one that nobody has, or that has ended, is not.
   Whose next incarnation begins in this turn, as that of everybody does under a new daemon, is not there and is about to be, however it ended before.
2. A circle of names is refused where it would close, with the names in it.
3. Of processes that are ended together, each ends after those that depend on it; where nothing orders them, all at once. Each has a deadline, so nobody waits for ever.
4. When what a process requires has ended, it ends too, and waits to run again.
5. Who waits for what failed or was ended, itself or through others, is stuck: nothing comes by itself. It waits on, as somebody may start that again, and is told with the command for it.
"""

from collections.abc import Iterable, Iterator, Mapping

from dadms_ipc.requests import Spec
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.lives import HAS_ENDED
from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.state import Root, State

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


def may_start(state: State, process: Process) -> bool:
    """Tell whether a process waits for nothing."""
    return next(_lacking(state, process), None) is None and next(_coming(state, process), None) is None


def unmet(state: State, process: Process) -> list[str]:
    """Say what a process waits for, a sentence each; empty when it may start."""
    found = []
    for name, same in _lacking(state, process):
        which = f'requires "{name}" ({same[-1].pid}), which {_standing(state, same[-1])}' if same else ""
        found.append(which or f'requires "{name}", and there is no such process')
    found += [
        f'starts after "{each.spec.name}" ({each.pid}), which is {"about to start" if each.pid in state.starting else each.status}'
        for each in _coming(state, process)
    ]
    return found


def _lacking(state: State, process: Process) -> Iterator[tuple[str, list[Process]]]:
    """Give what a process requires and is not there: the name, and who has it."""
    for name in process.spec.requires:
        same = [each for each in named(state, name) if each.pid != process.pid]
        if not any(is_there(each) and each.pid not in state.starting for each in same):
            yield name, same


def _coming(state: State, process: Process) -> Iterator[Process]:
    """Give whom a process is to start after, and who is about to be there."""
    for name in process.spec.after:
        if name not in process.spec.requires:
            coming = [
                each
                for each in named(state, name)
                if each.pid != process.pid
                and (each.pid in state.starting or (each.status not in ENDED and each.desired != "down" and not is_there(each)))
            ]
            yield from coming[:1]


def _standing(state: State, process: Process) -> str:
    """Say how one that is required stands; where it is stuck, what that comes from."""
    if process.pid in state.starting:
        return "is about to start"
    if process.status in ENDED:
        why = process.reason or process.cause
        return (
            f"{HAS_ENDED[process.status]}{f' ({why})' if why else ''}, and comes back when somebody starts it: dadmsctl start {process.pid}"
        )
    root = stuck_on(state, process)
    if root is None:
        return f"is {process.status}"
    name, dead = root
    return f"is {process.status} for " + (
        f'"{name}" ({dead.pid}), which {_standing(state, dead)}' if dead is not None else f'"{name}", and there is no such process'
    )


def stuck_on(state: State, process: Process) -> Root | None:
    """Give the one that has ended, or the name that nobody has, on which a process is stuck (rule 5); None when it is not."""
    if process.status != "waiting":
        return None
    known: dict[int, Root | None]  # each is looked at once, however many ways lead there, and whoever asks
    known = state.roots if state.roots is not None else {}
    state.roots = known
    if process.pid in known:
        return known[process.pid]
    names: dict[str, list[Process]] = {}
    for each in state.processes.values():
        names.setdefault(each.spec.name, []).append(each)
    way = [process]  # no recursion: a chain of thousands is allowed
    while way:
        one = way[-1]
        known.setdefault(one.pid, None)  # on the way: who comes back to it finds no reason there
        root, beyond = None, None
        for name in one.spec.requires:
            root, beyond = _look(name, [each for each in names.get(name, ()) if each.pid != one.pid], known)
            if root is not None or beyond is not None:
                break
        if beyond is not None:
            way.append(beyond)
        else:
            known[one.pid] = root
            way.pop()
    return known[process.pid]


def _look(name: str, same: list[Process], known: Mapping[int, Root | None]) -> tuple[Root | None, Process | None]:
    """Give what a name is stuck on, as far as it is known, else whom to look at first."""
    root = Root(name, None)
    for each in same:
        if each.status in ENDED and not is_there(each):
            root = Root(name, each)
        elif each.status != "waiting":
            return None, None
        elif each.pid not in known:
            return None, each
        else:
            found = known[each.pid]
            if found is None:
                return None, None
            root = found
    return root, None


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
    by_name: dict[
        str, list[Process]
    ] = {}  # who requires it: to look through all of them for each name of a chain would take the square of it
    for each in _ordered(state):
        if each.status not in ENDED and each.pid != process.pid:
            for name in each.spec.requires:
                by_name.setdefault(name, []).append(each)
    found: dict[int, Process] = {}
    names = [process.spec.name]
    while names:
        for each in by_name.get(names.pop(), ()):
            if each.pid not in found:
                found[each.pid] = each
                names.append(each.spec.name)
    return list(reversed(found.values()))


def circle(spec: Spec, others: Mapping[str, Iterable[str]]) -> list[str]:
    """Give the names of the circle that a specification would close, first and last the same; empty when it closes none."""
    way = [spec.name]
    left = [
        iter((*spec.requires, *spec.after))
    ]  # of each name of the way, those that were not walked yet; no recursion: a chain of thousands is allowed
    seen: set[str] = set()
    while left:
        name = next(left[-1], None)
        if name is None:
            left.pop()
            way.pop()
        elif name == spec.name:
            return [*way, name]
        elif name not in seen:
            seen.add(name)
            way.append(name)
            left.append(iter(others.get(name, ())))
    return []


def suspects(edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Give the names that may be in a circle: those that cannot be put in an order, each after what it depends on. To walk the ways of each would take the square of them."""
    open_of: dict[str, int] = {}
    dependent: dict[str, list[str]] = {}
    for name, others in edges.items():
        mine = {other for other in others if other in edges}
        open_of[name] = len(mine)
        for other in mine:
            dependent.setdefault(other, []).append(name)
    ready = [name for name, count in open_of.items() if not count]
    while ready:
        name = ready.pop()
        del open_of[name]
        for each in dependent.get(name, ()):
            open_of[each] -= 1
            if not open_of[each]:
                ready.append(each)
    return set(open_of)


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
    is_awaited = any(spec.name in each.spec.requires or spec.name in each.spec.after for each in _ordered(state))
    found = circle(spec, edges(state)) if is_awaited or spec.name in (*spec.requires, *spec.after) else []
    if found:
        return f"its dependencies go in a circle: {' → '.join(found)}"
    missing = next((name for name in spec.requires if not named(state, name)), None)
    return f'it requires "{missing}", and there is no process of that name' if missing is not None else ""
