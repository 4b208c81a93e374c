"""How records look to a client: ProcessInfo, EventPage, DaemonInfo."""

from itertools import islice

import msgspec

from dadms_ipc.requests import DaemonInfo, EventInfo, EventPage, ProcessInfo, ThreadInfo
from dadmsd.kernel.core import dependencies, keys, limit_words, readiness, restarts
from dadmsd.kernel.core.deliveries import label_of
from dadmsd.kernel.core.explaining import stopping
from dadmsd.kernel.core.grouped import Group
from dadmsd.kernel.core.loops import Loop
from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import STATES, WAITING
from dadmsd.kernel.core.state import State


def process_info(state: State, process: Process, *, with_outcome: bool = True) -> ProcessInfo:
    """Show a process; what only the machine knows (memory now) is added by the shell."""
    pool = state.pools.get(process.pid)
    main = state.main_of(process)
    limits, values = (process.limits, process.limit_values) if main is not None else limit_words.promised(process.spec)
    running = pool.running if pool is not None else 0
    return ProcessInfo(
        pid=process.pid,
        incarnation=process.incarnation,
        name=process.spec.name,
        orchestrator=process.spec.orchestrator,
        status=process.status,
        uid=process.uid,
        group=process.spec.group,
        os_pid=main.os_pid if main is not None else 0,
        created_at=process.created_at,
        ready_at=process.ready_at,
        ended_at=process.ended_at,
        cause=process.cause,
        reason=readiness.probe_words(process) if process.status == "starting" else process.reason,
        outcome=msgspec.msgpack.decode(process.outcome) if with_outcome else None,
        workers=len(pool.workers) if pool is not None else 0,
        threads_waiting=pool.ready + pool.suspended + pool.pausing + pool.sent - running if pool is not None else 0,
        threads_running=running,
        threads_done=process.threads_done,
        threads_failed=process.threads_failed,
        memory_peak=process.memory_peak,
        cpu_seconds=process.cpu_seconds,
        limits=limits,
        warnings=process.warnings,
        log=f"{state.settings.state_dir}/logs/{process.pid}.log",
        kind=process.spec.kind,
        command=process.spec.command,
        desired=process.desired,
        exit_code=process.exit_status if process.exit_how == restarts.CLD_EXITED else None,
        exit_signal=process.exit_status if process.exit_how > restarts.CLD_EXITED else None,
        parent=process.parent,
        failures=process.failures,
        starts_at=state.wall + process.clocks["backoff"] - state.now if "backoff" in process.clocks else 0.0,
        begun_at=process.begun_at,
        started_at=process.started_at,
        suspension=process.suspension,
        said=process.said,
        waits_for=waits_for(state, process),
        checkpoint_at=state.checkpoints[process.pid].at if process.pid in state.checkpoints else 0.0,
        is_stuck=dependencies.stuck_on(state, process) is not None,
        keys_dropped=process.keys_dropped,
        limit_values=values,
    )


def waits_for(state: State, process: Process) -> list[str]:
    """Say what keeps a process from its start or its end, a sentence each."""
    if process.status == "waiting":
        return dependencies.unmet(state, process)
    return stopping(state, process) if process.status == "stopping" or process.pid in state.held else []


def daemon_info(state: State) -> DaemonInfo:
    """Show the daemon."""
    settings = state.settings
    return DaemonInfo(
        version=settings.version,
        epoch=settings.epoch,
        boot_id=settings.boot_id,
        os_pid=0,  # the shell knows
        started_at=state.counters.started_at,
        runtime_dir=settings.runtime_dir,
        state_dir=settings.state_dir,
        is_private=settings.is_private,
        limits_backend=settings.limits_backend,
        servers=state.servers,
        processes=len(state.live_processes()),
        threads_ready=sum(pool.ready for pool in state.pools.values()),
        threads_running=state.slots_held,
        slots=settings.slots,
        memory_reserved=state.ledger.memory_reserved,
        memory_limit=state.ledger.memory,
        disk_used=state.disk.measured + state.disk.granted,
        disk_limit=state.disk.limit,
        unkept=state.unkept,
        disk_looked_at=0.0 if state.disk.looked_at is None else state.wall - (state.now - state.disk.looked_at),
        gone=state.gone,
    )


