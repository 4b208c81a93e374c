"""Who speaks to shared context, and who waits for it: calls of mains and threads, requests of clients, the end of those who hold locks.

1. A change takes effect once. A client's is known by ``(client, sequence)``, as every request; a child's by its name and the call's sequence, and the answer is kept,
   in the transaction of the change, until the child says that it had it. A call that only reads is answered as often as it comes.
2. A call that waits (for a version, for a lock) is parked and is no row: its main or worker repeats it to the next kernel, the bus a client's request.
3. A thread speaks as itself: only one that has not ended, and over the port of a worker of its process.
4. A lock goes back when its thread ends, or when the worker or main that took it is gone, whichever is first; the one who asked first gets it, in the same turn.
"""

import msgspec

from dadms_ipc import context, requests
from dadms_ipc.port import Asked, ContextAnswer, ContextCall, Reserve
from dadmsd.kernel.core import disk, effects, events, unkept
from dadmsd.kernel.core.context import Asker, Refused, Space
from dadmsd.kernel.core.contexts import Parked
from dadmsd.kernel.core.ledger import size_text
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.records import Caller, Cell, Child, Lock, Region
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import SENT
from dadmsd.kernel.core.standing import patience_of
from dadmsd.kernel.core.state import MEBIBYTE, State

TOTAL_BYTES = 256 * MEBIBYTE  # of all contexts: they are in the kernel's memory
PARKED_MOST = 1_000  # calls of one process, or requests of one client, that may wait
PARKED_IN_ALL = 10_000
CALL_WAIT_MOST = 3600.0  # seconds that a thread or a main may wait: nobody asks for it in between
UNKEPT = (*context.READS, Reserve)  # may be done again as often as they are asked
ANSWERS_KEPT = 256  # of one child, that it has not said it had: more calls than that are not under way at once


# calls of mains and threads


def on_called(state: State, event: events.ContextCalled) -> None:
    """A main or a thread asks something of shared context."""
    child = state.children.get(event.name)
    call = event.call
    if child is None or child.role == "zygote" or child.phase in ("forking", "gated"):
        return
    if _is_known(state, child.name, call):
        return
    state.contexts.unpark(f"{child.name}#{call.sequence}")  # repeated: it waits anew
    try:
        if why := unkept.operation_refusal(state, call.operation):
            raise Refused(why)
        asker = _asker(state, child, call)
        answer = _perform(state, child, asker, call)
    except Refused as refused:
        _answer(state, child.name, call.sequence, "refused", {"message": str(refused)})
        return
    if answer is not None:
        _answer_ok(state, child.name, call.sequence, call.operation, answer)


def _is_known(state: State, name: str, call: ContextCall) -> bool:
    """Answer a call again that was answered; True when there is nothing more to do."""
    contexts = state.contexts
    caller = contexts.callers.get(name)
    if caller is None:
        caller = contexts.callers[name] = Caller(name=name)  # a row as soon as it has changed something
    if call.sequence <= caller.floor:
        return True  # repeated, and had
    known = caller.answered.get(call.sequence)
    again = contexts.refused.get(name, {}).get(call.sequence)
    if known is not None:
        again = ContextAnswer(call.sequence, "ok", msgspec.Raw(known))
    if again is not None:
        state.do(effects.AnswerCall(name, again))
        return True
    if call.seen > caller.floor:
        caller.floor = call.seen
        caller.answered = {sequence: body for sequence, body in caller.answered.items() if sequence > call.seen}
        contexts.refused[name] = {sequence: answer for sequence, answer in contexts.refused.get(name, {}).items() if sequence > call.seen}
    return False


def _asker(state: State, child: Child, call: ContextCall) -> Asker:
    """Say who asks; raises Refused for a thread that may not speak."""
    if child.role == "main":
        return Asker(str(child.pid), child.pid)
    pool = state.pools.get(child.pid)
    if pool is None or call.tid not in pool or not _is_out(pool, call.tid):
        raise Refused(f"cannot {_verb(call.operation)}: thread {child.pid}/{call.tid} is not running")
    return Asker(f"{child.pid}/{call.tid}", child.pid, call.tid)


def _is_out(pool: Pool, tid: int) -> bool:
    """Tell whether a thread is in a worker: not before, not after, and not back in the queue."""
    return pool.state(tid) == SENT


def _verb(operation: Asked) -> str:
    return str(operation.__struct_config__.tag)


