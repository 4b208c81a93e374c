"""What definitions ask for against what there is: which processes start, change, restart or end, and nothing else.

1. A definition is known by its name. What says the same as when it was last read stays untouched, with what was changed on the process meanwhile; what can be changed under a running process is; the rest restarts it.
2. What is defined no more, or not enabled, ends. A file with a mistake neither ends nor changes what it defined before.
3. What somebody stopped stays stopped, also when its definition changes, until somebody starts it.
4. One that cannot be admitted, or not be changed to what is asked, is told with file and line, stays as it is, and the others are.
5. What is only to be said is reckoned on a copy of the ledger, so that room which there is for one of two is promised to one of them.
"""

from collections.abc import Collection, Mapping

import msgspec

from dadms_ipc.requests import ChangeInfo, ReloadReport, Spec
from dadmsd.kernel.core import dependencies, limiting
from dadmsd.kernel.core.admission import admit, flaws_here, no_room, refusal, unsound
from dadmsd.kernel.core.ending import forget, stop, stop_dependents
from dadmsd.kernel.core.ledger import Grant, Ledger
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.state import State


class Definition(msgspec.Struct, frozen=True):
    """A process as a file has it."""

    name: str
    file: str
    spec: Spec
    is_enabled: bool = True
    lines: dict[str, int] = {}  # of the fields of its specification and limits in the file, from 1; "" is where it begins
    lacks: dict[str, str] = {}  # field of a command -> why its program cannot be run on this host, as far as that is known


class Reading(msgspec.Struct, frozen=True):
    """What a directory holds."""

    definitions: list[Definition] = []
    mistakes: list[str] = []  # a sentence each, with file and line
    bad_files: list[str] = []  # that have one: what they defined before stays as it is
    bad_names: dict[str, str] = {}  # that such files would define, as far as they can be read -> what is wrong with the file
    is_whole: bool = True  # whether it is all that the directory holds; if not, nothing ends for not being in it


# What the next decision about a process reads anew; every other field is a fact of its incarnation.
IN_PLACE = frozenset(
    {
        "restart", "success_codes", "restart_codes", "final_codes", "backoff", "backoff_most", "backoff_jitter", "backoff_reset", "start_limit", "start_limit_seconds",
        "escalate", "stop_timeout", "group", "after", "requires", "live_command", "live_interval", "live_threshold", "probe_timeout", "max_age", "max_age_jitter",
        "ready_interval", "ready_timeout", "thread_timeout", "recycle_threads", "recycle_seconds", "run_timeout",
    }
)  # fmt: skip


REQUESTS = ("memory_request", "cpu_request")
LIVE = frozenset({"limits", "nice", *REQUESTS})  # the host and the ledger are asked for these


def differing(old: Spec, new: Spec) -> list[str]:
    """Name the fields in which two specifications differ."""
    return [name for name in Spec.__struct_fields__ if getattr(old, name) != getattr(new, name)]


def said(process: Process) -> Spec:
    """Give what the definition of a process said when it was last obeyed; a journal from before that was kept has what the process is."""
    return process.defined or process.spec