def open_info(state: State, pool: Pool, tid: int) -> ThreadInfo:
    """Show a thread that has not ended."""
    chunk = pool.chunk_of(tid)
    tries = pool.tries.get(tid)
    tried = tries.failed if tries is not None else []
    due_at = tries.due_at if tries is not None and pool.state(tid) == WAITING else 0.0
    info = ThreadInfo(
        tid,
        pool.pid,
        chunk.entry,
        label_of(chunk, tid),
        STATES[pool.state(tid)],
        created_at=chunk.created_at,
        cause=tried[-1].cause if tried else "",
        message=tried[-1].message if tried else "",
        attempts=len(tried),
        tried=tried,
        due_at=due_at,
        key=chunk.key_of(tid),
        repeats=keys.leader_of(state, pool, tid),
        group=chunk.group,
    )
    worker = next((worker for worker in pool.workers.values() if worker.runs(tid)), None)
    if worker is None:
        return info
    process = state.processes[pool.pid]
    now = process.suspended_since if process.suspension else state.now
    if isinstance(worker, Loop):
        flight = worker.flights[tid]
        is_held = flight.held_since is not None
        return msgspec.structs.replace(
            info,
            state="suspended" if is_held else "waiting",
            worker=worker.number,
            os_pid=state.children[worker.name].os_pid,
            started_at=flight.at,
            run_seconds=flight.ran(now),
            message="suspended cooperatively: it is not stepped from its next wait on" if is_held else info.message,
        )
    return msgspec.structs.replace(
        info,
        state="suspended" if worker.is_suspended else "ready" if worker.is_yielded else "running",
        attempts=len(tried) + 1,
        worker=worker.number,
        os_pid=state.children[worker.name].os_pid,
        started_at=worker.head_at,
        run_seconds=worker.ran(now),
    )


def thread_infos(state: State, pid: int | None, limit: int) -> list[ThreadInfo]:
    """Show the newest threads, those that wait or run included, by number."""
    infos = [info for info in islice(reversed(state.threads), len(state.threads)) if pid is None or info.pid == pid][:limit]
    for pool in state.pools.values():
        if pid is not None and pool.pid != pid:
            continue
        infos.extend(open_info(state, pool, tid) for tid in pool.newest(limit))
    infos.sort(key=lambda info: info.tid)
    return infos[-limit:]


def group_infos(state: State, pool: Pool, group: Group, limit: int) -> list[ThreadInfo]:
    """Show the newest threads of a group."""
    name = group.row.name
    infos = list(islice((info for info in reversed(state.threads) if info.pid == pool.pid and info.group == name), limit))
    infos.extend(open_info(state, pool, tid) for tid in pool.tids_of(group)[-limit:])
    infos.sort(key=lambda info: info.tid)
    return infos[-limit:]


def events_after(state: State, after: int, pid: int, limit: int) -> EventPage:
    """Give the events above a number, oldest first."""
    last = state.counters.next_event - 1
    oldest = state.events[0].number if state.events else last + 1
    found: list[EventInfo] = []
    start = max(0, after + 1 - oldest)  # numbers have no gaps
    if 2 * start > len(state.events):  # a deque is walked from one of its ends
        news = list(islice(reversed(state.events), max(0, len(state.events) - start)))[::-1]
    else:
        news = list(islice(state.events, start, None))
    for info in news:
        if not pid or info.pid == pid:
            found.append(info)
            if len(found) >= limit:
                break
    return EventPage(found, found[-1].number if len(found) >= limit else last, oldest, max(after, oldest - 1), state.counters.began_at)
