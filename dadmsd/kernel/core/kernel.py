"""The kernel's one door: events in, changed rows and effects out.

``handle`` takes a batch of events, lets each change the state, and only then decides what runs where (decide after the batch). ``next_deadline`` tells when to
call it again without an event. ``adopt`` rebuilds the state from the rows of an earlier kernel. ``check`` holds the invariants; tests call it after each step.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import msgspec

from dadms_ipc import port
from dadms_ipc.requests import ThreadInfo
from dadmsd.kernel.core import (
    checkpoints,
    children,
    deliveries,
    disk,
    dispatch,
    effects,
    ending,
    events,
    freezing,
    groups,
    keys,
    limiting,
    looping,
    moves,
    order,
    processes,
    readiness,
    requests,
    restarts,
    retrying,
    sharing,
    silence,
    standing,
    steering,
    supervising,
    suspension,
    threads,
    unkept,
    workers,
    yielding,
)
from dadmsd.kernel.core.history import infos_of
from dadmsd.kernel.core.ledger import Grant
from dadmsd.kernel.core.lifecycle import ALIVE, ENDED
from dadmsd.kernel.core.loops import Loop, worker_of
from dadmsd.kernel.core.pools import new_pool
from dadmsd.kernel.core.records import (
    Answered,
    Batch,
    Caller,
    Cell,
    Checkpoint,
    Child,
    Chunk,
    Counters,
    EventRow,
    GroupRow,
    Kept,
    Life,
    Lock,
    Process,
    Record,
    Region,
    Results,
    Run,
    Talk,
    Tries,
)
from dadmsd.kernel.core.stages import READY, SENT, STATE_NUMBER
from dadmsd.kernel.core.state import Address, Settings, State


def _on_bus_linked(state: State, _event: events.BusLinked) -> None:
    count = 0
    enrolled: set[int] = set()
    for child in state.children.values():
        if child.role == "main" and child.phase in ("opened", "ready", "stopping"):
            state.do(processes.enrolment(state.processes[child.pid], child.uid))
            if state.processes[child.pid].suspension:
                state.do(effects.Pause(child.pid, is_paused=True))
            enrolled.add(child.pid)
            count += 1
    for process in state.live_processes():
        if process.pid not in enrolled:
            state.do(processes.expectation(process))
    state.do(effects.FinishRoster(count))


def _on_server_changed(state: State, event: events.ServerChanged) -> None:
    known = state.servers.get(event.server)
    state.servers[event.server] = {
        "os_pid": event.os_pid, "restarts": event.restarts, "running": event.is_running, **({"last_end": event.reason} if event.reason else {})
    }  # fmt: skip
    if event.server == "zygote":
        silence.on_base_changed(state, is_running=event.is_running)
    if event.is_running and event.restarts > (known["restarts"] if known is not None else _restarts_told(state, event)):  # type: ignore[operator]  # an int by construction
        data = {
            "server": event.server, "os_pid": event.os_pid, "reason": event.reason, "last_pid": event.last_pid, "restarts": event.restarts
        }  # fmt: skip
        last = f"pid {event.last_pid} ended: {event.reason}" if event.last_pid else event.reason or "it ended"
        state.tell_event("server.restarted", f"{event.server} was restarted as pid {event.os_pid}: {last}", data=data)


def _restarts_told(state: State, event: events.ServerChanged) -> int:
    """Give how many restarts of a server earlier kernels of this daemon have told of; where the events do not go back so far, all."""
    for info in reversed(state.events):
        if info.at < state.counters.started_at:
            return 0
        if info.kind == "server.restarted" and isinstance(info.data, dict) and info.data.get("server") == event.server:
            return int(info.data.get("restarts", event.restarts))
    is_whole = not state.events or state.events[0].number == 1
    return 0 if is_whole or event.server == "kernel" else event.restarts


def _on_stop_asked(state: State, event: events.StopAsked) -> None:
    if state.is_stopping:
        return
    state.is_stopping = True
    silence.look_soon(state)
    state.tell_event("daemon.stopping", f"the daemon ends: {event.reason}", data={"reason": event.reason})
    for process in state.live_processes():
        if process.desired != "down" and (
            restarts.policy_of(process.spec) != "never" or process.definition or restarts.goes_on(state, process)
        ):
            process.resume = True  # an earlier kernel that was told the same may have said so before
    ending.stop_all(state, state.live_processes(), f"the end of the daemon ({event.reason})", force=event.reason == "lease")


def _on_disk_freed(state: State, event: events.DiskFreed) -> None:
    unkept.on_freed(state, event)
    parked, state.parked = state.parked, {}
    for submitted in parked.values():
        _HANDLERS[type(submitted)](state, submitted)


def _on_journal_damaged(state: State, event: events.JournalDamaged) -> None:
    state.tell_event("journal.damaged", event.text)


def _on_files_gone(state: State, event: events.FilesGone) -> None:
    for text in event.texts:
        if text not in state.gone:
            state.tell_event("journal.removed", text)
    state.gone = list(event.texts)


def _on_time_passed(_state: State, _event: events.TimePassed) -> None:
    """Deadlines are looked at after every batch."""


_HANDLERS: dict[type[events.Event], Callable[[State, Any], None]] = {
    events.Forked: children.on_forked,
    events.ForkFailed: children.on_fork_failed,
    events.ParentReported: children.on_parent_reported,
    events.GateOpened: children.on_gate_opened,
    events.GateShut: children.on_gate_shut,
    events.ZygoteReady: children.on_zygote_ready,
    events.MainReady: children.on_main_ready,
    events.Executed: children.on_executed,
    events.Notified: children.on_notified,
    events.NotifyRefused: children.on_notify_refused,
    events.Beaten: readiness.on_beat,
    events.Frozen: suspension.on_frozen,
    events.WorkerReady: children.on_worker_ready,
    events.ChildFailed: children.on_failed,
    events.PortViolated: children.on_violation,
    events.Exited: children.on_exited,
    events.PortEnded: silence.on_port_ended,
    events.Submitted: threads.on_submitted,
    events.CancelAsked: threads.on_cancel,
    events.SteerAsked: steering.on_steer,
    events.ResultsSeen: deliveries.on_results_seen,
    events.ResultsRead: threads.on_results_read,
    events.WorkerFrozen: freezing.on_frozen,
    events.FreezeFailed: freezing.on_freeze_failed,
    events.ProgressMade: threads.on_progress,
    events.Yielded: yielding.on_yielded,
    events.OutcomeGiven: processes.on_outcome,
    events.NoteGiven: processes.on_note,
    events.CheckpointGiven: checkpoints.on_given,
    events.ContextCalled: sharing.on_called,
    events.DiskMeasured: disk.on_measured,
    events.DiskCleared: disk.on_cleared,
    events.DiskFilled: unkept.on_filled,
    events.DiskFreed: _on_disk_freed,
    events.JournalDamaged: _on_journal_damaged,
    events.FilesGone: _on_files_gone,
    events.LineWanted: processes.on_line_wanted,
    events.GroupGone: ending.on_group_gone,
    events.RequestArrived: requests.on_request,
    events.DefinitionsRead: supervising.on_definitions_read,
    events.ConfigurationRead: supervising.on_configuration_read,
    events.LimitsSet: supervising.on_limits_set,
    events.ClientLeft: requests.on_client_left,
    events.BusLinked: _on_bus_linked,
    events.ServerChanged: _on_server_changed,
    events.StopAsked: _on_stop_asked,
    events.TimePassed: _on_time_passed,
}

_DEADLINES: dict[str, Callable[[State, str], None]] = {
    "child": children.on_deadline,
    "silence": silence.on_deadline,
    "head": dispatch.on_head_deadline,
    "idle": dispatch.on_idle_deadline,
    "look": dispatch.on_look_deadline,
    "loop": looping.on_deadline,
    "told": deliveries.on_told_deadline,
    "answer": deliveries.on_answer_deadline,
    "retry": retrying.on_due,
    "yield": yielding.on_deadline,
    "answered": requests.forget_answered,
    "context": sharing.on_deadline,
    "cleanup": ending.on_cleanup,
    "process.ready": processes.on_ready_over,
    "process.backoff": restarts.on_backoff_over,
    "process.grace": ending.on_grace_over,
    "process.run": readiness.on_run_over,
    "process.watchdog": readiness.on_watchdog,
    "process.age": readiness.on_age,
    "process.probe": readiness.on_probe_due,
}


class Kernel:
    """Processes, threads and resources, decided."""

    def __init__(self, settings: Settings) -> None:
        self.state = State(settings)

    def handle(self, batch: Sequence[events.Event], *, now: float, wall: float) -> list[effects.AnyEffect]:
        """Take in what has happened; give what is to be done once ``take_rows`` is committed."""
        state = self.state
        state.begin(now, wall)
        state.is_stirred = len(batch) > 1 or (bool(batch) and not isinstance(batch[0], events.TimePassed))
        for event in batch:
            _HANDLERS[type(event)](state, event)
            while state.just_ended:  # before somebody asks in the same turn
                workers.drop_pool(state, state.processes[state.just_ended.pop()])
        due = self._look_at_deadlines()
        if state.orphaned:
            children.ask_again(state)
        if state.failing:
            steering.cancel_failed(state)
        if state.starting:
            processes.start_due(state)
        if state.has_shifted:
            order.look(state)
        if state.resuming:
            freezing.go_on(state)
        if state.ready_pools:
            dispatch.dispatch(state)
            yielding.look_soon(state)
        if state.looping:
            looping.dispatch(state)
        if due or (state.watchers and state.told):
            requests.answer_waiters(state, due)
        ending.forget_oldest(state)
        if state.is_stopping:
            self._say_stopped()
        return state.take_effects()

    def take_rows(self) -> dict[tuple[str, object], Record | None]:
        """Give the rows that changed since the last call."""
        return self.state.take_rows()

    def next_deadline(self) -> float | None:
        """Give the monotonic time at which something is due, or None."""
        return self.state.next_deadline()

    def _look_at_deadlines(self) -> list[Address]:
        """Handle what is due, but for requests that wait: they are answered last, and so given."""
        waiters: list[Address] = []
        for kind, key in self.state.take_due():
            self.state.is_stirred = self.state.is_stirred or kind != "yield"
            if isinstance(key, tuple):
                waiters.append(key)
            else:
                _DEADLINES[kind](self.state, key)
        return waiters

    def _say_stopped(self) -> None:
        state = self.state
        if state.stop_said or state.live_processes():
            return
        for child in list(state.children.values()):  # shared zygotes: nobody needs them any more
            moves.end(state, child, "unused")
        if not state.children:
            state.stop_said = True
            state.do(effects.SayStopped())

    # what an earlier kernel left

    def adopt(self, rows: Iterable[Record], *, now: float, wall: float, interruption: str = "") -> list[effects.AnyEffect]:
        """Rebuild the state from rows; give what must be done again because nobody knows whether it was done.

        With an ``interruption`` (a reboot, another daemon) nothing that the rows call alive exists any more: it ends with that for its reason.
        """
        state = self.state
        state.begin(now, wall)
        by_kind: dict[type[Record], list[Any]] = {}
        for row in rows:
            by_kind.setdefault(type(row), []).append(row)
        for counters in by_kind.get(Counters, []):
            state.counters = counters
        if interruption or not state.counters.started_at:
            state.counters.started_at = wall
            state.changed(state.counters)
        if not state.counters.began_at:
            state.counters.began_at = wall
            state.changed(state.counters)
        state.checkpoints = {each.pid: each for each in by_kind.get(Checkpoint, [])}
        talks = {talk.pid: talk for talk in by_kind.get(Talk, [])}
        state.talked |= talks.keys()
        for process in sorted(by_kind.get(Process, []), key=lambda each: each.pid):
            state.processes[process.pid] = process
            if (talk := talks.get(process.pid)) is not None:
                talk.put_into(process)
            if process.status not in ENDED:
                state.ledger.grant(process.pid, Grant(process.spec.memory_request, process.spec.cpu_request))
            restarts.take_up(state, process, is_interrupted=bool(interruption))
        for process in sorted(state.processes.values(), key=lambda each: each.ended_at):
            if process.status in ENDED:
                state.ended[process.pid] = None
        state.lives.take_up(by_kind.get(Life, []))
        for row in sorted(by_kind.get(EventRow, []), key=lambda each: each.number):
            state.events.append(row.info)
        standing.take_up_answers(state, by_kind.get(Answered, []), is_interrupted=bool(interruption))
        for child in by_kind.get(Child, []):
            state.add_child(child)
            if child.phase in ("forking", "killing"):
                state.expect_word(child.parent)
            if child.phase == "forking":
                state.unconfirmed.add(child.name)
            if child.role == "zygote" and child.phase not in ("stopping", "killing", "exited"):
                state.zygotes[child.key] = child.name
            if child.deadline is not None:
                state.arm(child.deadline, "child", child.name)
        self._adopt_threads(
            by_kind.get(Chunk, []),
            by_kind.get(Batch, []),
            by_kind.get(Results, []),
            by_kind.get(Tries, []),
            by_kind.get(Kept, []),
            by_kind.get(GroupRow, []),
        )
        sharing.adopt(state, by_kind.get(Region, []), by_kind.get(Cell, []), by_kind.get(Lock, []), by_kind.get(Caller, []))
        if not interruption:
            self._repeat()
        else:
            for child in sorted(state.children.values(), key=lambda each: each.role):  # mains first: the others ended with them
                child.failure = interruption
                if child.role == "zygote" and not child.ready_at:
                    child.intent = processes.INTERRUPTED
                children.on_exited(state, events.Exited(child.name, 0, 0))
        for process in state.live_processes():
            processes.advance(state, process)
            ending.settle(state, process)
            limiting.repeat(state, process)
            if process.suspension == "freezing":
                state.do(effects.Freeze(process.pid, process.incarnation))
            elif process.suspended_since and not process.suspension:  # it was let go on, or the kernel died before that
                state.do(effects.Thaw(process.pid, process.incarnation))
        order.take_up(state)
        if state.ended:
            state.arm(now + state.settings.cleanup_interval, "cleanup", "")
        disk.look(state)
        return state.take_effects()

    def _adopt_threads(
        self,
        chunks: list[Chunk],
        batches: list[Batch],
        results: list[Results],
        tries: list[Tries],
        kept: list[Kept],
        grouped: list[GroupRow],
    ) -> None:
        state = self.state
        infos: list[ThreadInfo] = []
        decoder = msgspec.msgpack.Decoder(list[ThreadInfo])
        run_decoder = msgspec.msgpack.Decoder(list[Run])
        for process in state.processes.values():
            if process.status in ("running", "stopping") and process.ready_at:
                state.pools[process.pid] = new_pool(state, process)
        for row in sorted(results, key=lambda each: (each.pid, each.incarnation, each.first_sequence)):
            infos.extend(info for run in run_decoder.decode(row.runs) for info in infos_of(run))
            infos.extend(decoder.decode(row.facts))
            state.results.setdefault(row.pid, []).append(row)
            if row.incarnation != state.processes[row.pid].incarnation or row.last_sequence <= state.processes[row.pid].seen:
                row.payload = None
            if row.payload is not None and row.pid in state.pools:
                state.pools[row.pid].unseen += len(row.payload)
        infos.sort(key=lambda info: info.tid)
        state.threads.extend(infos)
        ended = {info.tid: STATE_NUMBER[info.state] for info in infos}
        sent = {
            tid
            for batch in batches
            for sequence, tid in enumerate(batch.tids, batch.first_sequence)
            if state.children[batch.worker].kind.is_async or sequence > state.children[batch.worker].done_sequence
        }
        groups.adopt(state, grouped)
        for chunk in sorted(chunks, key=lambda each: each.first_tid):
            tids = range(chunk.first_tid, chunk.first_tid + len(chunk.arguments))
            state.pools[chunk.pid].take_up(chunk, bytearray(ended.get(tid, SENT if tid in sent else READY) for tid in tids))
        keys.adopt(state, kept)
        for each in tries:
            pool = state.pools.get(each.pid)
            if pool is not None and each.tid in pool:
                retrying.adopt(state, pool, each)
            else:
                state.deleted(each)
        for child in state.children.values():
            if child.role == "worker":
                worker = worker_of(child.name, child.number, next_sequence=child.next_sequence, kind=child.kind)
                worker.is_ready = bool(child.ready_at)
                worker.is_leaving = bool(child.intent)
                worker.done = child.done_sequence
                worker.ready_since = state.now - max(0.0, state.wall - child.ready_at) if child.ready_at else 0.0
                state.workers_coming += not worker.is_ready and worker.takes_slots
                state.pools[child.pid].workers[child.name] = worker
        for name, group in groupby(sorted(batches, key=lambda each: (each.worker, each.first_sequence)), key=lambda each: each.worker):
            pool = state.pools[state.children[name].pid]
            worker = pool.workers[name]
            if isinstance(worker, Loop):
                looping.adopt(state, state.processes[pool.pid], pool, worker, list(group))
                continue
            for batch in group:
                self._adopt_batch(batch)
        for pid, pool in state.pools.items():
            freezing.adopt(state, state.processes[pid], pool)
            for known in pool.groups.values():
                if known.row.is_suspended:
                    pool.set_group_aside(known)
            for tid, priority in state.processes[pid].priorities.items():
                if tid in pool:
                    pool.set_priority(tid, priority)
            for worker in pool.workers.values():
                yielding.adopt(state, pool, worker)
                state.slots_held += worker.holds_slot
                if worker.takes_slots or not worker.is_busy:
                    dispatch.take_up_head(state, pool, worker)
            state.failing.extend((pid, name) for name, known in pool.groups.items() if known.row.failed_by and known.open)
            state.ready_pools[pid] = None
            if pool.loops:
                state.looping[pid] = None

    def _adopt_batch(self, batch: Batch) -> None:
        child = self.state.children[batch.worker]
        pool = self.state.pools[child.pid]
        worker = pool.workers[batch.worker]
        worker.batches.append(batch)
        for sequence, tid in enumerate(batch.tids, batch.first_sequence):
            if sequence > child.done_sequence and tid in batch.condemned:
                pool.condemned[tid] = batch.condemned[tid]

    def _repeat(self) -> None:
        """Do again what may not have been done: all of it is idempotent."""
        state = self.state
        for child in state.children.values():
            process = state.processes.get(child.pid)
            if child.phase == "gated":
                state.do(effects.OpenGate(child.name))
            elif child.phase == "stopping":
                state.do(effects.Signal(child.name, child.stop_signal))
            elif child.phase == "killing":
                state.do(effects.Signal(child.name, 9))
            if child.role == "main" and process is not None and child.phase in ("opened", "ready", "stopping"):
                if process.submitted:
                    state.do(effects.Tell(child.name, deliveries.answer(process)))
                for results in state.results.get(process.pid, []):
                    if results.payload is not None and results.incarnation == child.incarnation and results.last_sequence > process.seen:
                        delivery = msgspec.msgpack.decode(results.payload, type=port.Delivery)
                        state.do(effects.Tell(child.name, port.Finished(results.last_sequence, delivery.results, delivery.runs)))
        freezing.repeat(state)
        for pool in state.pools.values():
            for worker in pool.workers.values():
                if state.children[worker.name].intent == "idle":
                    state.do(effects.Retire(worker.name))
                if isinstance(worker, Loop):
                    looping.repeat(state, pool, worker)
                elif worker.is_busy:  # without those whose results are in the journal: their chunks may be gone
                    again = dispatch.spans(pool, [tid for _, tid in worker.in_flight])
                    state.do(effects.SendBatch(worker.name, worker.head[0], again))

    # the invariants

    def check(self) -> None:
        """Hold what must be true after every step (DESIGN.md, Invariants)."""
        state = self.state
        state.ledger.check()
        live = {process.pid for process in state.live_processes()}
        assert set(state.ledger.grants) == live, f"grants of {set(state.ledger.grants)}, living {live}"
        for pool in state.pools.values():
            pool.check()
            places = {(order, name) for _, order, name in pool.yielded}
            for worker in pool.workers.values():
                is_queued = (worker.yield_order, worker.name) in places
                assert not worker.is_yielded or is_queued or state.children[worker.name].phase != "ready", (
                    f"{worker.name} waits for nothing"
                )
                assert worker.name in state.children, f"{worker.name} is in a pool and not among the children"
        for child in state.children.values():
            assert child.phase != "exited", f"{child.name} exited and was not dropped"
            assert child.phase not in ALIVE or child.os_pid, f"{child.name} is alive without a pid"
            if child.pid:
                assert child.pid in live, f"{child.name} outlives its process"
        mains = [child.pid for child in state.children.values() if child.role == "main"]
        assert len(mains) == len(set(mains)), "two incarnations of a process live"
        every = [worker for pool in state.pools.values() for worker in pool.workers.values()]
        assert state.slots_held == sum(1 for worker in every if worker.holds_slot), f"{state.slots_held} slots held"
        assert state.slots_held <= state.settings.slots, "more slots are held than there are"
        assert state.workers_coming == sum(1 for worker in every if not worker.is_ready and worker.takes_slots), (
            f"{state.workers_coming} workers coming"
        )
        watching = [key for keys in state.watchers.values() for key in keys]
        ordered = {process.pid for process in state.processes.values() if process.spec.requires or process.spec.after}
        assert set(state.ordered) == ordered, "who depends on others is not who is known to"
        assert sorted(watching) == sorted(state.waiters), "who waits is not who watches"
        sharing.check(state)