def _perform(state: State, child: Child, asker: Asker, call: ContextCall) -> object | None:
    """Do what a child asks; None when it waits."""
    pid = call.pid or child.pid
    operation = call.operation
    if isinstance(operation, Reserve):
        return disk.reserve(state, operation.size)
    if isinstance(operation, context.READS):
        return _read(state, asker, pid, operation, child.name, call.sequence)
    if isinstance(operation, context.Lock):
        return _lock(state, child, asker, pid, call)
    if isinstance(operation, context.Unlock):
        return _unlock(state, asker, pid, operation)
    return _change(state, asker, pid, operation)


def _answer(state: State, name: str, sequence: int, status: str, answer: object) -> None:
    """Answer a call that changed nothing. One that was refused stays so: its repetition may be on the way, and must not take effect after all."""
    message = ContextAnswer(sequence, status, msgspec.Raw(msgspec.msgpack.encode(answer)))
    if status != "ok":
        refused = state.contexts.refused.setdefault(name, {})
        refused[sequence] = message
        if len(refused) > ANSWERS_KEPT:
            del refused[min(refused)]
    state.do(effects.AnswerCall(name, message))


def _answer_ok(state: State, name: str, sequence: int, operation: Asked, answer: object) -> None:
    """Answer a call; what it changed is in the transaction that keeps the answer."""
    body = msgspec.msgpack.encode(answer)
    if not isinstance(operation, UNKEPT):
        caller = state.contexts.callers[name]
        caller.answered[sequence] = body
        child = state.children.get(name)
        most = (
            max(ANSWERS_KEPT, 2 * child.kind.at_once) if child is not None else ANSWERS_KEPT
        )  # each thread of an async worker may wait for one
        if len(caller.answered) > most:
            del caller.answered[min(caller.answered)]
        state.changed(caller)
    state.do(effects.AnswerCall(name, ContextAnswer(sequence, "ok", msgspec.Raw(body))))


# requests of clients


def on_read(state: State, event: events.RequestArrived, request: requests.ReadContext) -> object | None:
    """Answer a client that looks, or let it wait. Raises Refused."""
    state.contexts.unpark(f"{event.client.hex()}#{event.sequence}")  # the bus asks again after each of its deaths
    return _read(state, Asker(f"uid {event.uid}"), request.pid, request.operation, event.client.hex(), event.sequence, event)


def on_change(state: State, event: events.RequestArrived, request: requests.ChangeContext) -> object:
    """Change something for a client. Raises Refused."""
    return _change(state, Asker(f"uid {event.uid}"), request.pid, request.operation)


def on_client_left(state: State, client: bytes) -> None:
    """Nobody reads what this client waits for."""
    state.contexts.unpark_all(client.hex())


# operations


def _space(state: State, pid: int) -> Space:
    if pid not in state.processes:
        raise Refused(f"no process {pid}")
    known = state.contexts.spaces.get(pid)
    return known if known is not None else Space(pid, state)


def _read(
    state: State,
    asker: Asker,
    pid: int,
    operation: context.Read,
    caller: str,
    sequence: int,
    event: events.RequestArrived | None = None,  # of a client
) -> object | None:
    space = _space(state, pid)
    if isinstance(operation, context.Regions):
        return space.infos(asker)
    if isinstance(operation, context.Get):
        return space.view(operation, asker)
    space.readable(operation.region, asker)
    if space.version(operation.region, operation.key) != operation.after or not operation.timeout > 0:
        return space.view(operation, asker)
    if event is not None:
        deadline, client = patience_of(state, event, operation.timeout), event.client
    else:
        deadline, client = state.now + max(0.0, min(CALL_WAIT_MOST, operation.timeout)), b""
    _park(state, Parked(caller, sequence, asker, pid, operation, deadline, client))
    return None


def _change(state: State, asker: Asker, pid: int, operation: context.Change) -> context.Changed:
    space = _living(state, pid, operation)
    before = space.size
    match operation:
        case context.Break():
            return _break(state, space, asker, operation)
        case context.Share():
            changed = space.share(asker, operation)
        case context.Delete():
            changed = space.delete(asker, operation)
        case _:
            _make_room(state, pid, len(operation.values if isinstance(operation, context.Update) else getattr(operation, "value", b"")))
            changed = space.put(asker, operation)
    state.contexts.size += space.size - before
    _keep(state, space)
    _wake(state, space, operation.region)
    return changed


