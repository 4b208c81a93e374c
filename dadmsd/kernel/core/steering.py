"""What is done with threads that run or wait, one by one or a group at a time: suspend, resume, another priority, an end."""

from collections.abc import Callable

from dadmsd.kernel.core import events, freezing, groups, keys, retrying
from dadmsd.kernel.core.grouped import Group
from dadmsd.kernel.core.moves import violate
from dadmsd.kernel.core.policies import PRIORITY_MOST
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import SENT
from dadmsd.kernel.core.state import State
from dadmsd.kernel.core.threads import is_next, set_priority, terminate

_STEERS: dict[str, Callable[[State, Pool, list[int], int], object]] = {
    "suspend": lambda state, pool, tids, _value: freezing.suspend(state, pool, tids),
    "resume": lambda state, pool, tids, _value: freezing.resume(state, pool, tids),
    "priority": set_priority,
}


def on_steer(state: State, event: events.SteerAsked) -> None:
    """A process has something done with threads of its own."""
    child = state.children.get(event.name)
    process = state.processes.get(child.pid) if child is not None else None
    pool = state.pools.get(child.pid) if child is not None else None
    if child is None or process is None or pool is None or not is_next(child, process, event.sequence):
        return
    process.asked = event.sequence
    state.changed(process)
    if event.group:
        if event.verb not in GROUP_VERBS:
            violate(state, child, f"asks to {event.verb[:40]} a group")
            return
        group = pool.groups.get(event.group)
        if group is None and event.verb in ("suspend", "priority"):  # of what is submitted later
            group = groups.begin(state, pool, event.group, event.sequence)
        why: object = steer_group(state, pool, group, event.verb, event.value, "its process") if group is not None else ""
    elif event.verb in _STEERS:
        why = _STEERS[event.verb](state, pool, event.tids, event.value)
    else:
        violate(state, child, f"asks to {event.verb[:40]} threads")
        return
    if why:
        state.tell_event("thread.refused", str(why), pid=pool.pid, data={"tids": event.tids[:10], "verb": event.verb})


def steer_group(state: State, pool: Pool, group: Group, verb: str, value: int, who: str) -> str:
    """Do something with all open threads of a group; gives "", or why not all of it could be done."""
    why = GROUP_VERBS[verb](state, pool, group, value, who)
    state.tell_event(
        f"group.{verb}", f'group "{group.row.name}": {verb} by {who}', pid=pool.pid, data={"group": group.row.name, "value": value}
    )
    return why


def _kill(state: State, pool: Pool, group: Group, _value: int, who: str) -> str:
    terminate(state, pool, pool.tids_of(group), "terminated", "terminated", f'its group "{group.row.name}" was terminated by {who}')
    return ""


def _suspend(state: State, pool: Pool, group: Group, _value: int, _who: str) -> str:
    """What waits is passed over, and is one mark of the group; what is in a worker is suspended one by one."""
    group.row.is_suspended = True
    state.changed(group.row)
    pool.set_group_aside(group)
    return freezing.suspend(state, pool, pool.tids_of(group, SENT))


def _resume(state: State, pool: Pool, group: Group, _value: int, _who: str) -> str:
    group.row.is_suspended = False
    state.changed(group.row)
    mine = set(pool.tids_of(group)) & set(state.processes[pool.pid].suspended)
    if mine:
        freezing.resume(state, pool, sorted(mine))
    for tid in pool.restore(group, lambda tid: tid in pool.tries or keys.leader_of(state, pool, tid) != 0):
        if keys.leader_of(state, pool, tid):
            pool.park(tid)
        elif not retrying.waits_on(state, pool, tid):
            pool.requeue([tid])
    if pool.ready:
        state.ready_pools.setdefault(pool.pid)
    return ""


def _set_priority(state: State, pool: Pool, group: Group, value: int, _who: str) -> str:
    if abs(value) > PRIORITY_MOST:
        return f"cannot set a priority of {value}: -{PRIORITY_MOST} to {PRIORITY_MOST}"
    group.row.priority = value
    state.changed(group.row)
    pool.requeue_group(group)
    return ""


GROUP_VERBS: dict[str, Callable[[State, Pool, Group, int, str], str]] = {
    "kill": _kill,
    "suspend": _suspend,
    "resume": _resume,
    "priority": _set_priority,
}


def cancel_failed(state: State) -> None:
    """Give up the rest of the groups of which a thread failed in this turn, where that was asked for."""
    while state.failing:
        pid, name = state.failing.pop()
        pool = state.pools.get(pid)
        group = pool.groups.get(name) if pool is not None else None
        if pool is not None and group is not None:
            words = f'thread {group.row.failed_by} of its group "{name}" failed'
            state.tell_event(
                "group.failed",
                f'group "{name}": {words.partition(" of ")[0]} failed, the rest is cancelled',
                pid=pid,
                data={"group": name, "tid": group.row.failed_by},
            )
            terminate(state, pool, pool.tids_of(group), "terminated", "terminated", words)
