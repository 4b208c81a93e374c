"""A disk that takes nothing new: what is refused, what waits, and what goes on. The shell says when that begins and when it is over.

1. A request that would have to be remembered is refused with the reason. What ends, stops or thaws something is not: it makes room, and its rows have the room that the journal keeps for that.
2. What a process submits is neither refused nor taken: its answer waits until there is room, as for a kernel that is being replaced. So a model is held up, and does not fail.
3. What runs, runs on: threads end, their results are delivered, exits are seen, and what policies ask for is started again. Where so much is held in memory that it is near its bound,
   no more threads are begun.
"""

from collections.abc import Callable
from typing import Any

from dadms_ipc import context, port, requests
from dadmsd.kernel.core import events
from dadmsd.kernel.core.state import State

_GROWS: dict[type[Any], Callable[[Any], str]] = {
    requests.Spawn: lambda request: f'process "{request.spec.name}"',
    requests.Start: lambda request: f"the start of {request.pid}",
    requests.Restart: lambda request: f"the restart of {request.pid}",
    requests.ChangeLimits: lambda request: f"other limits of {request.pid}",
    requests.SetThreadPriority: lambda request: f"another priority of thread {request.tid}",
    requests.Reload: lambda _request: "what the definitions ask for",
    requests.ChangeContext: lambda request: _operation(request.operation),
}
_GROWING = (context.Set, context.Update, context.Cas, context.Increment, context.Share, port.Reserve)


def _operation(operation: object) -> str:
    if not isinstance(operation, _GROWING):
        return ""
    return "an artifact" if isinstance(operation, port.Reserve) else f'a change of region "{operation.region}"'


def refusal(state: State, request: object) -> str:
    """Say why a request cannot be taken now; "" when it can."""
    what = _GROWS[type(request)](request) if state.unkept and type(request) in _GROWS else ""
    return f"cannot keep {what}: {state.unkept}" if what else ""


def operation_refusal(state: State, operation: object) -> str:
    """Say why an operation on shared context, or the room for an artifact, cannot be had now; "" when it can."""
    what = _operation(operation) if state.unkept else ""
    return f"cannot keep {what}: {state.unkept}" if what else ""


def on_filled(state: State, event: events.DiskFilled) -> None:
    """Nothing new can be kept."""
    if not state.unkept:
        state.tell_event("disk.full", f"nothing new is kept: {event.reason}", data={"reason": event.reason})
    state.unkept = event.reason
    state.is_strained = event.is_strained


def on_freed(state: State, _event: events.DiskFreed) -> None:
    """There is room again."""
    if state.unkept:
        state.tell_event("disk.free", "there is room on the disk again: everything is kept")
    state.unkept = ""
    state.is_strained = False
    for pid, pool in state.pools.items():
        if pool.ready:
            state.ready_pools.setdefault(pid)
