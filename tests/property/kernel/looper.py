"""An async worker with its page, as a plain object: threads begin as they arrive, many at a time, and end in any order."""

import random
from collections import deque

import msgspec

from dadms_ipc.port import Declaration
from dadmsd.worker.messages import Item, Outcome

NIL = msgspec.Raw(b"\xc0")
AT_ONCE = 3
NAPS = {"nap": "completed", "sour": "error"}  # async entries that end by themselves, and how
ENTRIES = [*NAPS, "wait", "deaf", "break", "capped"]  # "wait" ends when it is cancelled, "deaf" never does, "break" ends its worker
DECLARATIONS = [
    *(Declaration(entry, is_async=True, at_once=AT_ONCE) for entry in (*NAPS, "wait", "deaf", "break")),
    Declaration("capped", memory_limit=64 << 20),
]


class Looper:
    """What the real one promises, no more."""

    def __init__(self, begun: dict[int, int], finished: set[int], chance: random.Random) -> None:
        self.begun_by_tid = begun
        self.finished = finished
        self.random = chance
        self.seen = self.begun = self.done = 0
        self.arrived: deque[tuple[int, Item]] = deque()  # and not begun
        self.running: dict[int, str] = {}  # entries of threads
        self.held: set[int] = set()
        self.cancelled: set[int] = set()
        self.page: list[Outcome] = []
        self.is_finishing = False
        self.wants_to_ring = False
        self.is_stuck = False  # the world's: nothing is in the middle of something here

    def batch(self, first: int, items: list[Item]) -> None:
        """Take threads in; what was seen is dropped."""
        for offset, item in enumerate(items):
            if first + offset > self.seen:
                self.seen = first + offset
                self.arrived.append((first + offset, item))

    def steer(self, verb: str, tids: list[int]) -> None:
        """Cancel threads, or hold these and no others; what arrived before has begun by then."""
        while self.arrived:
            self._begin()
        if verb == "cancel":
            self.cancelled |= set(tids) & self.running.keys()
            self.held -= set(tids)
        else:
            self.held = set(tids) - self.cancelled

    def _begin(self) -> None:
        self.begun, item = self.arrived.popleft()
        self.begun_by_tid[item.tid] = self.begun_by_tid.get(item.tid, 0) + 1
        self.running[item.tid] = item.entry

    def _able(self) -> list[int]:
        """Give the threads that something can happen to."""
        return [
            tid
            for tid, entry in self.running.items()
            if tid not in self.held and (entry in NAPS or entry == "break" or (entry == "wait" and tid in self.cancelled))
        ]

    @property
    def can_act(self) -> bool:
        """Tell whether anything can happen here."""
        return self.wants_to_ring or bool(self.arrived or self._able()) or (self.is_finishing and not self.running)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing would happen here before somebody says something: the doorbell rings then."""
        return not self.arrived and not self._able()

    def step(self) -> tuple[int, int, str] | None:
        """Begin a thread, or end one; gives (how, status, whose memory) when the worker ends over it."""
        able = self._able()
        if self.arrived and (not able or self.random.random() < 0.5):
            self._begin()
        elif able:
            tid = self.random.choice(able)
            entry = self.running[tid]
            if entry == "break":
                return 2, 11, ""
            status = "cancelled" if tid in self.cancelled else NAPS[entry]
            if tid in self.cancelled and entry in NAPS and self.random.random() < 0.3:
                status = NAPS[entry]  # it was quicker
            del self.running[tid]
            self.done += 1
            self.page.append(Outcome(self.done, tid, status, NIL, "" if status == "completed" else "ValueError", run_seconds=0.01))
            if status == "completed":
                self.finished.add(tid)
            self.wants_to_ring = True
        elif self.is_finishing and not self.running:
            return 1, 0, ""
        return None