def apply(state: State, reading: Reading, directory: str, *, is_dry: bool = False) -> ReloadReport:
    """Bring about what the definitions ask for, or only say what would be."""
    refused: dict[str, str] = {}  # name -> why, with file and line
    changes: list[ChangeInfo] = []
    room = state.ledger.copy() if is_dry else state.ledger
    bad_files = set(reading.bad_files)
    others = {each.name: [*each.spec.requires, *each.spec.after] for each in reading.definitions if each.is_enabled}
    doubtful = dependencies.suspects(others)
    known = {process.spec.name: process for process in state.processes.values() if process.definition}
    wanted = {each.name: each for each in reading.definitions if each.is_enabled}
    for name, process in known.items():
        definition = wanted.get(name)
        if (
            definition is not None
            and definition.spec != said(process)
            and name in doubtful
            and (way := dependencies.circle(definition.spec, others))
        ):
            refused[name] = f'{place(definition, way[1])}: cannot change "{name}": its dependencies go in a circle: {" → ".join(way)}'
        elif (
            definition is not None
            and definition.spec != said(process)
            and (mistake := _mistake(state, definition, "change") or _orphaned(state, definition, wanted))
        ):
            refused[name] = mistake
        elif definition is not None:
            found = _change(state, process, definition, refused, room, is_dry=is_dry)
            changes += [found] if found is not None else []
        elif reading.is_whole and process.definition not in bad_files:
            changes.append(ChangeInfo(name, process.pid, "end", []))
            if not is_dry:
                _end(state, process)
    fresh = [each for name, each in wanted.items() if name not in known]
    for definition in _ordered(state, fresh, refused):
        if mistake := _mistake(state, definition, "start"):
            refused[definition.name] = mistake
            continue
        pid = _start(state, definition, refused, room, is_dry=is_dry)
        if pid is not None:
            changes.append(ChangeInfo(definition.name, pid, "start", []))
    idle = {each.name: f"{place_of(each, 'enabled')}: it is not enabled" for each in reading.definitions if not each.is_enabled}
    absent = {name: why for name, why in {**reading.bad_names, **idle, **refused}.items() if name not in known}
    return ReloadReport(directory, changes, [*reading.mistakes, *refused.values()], absent, _namesakes(state, wanted, refused))


def _namesakes(state: State, wanted: Mapping[str, Definition], refused: Collection[str]) -> list[str]:
    """Say which definitions have the name of a process that somebody spawned and that lives: what is done to that name is done to both."""
    return [
        f'{place_of(wanted[name], "name")}: process {process.pid} has the name "{name}" as well, and no file defines it: there are two of one name'
        for process in state.processes.values()
        if not process.definition and process.status not in ENDED and (name := process.spec.name) in wanted and name not in refused
    ]


def _change(
    state: State, process: Process, definition: Definition, refused: dict[str, str], room: Ledger, *, is_dry: bool
) -> ChangeInfo | None:
    if definition.spec == said(process):
        return None
    fields = differing(process.spec, definition.spec)
    if not fields:  # it says now what the process was changed to
        if not is_dry:
            process.defined = definition.spec
            state.changed(process)
        return None
    may_lower = (
        state.settings.uid == 0 or definition.spec.nice >= process.spec.nice
    )  # niceness, while it runs: without root, a restart does
    is_in_place = set(fields) <= IN_PLACE | (LIVE if may_lower else LIVE - {"nice"})
    is_up = process.status not in ENDED
    action = "change" if is_in_place or not is_up else "restart"
    why = _reserve(room, process, definition.spec) if is_dry else _take(state, process, definition.spec, is_live=is_up and is_in_place)
    if why:
        refused[definition.name] = f'{place_of(definition, *REQUESTS)}: cannot change "{definition.name}": {why}'
        return None
    if not is_dry:
        process.definition, process.defined = definition.file, definition.spec
        dependencies.note(state, process)
        state.changed(process)
        state.tell_event(
            "process.redefined", f"{definition.name} is defined otherwise: {', '.join(fields)}", pid=process.pid, data={"fields": fields}
        )
        if action == "restart" and process.desired == "up":
            stop_dependents(state, process)
            stop(state, process, "a change of its definition", force=False, into="stopped", again=True)
    return ChangeInfo(definition.name, process.pid, action, fields)


def _take(state: State, process: Process, spec: Spec, *, is_live: bool) -> str:
    """Give a process another specification, with its limits in force where that can be; says why not."""
    if is_live:
        return limiting.change(state, process, spec)
    why = _reserve(state.ledger, process, spec)
    if not why:
        process.spec = spec
    return why


def _reserve(room: Ledger, process: Process, spec: Spec) -> str:
    """Have what another specification of a process asks for reserved; says why that cannot be. One that has ended reserves nothing."""
    if process.status in ENDED:
        return ""
    return room.change(spec.name, process.pid, Grant(spec.memory_request, spec.cpu_request)).partition(": ")[2]


def _end(state: State, process: Process) -> None:
    process.definition = ""
    state.changed(process)
    if process.status in ENDED:
        forget(state, process.pid)
    else:
        stop(state, process, "the end of its definition", force=False)


