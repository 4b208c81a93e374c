"""Suspending a whole process: everything in its cgroup stands still, and so does its time.

1. Its clocks, and those of its children, keep what was left of them from the demand on, and go on with it at the resume.
2. It is suspended once the host says that every task of it stands still, not when it was asked for.
3. The bus hears of it at once: the time-outs of messages to it stand still as well.
4. Whoever ends a suspended process lets it go on: a signal reaches nobody who does not run.
"""

from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.loops import Loop
from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.state import State

SUSPENDABLE = frozenset({"starting", "running"})


def suspend(state: State, process: Process, who: str) -> None:
    """Have a process stand still."""
    process.suspension = "freezing"
    process.suspended_since = state.now
    process.paused = {kind: max(0.0, at - state.now) for kind, at in process.clocks.items()}
    process.clocks = {}
    state.changed(process)
    for child in state.owned(process.pid):
        if child.deadline is not None:
            child.left = max(0.0, child.deadline - state.now)
            child.deadline = None
            state.changed(child)
    state.do(effects.Freeze(process.pid, process.incarnation))
    state.do(effects.Pause(process.pid, is_paused=True))
    state.tell_event("process.suspending", f"{process.spec.name} is suspended by {who}", pid=process.pid)


def resume(state: State, process: Process, who: str) -> None:
    """Have a process go on where it stood."""
    if not process.suspension:
        return
    process.suspension = ""
    for kind, seconds in process.paused.items():
        process.clocks[kind] = state.now + seconds
        state.arm(process.clocks[kind], f"process.{kind}", str(process.pid))
    process.paused = {}
    state.changed(process)
    for child in state.owned(process.pid):
        if child.left is not None:
            child.deadline = state.now + child.left
            child.left = None
            state.changed(child)
            state.arm(child.deadline, "child", child.name)
    pool = state.pools.get(process.pid)
    if pool is not None:
        for worker in pool.workers.values():
            stood = state.now - process.suspended_since
            worker.stood(stood)
            if isinstance(worker, Loop):
                for batch in worker.batches:
                    state.changed(batch)
            elif worker.is_busy:
                child = state.children[worker.name]
                child.head_since = worker.head_since
                child.stood += 0.0 if worker.stands else stood  # what stands anyway has all of it counted when it goes on
                state.changed(child)
            if worker.is_busy:
                state.arm(state.now, "loop" if worker.kind.is_async else "head", worker.name)
        if pool.ready or pool.yielded:
            state.ready_pools.setdefault(process.pid)
    state.do(effects.Thaw(process.pid, process.incarnation))
    for child in state.owned(process.pid):
        if child.has_stood and not child.freeze:  # an earlier kernel may have died before it let this one go on
            state.do(effects.ThawWorker(child.name))
    state.do(effects.Pause(process.pid, is_paused=False))
    state.tell_event("process.resumed", f"{process.spec.name} goes on, by {who}", pid=process.pid)


def on_frozen(state: State, event: events.Frozen) -> None:
    """Every task of a process stands still, or the host cannot bring that about."""
    process = state.processes.get(event.pid)
    if process is None or process.suspension != "freezing" or event.incarnation != process.incarnation:
        return
    if event.reason:
        resume(state, process, f"the kernel: {event.reason}")
        return
    process.suspension = "frozen"
    state.changed(process)
    took = state.now - process.suspended_since
    state.tell_event("process.suspended", f"{process.spec.name} stands still after {took * 1000:.1f} ms", pid=process.pid)