def _living(state: State, pid: int, operation: context.AnyOperation) -> Space:
    space = _space(state, pid)
    process = state.processes[pid]
    if process.status in ENDED:
        raise Refused(f"cannot {_verb(operation)} in the context of {pid}: the process has ended ({process.status})")
    return space


def _keep(state: State, space: Space) -> None:
    if space.regions:
        state.contexts.spaces[space.pid] = space


def _make_room(state: State, pid: int, size: int) -> None:
    """Hold the bound of all contexts together: those of processes that have ended give way, oldest first."""
    contexts = state.contexts
    for ended in list(state.ended) if contexts.size + size > TOTAL_BYTES else ():
        if contexts.size + size > TOTAL_BYTES:
            forget(state, ended)
    if contexts.size + size > TOTAL_BYTES:
        raise Refused(
            f"cannot put {size} bytes into the context of {pid}: all contexts have {size_text(contexts.size)}, at most {size_text(TOTAL_BYTES)}"
        )


def _wake(state: State, space: Space, region: str) -> None:
    """Answer those who wait for what has changed in a region, or is gone with it."""
    for key in list(state.contexts.watching.get((space.pid, region), ())):
        parked = state.contexts.parked[key]
        assert isinstance(parked.operation, context.Watch)  # others wait for locks
        if space.version(region, parked.operation.key) != parked.operation.after:
            _answer_watch(state, parked)


def _answer_watch(state: State, parked: Parked) -> None:
    state.contexts.unpark(parked.key)
    assert isinstance(parked.operation, context.Watch)
    try:
        _answer_parked(state, parked, "ok", _space(state, parked.pid).view(parked.operation, parked.asker))
    except Refused as refused:  # it may read no longer, or the region has outgrown an answer
        _answer_parked(state, parked, "refused", {"message": str(refused)})


def _answer_parked(state: State, parked: Parked, status: str, answer: object) -> None:
    if parked.client:
        state.do(effects.Reply(parked.client, parked.sequence, status, answer))
    else:
        _answer(state, parked.caller, parked.sequence, status, answer)


# locks


def _lock(state: State, child: Child, asker: Asker, pid: int, call: ContextCall) -> object | None:
    operation = call.operation
    assert isinstance(operation, context.Lock)
    space = _living(state, pid, operation)
    lock = space.lock(asker, operation, child.name, state.wall)
    if lock is not None:
        _keep(state, space)
        state.contexts.hold(lock)
        return context.Held(lock.token)
    if not operation.timeout > 0:
        held = space.lock_of(operation.region, operation.lock)
        assert held is not None
        _answer(state, child.name, call.sequence, "expired", {"message": _busy(state, held, 0.0)})
        return None
    deadline = state.now + max(0.0, min(CALL_WAIT_MOST, operation.timeout))
    _park(state, Parked(child.name, call.sequence, asker, pid, operation, deadline))
    return None


def _busy(state: State, lock: Lock, waited: float) -> str:
    since = max(0.0, state.wall - lock.at)
    return (
        f'cannot lock "{lock.name}" of region "{lock.region}" of {lock.pid} within {waited:g} s: {lock.holder} has had it for {since:.1f} s'
    )


def _unlock(state: State, asker: Asker, pid: int, operation: context.Unlock) -> context.Changed:
    space = _living(state, pid, operation)
    lock = space.lock_of(operation.region, operation.lock)
    if lock is None or lock.token != operation.token:
        return context.Changed(lock.token if lock is not None else 0, False)
    if lock.holder != asker.name:
        raise Refused(f'cannot unlock "{lock.name}" of region "{lock.region}" of {pid}: {lock.holder} has it, not {asker.name}')
    _pass_on(state, space, lock)
    return context.Changed(operation.token)


def _break(state: State, space: Space, asker: Asker, operation: context.Break) -> context.Changed:
    lock = space.broken(asker, operation)
    if lock is None:
        return context.Changed(0, False)
    _pass_on(state, space, lock)
    return context.Changed(lock.token)


def _pass_on(state: State, space: Space, lock: Lock) -> None:
    """Take a lock from its holder and give it to the one who has waited longest."""
    contexts = state.contexts
    space.free(lock)
    contexts.release(lock)
    for key in list(contexts.queued.get((lock.pid, lock.region, lock.name), ())):
        parked = contexts.parked[key]
        assert isinstance(parked.operation, context.Lock)
        state.contexts.unpark(key)
        try:
            given = space.lock(parked.asker, parked.operation, parked.caller, state.wall)
        except Refused as refused:  # it may write no longer
            _answer(state, parked.caller, parked.sequence, "refused", {"message": str(refused)})
            continue
        assert given is not None, "a lock that was just given back is held"
        state.contexts.hold(given)
        _answer_ok(state, parked.caller, parked.sequence, parked.operation, context.Held(given.token))
        return


