"""The page of a worker, as the kernel sees it: what the worker began, and the results that outlive it; docs/reference/page.md has it literally.

1. A page is a memfd that can neither shrink nor grow (a page truncated by its worker would kill its reader with SIGBUS). Its words are 64 bits wide, aligned,
   each written by one side only, with one store.
2. A worker writes *begun*, then reads *revoked*; the kernel **freezes** the worker, reads *begun*, then writes *revoked*, then lets it go on. So a sequence is
   either begun or revoked, never both and never neither: that is what makes a prefetched thread safe to take back.
3. What lies in *revoked* has never run on this worker and never will, whichever kernel wrote it there; a sequence is used once.
4. A result is in the ring before *head* covers it, and *head* covers it before *done* says so. A record never wraps: where it would, a word of ones sends the
   reader to the ring's start.
5. Short threads that complete one after the other share a **stretch**: a record that grows. Its first word tells count and bytes in one store; *head* covers the
   rest of it once it is closed.
6. The worker may write anything anywhere at any time. So the kernel copies before it decodes, keeps its own tail and revoked range, and believes no length:
   what is wrong costs PageViolation, which carries the good results in front of it.
"""

import fcntl
import mmap
import os
from _thread import allocate_lock
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from dadms_ipc.errors import PeerViolation, RequestRefused
from dadmsd.worker.messages import Outcome, Stretch

VERSION: Final = 2
MAGIC: Final = int.from_bytes(b"DADMSPG" + bytes([VERSION]), "little")
SIZE: Final = 1 << 20  # bytes of the whole memfd; only what is touched takes memory
HEADER_SIZE: Final = 128  # bytes: sixteen words
CAPACITY: Final = SIZE - HEADER_SIZE  # bytes of the ring
RESULT_LIMIT: Final = 256 * 1024  # bytes of a value; beyond it, a result belongs into an artifact
RECORD_LIMIT: Final = 384 * 1024  # bytes of a record: value, message, traceback; under half of the ring, else one might never fit
WRAP: Final = (1 << 64) - 1  # in place of a length: go on at the ring's start
STRETCH: Final = 1 << 63  # in place of a length, with a count of threads and a length in bytes: a stretch
STRETCH_COUNT: Final = 1 << 32  # what one thread adds to that word, beside its bytes
STRETCH_HEAD: Final = 32  # bytes: that word, first sequence, first thread, start of the first (a double)
STRETCH_MOST: Final = 128 * 1024  # bytes of the records of one stretch
HIGHEST: Final = (1 << 64) - 2  # sequence

# Words of the header, by index.
MAGIC_WORD: Final = 0
SIZE_WORD: Final = 1
BEGUN: Final = 2  # worker: sequence of the thread that was begun last
DONE: Final = 3  # worker: sequence of the thread that ended, or was skipped, last
SEEN: Final = 4  # worker: highest sequence that came in a batch
REVOKED_FIRST: Final = 5  # kernel: inclusive range that must not begin; first = 0: none
REVOKED_LAST: Final = 6
HEAD: Final = 7  # worker: bytes ever written to the ring
TAIL: Final = 8  # kernel: bytes ever consumed
WAITS: Final = 9  # worker: 1 while it waits for room, and for ``Consumed``
WANTED: Final = 10  # kernel: 1 while others wait for the slot of the thread that runs

RING_WORD: Final = HEADER_SIZE // 8
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_STATUSES: Final = frozenset({"completed", "error", "cancelled"})
_LONGEST: Final = 1e10  # seconds, some 300 years: a duration beyond it is garbage
IS_STRONGLY_ORDERED: Final = os.uname().machine in {"x86_64", "i686"}  # stores stay in order there, and so do loads

_decoder = msgspec.msgpack.Decoder(Outcome)
_pairs = msgspec.msgpack.Decoder(list[tuple[msgspec.Raw, float]])
_lock = allocate_lock()


def fence() -> None:
    """Keep loads and stores before this call before those after it, a store before a load included, which no machine does by itself."""
    for _ in range(2):  # a release and the acquire after it; each is an atomic operation
        with _lock:
            pass