def _ordered(state: State, fresh: list[Definition], refused: dict[str, str]) -> list[Definition]:
    """Put what others depend on before them; what is in a circle, or requires what nobody defines, is told and left out."""
    edges = dependencies.edges(state) | {each.name: [*each.spec.requires, *each.spec.after] for each in fresh}
    doubtful = dependencies.suspects(edges)
    waiting: list[Definition] = []
    for each in fresh:
        circle = dependencies.circle(each.spec, edges) if each.name in doubtful else []
        if circle:
            refused[each.name] = (
                f'{place(each, circle[1])}: cannot start "{each.name}": its dependencies go in a circle: {" → ".join(circle)}'
            )
        else:
            waiting.append(each)
    found: list[Definition] = []
    there = {process.spec.name for process in state.processes.values()}
    while ready := [each for each in waiting if set(each.spec.requires) <= there]:
        found += ready
        there |= (taken := {each.name for each in ready})
        waiting = [each for each in waiting if each.name not in taken]
    for each in waiting:
        missing = next(name for name in each.spec.requires if name not in there)
        refused[each.name] = (
            f'{place(each, missing)}: cannot start "{each.name}": it requires "{missing}", and there is no process of that name'
        )
    return _later(found)


def _later(possible: list[Definition]) -> list[Definition]:
    """Put those that start after others behind them: one that is admitted first finds nobody on the way, and would not wait."""
    found: list[Definition] = []
    coming = {each.name for each in possible}
    while coming:  # no circle is among them: each round finds some
        ready = [each for each in possible if each.name in coming and not coming & {*each.spec.requires, *each.spec.after}]
        found += ready
        coming -= {each.name for each in ready}
    return found


def place_of(definition: Definition, *fields: str) -> str:
    """Say where the first of some fields is written that is; else where the definition begins."""
    line = next((definition.lines[each] for each in (*fields, "") if definition.lines.get(each)), 0)
    return f"{definition.file}:{line}" if line else definition.file


def _mistake(state: State, definition: Definition, what: str) -> str:
    """Say what this host has against a definition, and where it is written; "" when nothing."""
    try:
        found = next(iter(definition.lacks.items()), None) or next(flaws_here(state, definition.spec, _uid(state, definition)), None)
    except Exception as error:  # whatever it is: no definition may end the kernel, or keep the others from being judged
        found = ("", f"the check itself broke: {type(error).__name__}: {error}")
    if found is None:
        return ""
    return f'{place_of(definition, found[0])}: cannot {what} "{definition.name}": {found[1]}'


def _orphaned(state: State, definition: Definition, wanted: Collection[str]) -> str:
    """Say which name a changed definition requires that nobody has or will have."""
    missing = next((name for name in definition.spec.requires if name not in wanted and not dependencies.named(state, name)), None)
    if missing is None:
        return ""
    return f'{place_of(definition, "requires")}: cannot change "{definition.name}": it requires "{missing}", and there is no process of that name'


def _uid(state: State, definition: Definition) -> int:
    return state.settings.uid if definition.spec.uid is None else definition.spec.uid


def place(definition: Definition, name: str) -> str:
    """Say where it is written that a definition depends on a name."""
    return place_of(definition, "requires" if name in definition.spec.requires else "after")


def _start(state: State, definition: Definition, refused: dict[str, str], room: Ledger, *, is_dry: bool) -> int | None:
    """Admit a process that is defined anew and give its pid, 0 where that is only reckoned; None where it is refused."""
    uid, spec = _uid(state, definition), definition.spec
    grant = Grant(spec.memory_request, spec.cpu_request)
    # what it requires may be about to be admitted as well: _ordered has looked
    why = unsound(state, spec, uid) or no_room(state, spec, room) if is_dry else refusal(state, spec, uid)
    if why:
        field, _ = room.lack(grant)
        refused[definition.name] = f"{place_of(definition, field)}: {why}"
        return None
    if is_dry:
        room.grant(-len(room.grants) - 1, grant)  # no pid is negative
        return 0
    process = admit(state, spec, uid)
    process.definition, process.defined = definition.file, definition.spec
    state.changed(process)
    return process.pid