# waiting


def _park(state: State, parked: Parked) -> None:
    contexts = state.contexts
    theirs = len(contexts.by_caller.get(parked.caller, ()))
    if theirs >= PARKED_MOST or len(contexts.parked) >= PARKED_IN_ALL:
        count = f"{theirs} calls of its own" if theirs >= PARKED_MOST else f"{len(contexts.parked)} calls of all"
        raise Refused(f"cannot {_verb(parked.operation)}: {count} wait already")
    contexts.park(parked)
    state.arm(parked.deadline, "context", parked.key)


def on_deadline(state: State, key: str) -> None:
    """Somebody may have waited long enough."""
    parked = state.contexts.parked.get(key)
    if parked is None:
        return
    if parked.deadline > state.now:
        state.arm(parked.deadline, "context", key)
        return
    if isinstance(parked.operation, context.Watch):
        _answer_watch(state, parked)
        return
    state.contexts.unpark(key)
    lock = state.contexts.spaces[parked.pid].lock_of(parked.operation.region, parked.operation.lock)
    assert lock is not None, "a lock that is waited for is free"
    _answer(state, parked.caller, parked.sequence, "expired", {"message": _busy(state, lock, parked.operation.timeout)})


# ends


def threads_ended(state: State, pool: Pool) -> None:
    """Threads of a pool ended, or went back to the queue: what they hold goes back, what they wait for nobody reads."""
    contexts = state.contexts
    if not contexts.held and not contexts.by_caller:
        return
    for child in pool.workers:
        for key in list(contexts.by_caller.get(child, ())):
            if not _is_out(pool, contexts.parked[key].asker.tid):
                contexts.unpark(key)
        for lock in list(contexts.held.get(child, {}).values()):
            if not _is_out(pool, lock.tid):
                _pass_on(state, contexts.spaces[lock.pid], lock)


def child_gone(state: State, child: Child) -> None:
    """A worker or a main is gone: what it held goes back, and nobody asks again for its answers."""
    contexts = state.contexts
    caller = contexts.callers.pop(child.name, None)
    contexts.refused.pop(child.name, None)
    if caller is not None:
        state.deleted(caller)
    state.contexts.unpark_all(child.name)
    for lock in list(contexts.held.get(child.name, {}).values()):
        _pass_on(state, contexts.spaces[lock.pid], lock)


def forget(state: State, pid: int) -> None:
    """A process leaves the table, or has ended and its context gives way to others."""
    contexts = state.contexts
    space = contexts.spaces.pop(pid, None)
    if space is None:
        return
    for key in [key for key, parked in contexts.parked.items() if parked.pid == pid]:
        parked = contexts.unpark(key)
        assert parked is not None, "it was found there"
        _answer_parked(state, parked, "refused", {"message": f"the context of {pid} is gone"})
    for locks in space.locks.values():
        for lock in locks.values():  # of threads of other processes
            contexts.release(lock)
    contexts.size -= space.size
    space.drop_all()


# what an earlier kernel left


def adopt(state: State, regions: list[Region], cells: list[Cell], locks: list[Lock], callers: list[Caller]) -> None:
    """Rebuild from rows; those who waited ask again."""
    contexts = state.contexts
    for region in regions:
        if region.pid not in contexts.spaces:
            contexts.spaces[region.pid] = Space(region.pid, state)
        contexts.spaces[region.pid].adopt_region(region)
    for cell in cells:
        contexts.spaces[cell.pid].adopt_cell(cell)
    for lock in locks:
        contexts.spaces[lock.pid].adopt_lock(lock)
        contexts.hold(lock)
    contexts.callers = {caller.name: caller for caller in callers}
    contexts.size = sum(space.size for space in contexts.spaces.values())


def check(state: State) -> None:
    """Hold that locks are held by who lives, and that who waits is known everywhere."""
    contexts = state.contexts
    contexts.check()
    for space in contexts.spaces.values():
        space.check()
        assert space.pid in state.processes, f"a context of {space.pid}, which is not in the table"
    assert set(contexts.held) <= set(state.children), f"{set(contexts.held) - set(state.children)} hold locks and are gone"
    assert set(contexts.callers) <= set(state.children), f"{set(contexts.callers) - set(state.children)} have answers kept and are gone"