def order_memory() -> None:
    """Keep stores in their order, and loads in theirs, on machines that would reorder them."""
    if not IS_STRONGLY_ORDERED:
        fence()


class PageViolation(PeerViolation):
    """The ring holds something that is no result; ``results`` are the good ones in front of it."""

    def __init__(self, reason: str, results: Sequence[Outcome | Stretch]) -> None:
        super().__init__(reason)
        self.results = list(results)

    @property
    def outcomes(self) -> list[Outcome]:
        """Give the good ones one by one."""
        return singly(self.results)


class Page:
    """A mapped page, on the kernel's side."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._bytes = memoryview(memory)
        self._words = self._bytes.cast("Q")
        self._floats = self._bytes.cast("d")  # the same words
        self._tail = self._words[TAIL]
        self._revoked = (self._words[REVOKED_FIRST], self._words[REVOKED_LAST])
        self._ends: deque[tuple[int, int]] = deque()  # sequence, and where its record ends: read and not consumed
        self._consumed = 0  # sequence
        self._taken = (-1, 0, 0)  # of an open stretch: where it begins, threads and bytes that were consumed
        self._open = (-1, 0, 0, 0)  # the same as read, and the last sequence
        self._taken_until = self._read_until = 0.0  # wall clock, seconds: when the last of these ended

    @classmethod
    def create(cls, name: str, *, first_sequence: int = 1) -> tuple["Page", int]:
        """Make a page for a worker whose first thread has this sequence; the memfd is the caller's, the mapping keeps a duplicate of its own."""
        fd = os.memfd_create(f"dadms-page-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, SIZE)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            memory = mmap.mmap(fd, SIZE)
        except BaseException:
            os.close(fd)
            raise
        with memoryview(memory) as whole, whole.cast("Q") as words:
            words[SIZE_WORD] = SIZE
            words[BEGUN] = words[DONE] = words[SEEN] = first_sequence - 1
            words[MAGIC_WORD] = MAGIC
        return cls(memory), fd

    @classmethod
    def map(cls, fd: int) -> "Page":
        """Map the page of a worker that lived under an earlier kernel; the descriptor stays the caller's.

        Raises PeerViolation when the descriptor is no page of this version, or can still be truncated.
        """
        memory = map_memory(fd)
        page = cls(memory)
        if page._tail % 8 or not 0 <= page._words[HEAD] - page._tail <= CAPACITY:
            page.close()
            raise PeerViolation(f"a page whose ring ends at {page._tail} cannot be read on")
        return page

    @property
    def begun(self) -> int:
        """Give the sequence that was begun last; a hostile worker may have written any number."""
        return self._words[BEGUN]

    @property
    def done(self) -> int:
        """Give the sequence that ended or was skipped last; a hostile worker may have written any number."""
        return self._words[DONE]

    @property
    def seen(self) -> int:
        """Give the highest sequence that reached the worker."""
        return self._words[SEEN]

    @property
    def revoked(self) -> tuple[int, int] | None:
        """Give the inclusive range that never begins; None when there is none."""
        return self._revoked if self._revoked[0] else None

    @property
    def waits(self) -> bool:
        """Tell whether the worker waits for room: if so after a ``consume``, ``Consumed`` is due."""
        fence()
        return self._words[WAITS] != 0

    def ask_yield(self, *, is_wanted: bool) -> None:
        """Say whether others wait for the worker's slot."""
        self._words[WANTED] = is_wanted

    def revoke(self, first: int, last: int) -> tuple[int, int] | None:
        """Keep what has not begun of this inclusive range from beginning; give the part that is now revoked, or None when all of it has begun.

        The worker must be **frozen** (rule 2), and ``last`` a sequence that was used: one given out later would be skipped. Raises RequestRefused when an earlier range is still to be skipped and does not touch this one: there is
        one range in a page.
        """
        words = self._words
        begun = words[BEGUN]
        first = max(first, begun + 1)
        if not first <= last <= HIGHEST:
            return None
        old_first, old_last = self._revoked
        union = (first, last)
        done = words[DONE]
        if old_first and old_last > done:  # by done: between begun and done, the worker is still to look into the range
            pending = max(old_first, done + 1)
            if first > old_last + 1 or last + 1 < pending:
                raise RequestRefused(f"cannot revoke threads {first} to {last}: {pending} to {old_last} are still to be skipped")
            union = (min(first, pending), max(last, old_last))
        else:
            words[REVOKED_FIRST] = 0  # a kernel that dies between these stores leaves no range, or one within the union
            order_memory()
        words[REVOKED_LAST] = union[1]
        order_memory()
        words[REVOKED_FIRST] = union[0]
        self._revoked = union
        return first, last

    def read_results(self) -> list[Outcome]:
        """Give every result that was not consumed, in order, one by one; nothing is consumed by it."""
        return singly(self.read())

    def read(self) -> list[Outcome | Stretch]:
        """Give every result that was not consumed, in order, stretches as such; nothing is consumed by it.

        Raises PageViolation at the first record that is none.
        """
        head = self._words[HEAD]
        results: list[Outcome | Stretch] = []
        self._ends.clear()
        self._open = (-1, 0, 0, 0)
        used = head - self._tail
        if used == 0:
            return results
        if not 0 < used <= CAPACITY or head % 8:
            raise PageViolation(f"a ring of {CAPACITY} bytes that claims to hold {used}", results)
        if not IS_STRONGLY_ORDERED:
            fence()
        position = self._tail
        last = self._consumed
        while position < head:
            offset = position % CAPACITY
            length = self._words[RING_WORD + offset // 8]
            if length == WRAP:
                position += CAPACITY - offset
                if position > head:
                    raise PageViolation(f"a ring that wraps beyond its head, {head}", results)
                continue
            if length & STRETCH:
                position, last = self._read_stretch(position, head, last, results)
                continue
            room = min(head - position, CAPACITY - offset) - 8
            if not 0 < length <= min(room, RECORD_LIMIT):
                raise PageViolation(f"a record of {length} bytes where {room} are left", results)
            outcome = self._decode(HEADER_SIZE + offset + 8, length, last, results)
            position += 8 + (length + 7 & ~7)
            last = outcome.sequence
            results.append(outcome)
            self._ends.append((last, position))
        return results

    def free_known(self) -> bool:
        """Free the room of what ``read`` found and had been consumed before: a stretch that was closed since; tell whether there was any."""
        tail = self._tail
        self.consume(self._consumed)
        return self._tail != tail

    def _read_stretch(self, position: int, head: int, last: int, results: list[Outcome | Stretch]) -> tuple[int, int]:
        """Read a stretch, or what is new in one that still grows; give where the next record begins, and the last sequence."""
        offset = position % CAPACITY
        if not IS_STRONGLY_ORDERED:
            fence()  # head was read first: a stretch that it covers is closed, and this word is the last of it
        word = self._words[RING_WORD + offset // 8]
        count, size = (word & ~STRETCH) // STRETCH_COUNT, word % STRETCH_COUNT
        end = position + STRETCH_HEAD + (size + 7 & ~7)
        is_open = head == position + STRETCH_HEAD
        room = min(CAPACITY - offset, self._tail + CAPACITY - position) - STRETCH_HEAD
        if count > size or size > min(room, STRETCH_MOST) or not (is_open or end <= head):
            raise PageViolation(f"a stretch of {count} results in {size} bytes where {room} are left", results)
        if not IS_STRONGLY_ORDERED:
            fence()
        start = self._taken if self._taken[0] == position else (position, 0, 0)
        known, skipped = start[1], start[2]
        if count < known or size < skipped:
            raise PageViolation(f"a stretch that shrank to {count} results", results)
        first = RING_WORD + offset // 8
        first_sequence, first_tid = self._words[first + 1] + known, self._words[first + 2] + known
        if count > known:
            if not (last < first_sequence and first_sequence + count - known <= HIGHEST and first_tid + count <= HIGHEST):
                raise PageViolation(f"results of threads from {first_sequence} on after that of {last}", results)
            at = HEADER_SIZE + offset + STRETCH_HEAD
            content = (count - known).to_bytes(4, "big") + self._bytes[at + skipped : at + size]  # a copy
            try:
                pairs = _pairs.decode(b"\xdd" + content)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                raise PageViolation(f"a stretch that holds no results: {error}", results) from error
            seconds = [pair[1] for pair in pairs]
            started_at, total = self._floats[first + 3], sum(seconds)
            if not (min(seconds) >= 0.0 and total <= _LONGEST and 0.0 <= started_at <= _LONGEST):  # a NaN is not
                raise PageViolation("a result with an impossible duration", results)
            if known:
                started_at = max(started_at, self._taken_until)
            self._read_until = started_at + total
            results.append(Stretch(first_sequence, first_tid, started_at, [pair[0] for pair in pairs], seconds))
            last = first_sequence + count - known - 1
        if is_open:
            self._open = (position, count, size, last)
            return head, last
        self._ends.append((last, end))
        return end, last

    def _decode(self, start: int, length: int, last: int, results: list[Outcome | Stretch]) -> Outcome:
        record = bytes(self._bytes[start : start + length])  # the worker may change the original while it is decoded
        try:
            outcome = _decoder.decode(record)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise PageViolation(f"a record that is no outcome: {error}", results) from error
        if not last < outcome.sequence <= HIGHEST:
            raise PageViolation(f"a result of thread {outcome.sequence} after that of {last}", results)
        if outcome.status not in _STATUSES:
            raise PageViolation(f'a result with the status "{outcome.status[:40]}"', results)
        is_possible = 0.0 <= outcome.run_seconds <= _LONGEST and 0.0 <= outcome.cpu_seconds <= _LONGEST  # a NaN is not
        if not (is_possible and 0.0 <= outcome.started_at <= _LONGEST):
            raise PageViolation("a result with an impossible duration", results)
        return outcome

    def consume(self, through_sequence: int) -> None:
        """Free the room of the results up to this sequence, of those that ``read_results`` gave last: they are in the journal."""
        ends = self._ends
        tail = self._tail
        while ends and ends[0][0] <= through_sequence:
            self._consumed, tail = ends.popleft()
        position, count, size, last = self._open
        if position >= 0 and last <= through_sequence:
            self._taken = (position, count, size)
            self._taken_until = self._read_until
            self._consumed = last
        if tail != self._tail:
            self._tail = tail
            if not IS_STRONGLY_ORDERED:
                fence()
            self._words[TAIL] = tail

    def close(self) -> None:
        """Unmap the page; a worker that lives keeps its own mapping."""
        self._floats.release()
        self._words.release()
        self._bytes.release()
        self._memory.close()


def singly(results: Sequence[Outcome | Stretch]) -> list[Outcome]:
    """Give results one by one, those of stretches as if they were alone."""
    return [outcome for each in results for outcome in (each.outcomes() if isinstance(each, Stretch) else (each,))]


def map_memory(fd: int) -> mmap.mmap:
    """Map the memfd of a page, after a look at its seals, size and version."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        size = os.fstat(fd).st_size
    except OSError as error:
        raise PeerViolation(f"a descriptor that is no page: {error.strerror}") from error
    if seals & _SEALS != _SEALS:
        raise PeerViolation("a page that can still be truncated")
    if size != SIZE:
        raise PeerViolation(f"a page of {size} bytes, {SIZE} in version {VERSION}")
    memory = mmap.mmap(fd, SIZE)
    with memoryview(memory) as whole, whole.cast("Q") as words:
        magic, stated = words[MAGIC_WORD], words[SIZE_WORD]
    if magic != MAGIC or stated != SIZE:
        memory.close()
        raise PeerViolation(f"a page of another version (its first word is {magic:#018x})")
    return memory
