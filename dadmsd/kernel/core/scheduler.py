"""Which thread runs next, and in which worker: the pools and their queues.

A thread is a number and one byte of state; what it is to do stands in the chunk that it was submitted with, so a million waiting threads cost a million bytes.

1. Threads of a process start in the order of the policy's ranks, equal ones in that in which they were submitted; processes by their standing. A thread that was handed out and not begun goes back to the front.
2. How many travel together goes by what is known of their entry (estimates.py); what a worker has been given is its own affair (assignments.py).
3. A thread ends once: a second result for it is dropped here.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from heapq import heappop, heappush
from itertools import islice

from dadmsd.kernel.core.assignments import Worker
from dadmsd.kernel.core.estimates import BATCH_MOST, Estimates
from dadmsd.kernel.core.grouped import Group
from dadmsd.kernel.core.kinds import PLAIN, Kind, Lane
from dadmsd.kernel.core.policies import Policy, Priority
from dadmsd.kernel.core.records import Chunk, Tries
from dadmsd.kernel.core.stages import COMPLETED, READY, SENT, STATES, SUSPENDED, WAITING

BATCH_BYTES = 1 << 20  # of arguments that travel together, one thread's excepted: a frame has a limit, and what travels may be taken back
_READY, _SENT, _COMPLETED = (bytes([state]) * BATCH_MOST for state in (READY, SENT, COMPLETED))  # columns to compare with and to copy from


class _Block:
    """A chunk and one byte of state for each of its threads."""

    __slots__ = ("chunk", "first", "group", "lane", "open", "since", "size", "states")

    def __init__(self, chunk: Chunk, states: bytearray, lane: Lane, group: Group | None, *, still_open: int) -> None:
        self.chunk = chunk
        self.group = group
        self.since = 0  # order of its newest place in the queue: older ones are void
        self.lane = lane
        self.first = chunk.first_tid
        self.states = states
        self.open = still_open  # threads that have not ended
        self.size = sum(map(len, chunk.arguments))  # bytes


class Pool:
    """The threads of one incarnation and the workers that run them."""

    def __init__(
        self,
        pid: int,
        incarnation: int,
        *,
        most: int,
        policy: Policy | None = None,
        weight: float = 1.0,
        now: float = 0.0,
        kinds: Mapping[str, Kind] | None = None,
    ) -> None:
        self._policy = policy or Priority()
        self._weight = weight
        self.served_at = now  # monotonic: when it was given a slot last
        self.used = 0.0  # seconds of run time by its weight
        self.pid = pid
        self.incarnation = incarnation
        self.most = most  # workers that hold slots
        self._kinds = kinds or {}  # of the entries whose workers are not plain
        self.plain = Lane(PLAIN)
        self.lanes: dict[Kind, Lane] = {PLAIN: self.plain} | {kind: Lane(kind) for kind in self._kinds.values()}
        self.loops = [lane for lane in self.lanes.values() if lane.kind.is_async]
        self.slotted = [lane for lane in self.lanes.values() if not lane.kind.is_async]
        self.workers: dict[str, Worker] = {}
        self._blocks: list[_Block] = []  # by the first thread's number
        self._firsts: list[int] = []
        self._found: _Block | None = None  # that was looked for last: it mostly is again
        self._dead = 0  # blocks whose threads have all ended: swept when they are most
        self._emptied: list[Chunk] = []  # chunks that nobody was told of yet
        self._order = 0  # of the last that was queued
        self._front = 0  # of the last that was put in front
        self._moved: dict[int, int] = {}  # threads that were queued anew alone, with another priority -> order
        self.priorities: dict[int, int] = {}  # theirs
        self.groups: dict[str, Group] = {}  # oldest first
        self.touched: dict[str, None] = {}  # groups of which threads ended, since somebody looked
        self.condemned: dict[int, tuple[str, str, str]] = {}  # threads to be terminated once they are at the head: status, cause, message
        self.ready = 0
        self.suspended = 0  # those that are in no worker
        self.pausing = 0  # those that wait for their next attempt, or for the thread with their key
        self.yielded: list[tuple[float, int, str]] = []  # a heap: rank, order and name of workers whose threads gave way
        self.tries: dict[int, Tries] = {}  # of open threads that failed and are tried again
        self._due: list[tuple[float, int]] = []  # a heap: when a thread is to be tried again, monotonic
        self.sent = 0
        self.size = 0  # bytes of arguments that are kept
        self.unseen = 0  # bytes of results that the process has not handled
        self.sweep_at = 0  # number of deliveries at which those that nobody needs are looked for
        self.owes_answer = False  # its process was not told yet that its last submission was accepted
        self.told_until = 0.0  # monotonic: when the count of ends that had an event of their own begins anew
        self.told = 0  # those ends
        self.untold = 0  # ends that were only counted, and not told of yet
        self.untold_failed = 0
        self.untold_retrying = 0  # failed attempts that were only counted
        self.estimates = Estimates()

    def add(self, chunk: Chunk) -> None:
        """Take a submission in."""
        count = len(chunk.arguments)
        group = self.groups[chunk.group] if chunk.group else None
        if group is not None and group.row.is_suspended:
            self._keep(chunk, bytearray([SUSPENDED]) * count, group, count)
            self.suspended += count
            return
        block = self._keep(chunk, bytearray([READY]) * count, group, count)
        self.ready += count
        block.lane.ready += count
        self._enqueue(block, block.first, block.first + count)

    def take_up(self, chunk: Chunk, states: bytearray) -> None:
        """Take in a submission that was there before."""
        counts = [states.count(state) for state in range(SENT + 1)]
        block = self._keep(chunk, states, self.groups[chunk.group] if chunk.group else None, sum(counts))
        self.ready += counts[READY]
        block.lane.ready += counts[READY]
        self.sent += counts[SENT]
        self.suspended += counts[SUSPENDED]
        self.pausing += counts[WAITING]
        for index, state in enumerate(states):
            if state == READY:
                self._enqueue(block, block.first + index, block.first + index + 1)

    def _keep(self, chunk: Chunk, states: bytearray, group: Group | None, still_open: int) -> _Block:
        lane = self.lanes[self._kinds.get(chunk.entry, PLAIN)] if self._kinds else self.plain
        block = _Block(chunk, states, lane, group, still_open=still_open)
        if group is not None:
            group.blocks[block.first] = block
            for state in range(SENT + 1):
                group.counts[state] += states.count(state)
        self._blocks.append(block)
        self._firsts.append(block.first)
        self.size += block.size
        return block

    @property
    def open(self) -> int:
        """Count the threads that have not ended."""
        return self.ready + self.suspended + self.pausing + self.sent

    def _find(self, tid: int) -> _Block | None:
        block = self._found
        if block is not None and 0 <= tid - block.first < len(block.states):
            return block
        place = bisect_right(self._firsts, tid) - 1
        if place < 0:
            return None
        block = self._blocks[place]
        if tid - block.first >= len(block.states):
            return None
        self._found = block
        return block

    def __contains__(self, tid: int) -> bool:
        """Tell whether the thread belongs to this pool and was not swept."""
        return self._find(tid) is not None

    def chunk_of(self, tid: int) -> Chunk:
        """Give the chunk that a thread was submitted with."""
        block = self._find(tid)
        assert block is not None, f"thread {tid} is not of process {self.pid}"
        return block.chunk

    def is_open(self, tid: int) -> bool:
        """Tell whether the chunk of a thread has threads that have not ended."""
        block = self._find(tid)
        return block is not None and block.open > 0

    def state(self, tid: int) -> int:
        """Give the state of a thread; one that was swept has completed or failed long ago."""
        block = self._find(tid)
        return COMPLETED if block is None else block.states[tid - block.first]

    def _set(self, tid: int, state: int) -> None:
        block = self._find(tid)
        assert block is not None, f"thread {tid} is not of process {self.pid}"
        index = tid - block.first
        before = block.states[index]
        block.states[index] = state
        change = (state == READY) - (before == READY)
        self.ready += change
        block.lane.ready += change
        self.sent += (state == SENT) - (before == SENT)
        self.suspended += (state == SUSPENDED) - (before == SUSPENDED)
        self.pausing += (state == WAITING) - (before == WAITING)
        if block.group is not None:
            block.group.counts[before] -= 1
            block.group.counts[state] += 1
        if before <= SENT < state:
            if block.group is not None:
                self.touched[block.chunk.group] = None
            self.priorities.pop(tid, None)
            self._moved.pop(tid, None)
            block.open -= 1
            if not block.open:
                self._close(block)

    def take(self, most: int, lane: Lane | None = None) -> list[int]:
        """Hand out up to ``most`` ready threads of one entry, oldest first, and no more than BATCH_BYTES of arguments; of the plain kind unless told otherwise."""
        lane = lane or self.plain
        queue = lane.queue
        taken: list[int] = []
        entry = ""
        size = 0
        while queue and len(taken) < most and size < BATCH_BYTES:
            rank, order, first, last = queue[0]
            block = self._find(first)
            if taken and block is not None and block.open and block.chunk.entry != entry:
                break
            heappop(queue)
            if block is None or not block.open or (block.since and self._is_void(block, order, first)):
                continue  # all ended while they waited, or were queued anew
            entry = block.chunk.entry
            count = min(last - first, most - len(taken))
            place = first - block.first
            if not self._moved and size + block.size <= BATCH_BYTES and block.states[place : place + count] == _READY[:count]:
                block.states[place : place + count] = _SENT[:count]
                self.ready -= count
                lane.ready -= count
                self.sent += count
                if block.group is not None:
                    block.group.counts[READY] -= count
                    block.group.counts[SENT] += count
                taken.extend(range(first, first + count))
                size += block.size * count // len(block.states)
                first += count
            else:
                first, size = self._take_singly(block, order, (first, last), most, taken, size)
            if first < last:
                heappush(queue, (rank, order, first, last))
        return taken

    def _take_singly(self, block: _Block, order: int, span: tuple[int, int], most: int, taken: list[int], size: int) -> tuple[int, int]:
        """Hand out the ready ones of a span in which others were terminated or moved, or whose arguments are large."""
        first, last = span
        while first < last and len(taken) < most and size < BATCH_BYTES:
            if block.states[first - block.first] == READY and self._moved.get(first, order) == order:  # others stay in their span
                self._set(first, SENT)
                self._moved.pop(first, None)
                taken.append(first)
                size += len(block.chunk.arguments[first - block.first])
            first += 1
        return first, size

    def _enqueue(self, block: _Block, first: int, last: int) -> None:
        chunk = block.chunk
        self._order += 1
        heappush(
            block.lane.queue, (self._policy.rank(self._priority(block, first), chunk.created_at, chunk.deadline), self._order, first, last)
        )

    def set_priority(self, tid: int, priority: int) -> None:
        """Queue a waiting thread anew; one that is in a worker keeps its place there."""
        block = self._find(tid)
        if block is None or block.states[tid - block.first] > SENT:
            return
        self.priorities[tid] = priority
        if block.states[tid - block.first] == READY:
            self._order += 1
            self._moved[tid] = self._order
            rank = self._policy.rank(priority, block.chunk.created_at, block.chunk.deadline)
            heappush(block.lane.queue, (rank, self._order, tid, tid + 1))

    def head(self) -> tuple[float, int]:
        """Give rank and priority of the next thread that wants a slot."""
        first_lane = self.first_lane()
        if first_lane is None:
            return math.inf, 0
        rank, _, first, _ = first_lane.queue[0]
        block = self._find(first)
        return rank, self._priority(block, first) if block is not None else 0

    def note_used(self, seconds: float) -> None:
        """Charge run time to the process, by its weight."""
        self.used += seconds / self._weight

    @property
    def wants_slots(self) -> bool:
        """Tell whether threads wait that run in workers with a slot."""
        if self.yielded:
            return True
        return self.ready > 0 if not self.loops else any(lane.ready for lane in self.slotted)

    @property
    def running(self) -> int:
        """Count the workers that hold a slot."""
        return sum(1 for worker in self.workers.values() if worker.holds_slot)

    def first_lane(self) -> Lane | None:
        """Give the queue of the next thread that wants a slot."""
        waiting = [lane for lane in self.slotted if self.next_entry(lane)]
        return min(waiting, key=lambda lane: lane.queue[0]) if waiting else None

    def next_entry(self, lane: Lane | None = None) -> str:
        """Give the entry of the oldest ready thread of a kind, the plain one unless told otherwise; "" when none is ready."""
        lane = lane or self.plain
        queue = lane.queue
        while lane.ready and queue:
            _, order, first, last = queue[0]
            block = self._find(first)
            if (
                block is not None
                and not (block.since and self._is_void(block, order, first))
                and self._has_ready(block, order, first, last)
            ):
                return block.chunk.entry
            heappop(queue)
        return ""

    def _has_ready(self, block: _Block, order: int, first: int, last: int) -> bool:
        place = block.states.find(READY, first - block.first, last - block.first)
        if not self._moved or place < 0:
            return place >= 0
        states = block.states
        return any(states[tid - block.first] == READY and self._moved.get(tid, order) == order for tid in range(block.first + place, last))

    def _is_void(self, block: _Block, order: int, first: int) -> bool:
        """Tell whether a place in the queue is an older one of a submission that was queued anew as a whole."""
        return 0 < order < block.since and self._moved.get(first) != order

    def _is_voided(self, order: int, tid: int) -> bool:
        block = self._find(tid)
        return block is not None and self._is_void(block, order, tid)

    def _priority(self, block: _Block, tid: int) -> int:
        """Give the priority of a thread: its own, that of its group, that of its submission."""
        of_group = block.group.row.priority if block.group is not None else None
        return self.priorities.get(tid, block.chunk.priority if of_group is None else of_group)

    # groups

    def tids_of(self, group: Group, *states: int) -> list[int]:
        """Give the open threads of a group, or those in some of the states."""
        wanted = states or range(SENT + 1)
        return [block.first + index for block in group.blocks.values() for index, state in enumerate(block.states) if state in wanted]

    def set_group_aside(self, group: Group) -> None:
        """Keep what waits of a group from being handed out."""
        for tid in self.tids_of(group, READY, WAITING):
            self._set(tid, SUSPENDED)

    def restore(self, group: Group, is_special: Callable[[int], bool]) -> list[int]:
        """Queue what was set aside of a group, each submission among its equals; gives those threads that are special, which stay aside."""
        left = []
        for block in list(group.blocks.values()):
            plain: list[int] = []
            for index, state in enumerate(block.states):
                tid = block.first + index
                if state == READY and tid not in self._moved:
                    plain.append(tid)  # its older place is void from here on
                elif state != SUSPENDED:
                    continue
                elif is_special(tid):
                    left.append(tid)
                elif tid in self._moved or tid in self.priorities:
                    self._queue_alone(tid)
                else:
                    self._set(tid, READY)
                    plain.append(tid)
            block.since = self._order + 1
            self._enqueue_spans(block, plain)
        return left

    def requeue_group(self, group: Group) -> None:
        """Queue what is ready of a group anew, by its new priority; threads that were given one of their own keep it."""
        for block in group.blocks.values():
            ready = [block.first + index for index, state in enumerate(block.states) if state == READY]
            alone = [tid for tid in ready if tid in self._moved or tid in self.priorities]
            block.since = self._order + 1
            own = set(alone)
            self._enqueue_spans(block, [tid for tid in ready if tid not in own])
            for tid in alone:
                self._queue_alone(tid)

    def _enqueue_spans(self, block: _Block, tids: list[int]) -> None:
        """Queue threads of a submission, rising, as few spans."""
        first = 0
        for place in range(1, len(tids) + 1):
            if place == len(tids) or tids[place] != tids[place - 1] + 1:
                self._enqueue(block, tids[first], tids[place - 1] + 1)
                first = place

    def requeue(self, tids: list[int]) -> None:
        """Take threads back that were handed out and not begun, in front of all others."""
        for tid in reversed(tids):
            self._set(tid, READY)
            self._front -= 1
            self._moved.pop(tid, None)
            block = self._find(tid)
            assert block is not None, f"thread {tid} is not of process {self.pid}"
            heappush(block.lane.queue, (-math.inf, self._front, tid, tid + 1))

    def set_aside(self, tid: int) -> None:
        """Keep a thread from being handed out, until it is put back."""
        self._set(tid, SUSPENDED)

    def wait(self, tries: Tries) -> None:
        """Keep a thread that failed until its next attempt is due."""
        self._set(tries.tid, WAITING)
        self.tries[tries.tid] = tries
        heappush(self._due, (tries.due, tries.tid))

    def queue_yielded(self, worker: Worker, wall: float) -> None:
        """Queue a thread that gave way as one that comes now: behind its equals."""
        tid = worker.head[1]
        block = self._find(tid)
        assert block is not None, f"thread {tid} is not of process {self.pid}"
        self._order += 1
        worker.yield_order = self._order
        heappush(self.yielded, (self._policy.rank(self._priority(block, tid), wall, block.chunk.deadline), self._order, worker.name))

    def park(self, tid: int) -> None:
        """Keep a thread that ends with another, the one with its key."""
        self._set(tid, WAITING)

    def take_due(self, now: float) -> float | None:
        """Queue the threads whose next attempt is due, each among its equals; gives when the next one is, None when none waits."""
        while self._due:
            due, tid = self._due[0]
            tries = self.tries.get(tid)
            if tries is not None and tries.due == due and self.state(tid) == WAITING:
                if due > now:
                    return due
                self._queue_alone(tid)
            heappop(self._due)
        return None

    def _queue_alone(self, tid: int) -> None:
        block = self._find(tid)
        assert block is not None, f"thread {tid} is not of process {self.pid}"
        self._set(tid, READY)
        self._order += 1
        self._moved[tid] = self._order  # whatever entries of its earlier ways through the queue are left
        chunk = block.chunk
        rank = self._policy.rank(self._priority(block, tid), chunk.created_at, chunk.deadline)
        heappush(block.lane.queue, (rank, self._order, tid, tid + 1))

    def end(self, tid: int, state: int) -> bool:
        """Mark a thread as ended; False when it had ended before."""
        if self.state(tid) > SENT:
            return False
        self._set(tid, state)
        return True

    def parts(self, first_tid: int, count: int) -> Iterator[tuple[Chunk, int, int]]:
        """Part threads with consecutive numbers by the chunks that they belong to: (chunk, first, count)."""
        while count > 0:
            block = self._find(first_tid)
            assert block is not None, f"thread {first_tid} is not of process {self.pid}"
            here = min(count, block.first + len(block.states) - first_tid)
            yield block.chunk, first_tid, here
            first_tid += here
            count -= here

    def complete(self, first_tid: int, count: int) -> None:
        """Mark threads of one chunk as completed, all of which were sent."""
        block = self._find(first_tid)
        assert block is not None, f"thread {first_tid} is not of process {self.pid}"
        place = first_tid - block.first
        assert block.states[place : place + count].count(SENT) == count, f"threads from {first_tid} on end twice"
        block.states[place : place + count] = _COMPLETED[:count] if count <= BATCH_MOST else bytes([COMPLETED]) * count
        self.sent -= count
        for tid in [tid for tid in self.priorities if first_tid <= tid < first_tid + count] if self.priorities else ():
            del self.priorities[tid]
        if block.group is not None:
            block.group.counts[SENT] -= count
            block.group.counts[COMPLETED] += count
            self.touched[block.chunk.group] = None
        block.open -= count
        if not block.open:
            self._close(block)

    def _close(self, block: _Block) -> None:
        if block.group is not None:
            block.group.blocks.pop(block.first, None)
        self._emptied.append(block.chunk)
        self._dead += 1
        self.size -= block.size

    def take_emptied(self) -> list[Chunk]:
        """Give the chunks whose threads have all ended since the last call, and sweep when most are such."""
        gone = self._emptied
        if not gone:
            return gone
        self._emptied = []
        for chunk in gone:
            chunk.arguments = []  # the chunk may stay for a while, and they are the most of it
        if self._dead > 64 and self._dead * 2 > len(self._blocks):
            self._blocks = [block for block in self._blocks if block.open]
            self._firsts = [block.first for block in self._blocks]
            self._found = None
            self._dead = 0
        return gone

    def waiting(self) -> list[int]:
        """Give the threads that have not ended, by number."""
        return [block.first + index for block in self._blocks for index, state in enumerate(block.states) if state <= SENT]

    def chunks(self) -> list[Chunk]:
        """Give the submissions that have threads which have not ended."""
        return [block.chunk for block in self._blocks if block.open]

    def newest(self, most: int) -> list[int]:
        """Give the newest ``most`` threads that have not ended, newest first."""
        found = (
            block.first + index
            for block in reversed(self._blocks)
            if block.open
            for index in range(len(block.states) - 1, -1, -1)
            if block.states[index] <= SENT
        )
        return list(islice(found, most))

    def newest_in(self, stage: int) -> Iterator[int]:
        """Give the threads that the column has in one stage, newest first."""
        for block in reversed(self._blocks):
            place = len(block.states) if block.open else 0
            while (place := block.states.rfind(stage, 0, place)) >= 0:
                yield block.first + place

    def batch_size(self, entry: str) -> int:
        """Give how many threads of an entry travel together now."""
        return self.estimates.batch_size(entry, ready=self.ready, workers=self.most) if self.ready > 1 else 1

    def wanted_workers(self, lane: Lane | None = None) -> int:
        """Give how many workers the waiting threads of a kind that holds slots could use, those that exist included."""
        lane = lane or self.plain
        busy = sum(1 for worker in self.workers.values() if worker.kind == lane.kind and worker.holds_slot)
        size = self.batch_size(self.next_entry(lane)) if lane.ready else 1
        return min(self.most, busy + -(-lane.ready // size))

    def waiting_in(self, kind: Kind) -> list[int]:
        """Give the threads of a kind that have not ended, by number."""
        blocks = (block for block in self._blocks if block.lane.kind == kind)
        return [block.first + index for block in blocks for index, state in enumerate(block.states) if state <= SENT]

    def check(self) -> None:
        """Hold that counts are those of the states, and that what is sent is in flight in exactly one worker."""
        flat = b"".join(bytes(block.states) for block in self._blocks)
        assert self.ready == flat.count(READY), f"process {self.pid}: {self.ready} ready, {flat.count(READY)} counted"
        assert self.suspended == flat.count(SUSPENDED), f"process {self.pid}: {self.suspended} suspended, {flat.count(SUSPENDED)} counted"
        assert self.pausing == flat.count(WAITING), f"process {self.pid}: {self.pausing} waiting, {flat.count(WAITING)} counted"
        for name, group in self.groups.items():
            mine = b"".join(
                bytes(block.states) for block in self._blocks if block.chunk.group == name and block.group is group and block.open
            )
            for state in range(SENT + 1):
                assert group.counts[state] == mine.count(state), (
                    f"group {name}: {group.counts[state]} {STATES[state]}, {mine.count(state)} counted"
                )
        due = set(self._due)
        for tid, tries in self.tries.items():
            assert self.state(tid) <= SENT, f"thread {tid} of process {self.pid} has ended, and is to be tried again"
            assert self.state(tid) != WAITING or (tries.due, tid) in due, f"thread {tid} of process {self.pid} waits for nothing"
        assert self.sent == flat.count(SENT), f"process {self.pid}: {self.sent} sent, {flat.count(SENT)} counted"
        flying = [tid for worker in self.workers.values() for _, tid in worker.in_flight if self.state(tid) == SENT]
        assert len(flying) == len(set(flying)) == self.sent, f"process {self.pid}: {self.sent} sent, {flying} in flight"
        assert self.ready == sum(lane.ready for lane in self.lanes.values()), (
            f"process {self.pid}: {self.ready} ready, in lanes another number"
        )
        queued = {
            tid
            for lane in self.lanes.values()
            for _, order, first, last in lane.queue
            for tid in range(first, last)
            if self.state(tid) == READY and self._moved.get(tid, order) == order and not self._is_voided(order, tid)
        }
        assert len(queued) == self.ready, f"process {self.pid}: {self.ready} ready, {len(queued)} queued"
