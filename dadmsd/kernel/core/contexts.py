"""All shared contexts, who holds locks in them and who waits for what: the memory of ``sharing``, which decides."""

import msgspec

from dadms_ipc import context
from dadms_ipc.port import ContextAnswer
from dadmsd.kernel.core.context import Asker, Space
from dadmsd.kernel.core.records import Caller, Lock


class Parked(msgspec.Struct):
    """A call or request that waits."""

    caller: str  # the child, or the client in hexadecimal
    sequence: int
    asker: Asker
    pid: int  # whose context
    operation: context.Watch | context.Lock
    deadline: float  # monotonic
    client: bytes = b""

    @property
    def key(self) -> str:
        """Name it, as its timer does."""
        return f"{self.caller}#{self.sequence}"


Keys = dict[str, None]  # of parked calls, in the order in which they came


class Contexts:
    """Spaces by process, and indices over those who wait."""

    def __init__(self) -> None:
        self.spaces: dict[int, Space] = {}
        self.size = 0  # bytes, of all spaces
        self.callers: dict[str, Caller] = {}  # by child
        self.refused: dict[str, dict[int, ContextAnswer]] = {}  # by child and sequence: answers of this kernel that changed nothing
        self.parked: dict[str, Parked] = {}
        self.by_caller: dict[str, Keys] = {}
        self.watching: dict[tuple[int, str], Keys] = {}  # by process and region
        self.queued: dict[tuple[int, str, str], Keys] = {}  # by process, region and lock
        self.held: dict[str, dict[tuple[int, str, str], Lock]] = {}  # by the child whose end gives them back

    def park(self, parked: Parked) -> None:
        """Let a call wait."""
        key, operation = parked.key, parked.operation
        if isinstance(operation, context.Watch):
            self.watching.setdefault((parked.pid, operation.region), {})[key] = None
        else:
            self.queued.setdefault((parked.pid, operation.region, operation.lock), {})[key] = None
        self.by_caller.setdefault(parked.caller, {})[key] = None
        self.parked[key] = parked

    def unpark(self, key: str) -> Parked | None:
        """Let a call wait no longer."""
        parked = self.parked.pop(key, None)
        if parked is None:
            return None
        operation = parked.operation
        if isinstance(operation, context.Watch):
            place = (parked.pid, operation.region)
            del self.watching[place][key]
            if not self.watching[place]:
                del self.watching[place]
        else:
            queue = (parked.pid, operation.region, operation.lock)
            del self.queued[queue][key]
            if not self.queued[queue]:
                del self.queued[queue]
        del self.by_caller[parked.caller][key]
        if not self.by_caller[parked.caller]:
            del self.by_caller[parked.caller]
        return parked

    def unpark_all(self, caller: str) -> None:
        """Let nothing of a child or client wait."""
        for key in list(self.by_caller.get(caller, ())):
            self.unpark(key)

    def hold(self, lock: Lock) -> None:
        """Note whose end gives a lock back."""
        self.held.setdefault(lock.child, {})[(lock.pid, lock.region, lock.name)] = lock

    def release(self, lock: Lock) -> None:
        """Note that its end gives it back no longer."""
        theirs = self.held[lock.child]
        del theirs[(lock.pid, lock.region, lock.name)]
        if not theirs:
            del self.held[lock.child]

    def check(self) -> None:
        """Hold that counts and indices are those of what is there."""
        assert self.size == sum(space.size for space in self.spaces.values()), f"contexts of {self.size} bytes"
        held = [lock for locks in self.held.values() for lock in locks.values()]
        assert len(held) == sum(space.held for space in self.spaces.values()), "locks are held that no context knows of"
        waiting = [key for keys in self.watching.values() for key in keys] + [key for keys in self.queued.values() for key in keys]
        assert sorted(waiting) == sorted(self.parked), "who waits is not known by what is waited for"
        assert sorted(waiting) == sorted(key for keys in self.by_caller.values() for key in keys), "who waits is not known by who asked"
        for pid, region, name in self.queued:
            assert self.spaces[pid].lock_of(region, name) is not None, f'lock "{name}" is waited for and free'
