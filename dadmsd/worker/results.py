"""The page of a worker, as the worker sees it: it marks what it begins, and leaves results; dadmsd/worker/page.py has the rules.

The kernel is trusted here. Head and tail count bytes since the page was made; a ring that the kernel has emptied is written from its start again, so that a
worker that is looked after touches little of its page.
"""

from dadmsd.worker import page
from dadmsd.worker.page import (
    BEGUN,
    CAPACITY,
    DONE,
    HEAD,
    HEADER_SIZE,
    MAGIC,
    MAGIC_WORD,
    REVOKED_FIRST,
    REVOKED_LAST,
    RING_WORD,
    SEEN,
    SIZE,
    SIZE_WORD,
    STRETCH,
    STRETCH_COUNT,
    STRETCH_HEAD,
    STRETCH_MOST,
    TAIL,
    WAITS,
    WANTED,
    WRAP,
)

LEAST = 4096  # bytes: no stretch is begun in less of the ring's end
REWIND = 64 * 1024  # bytes written since the ring's start after which an empty ring starts over; less would only add padding


class Results:
    """The worker's end of its page."""

    def __init__(self, fd: int) -> None:
        self._memory = page.map_memory(fd)
        self._bytes = memoryview(self._memory)
        self._words = self._bytes.cast("Q")
        self._floats = self._bytes.cast("d")  # the same words
        self._head = self._words[HEAD]
        # of the stretch that is open:
        self._word = 0  # index of its first word; 0: none is
        self._extent = 0  # what that word says
        self._at = 0  # where its next record goes, in the page
        self._end = 0  # where its records must end
        self._next = (0, 0)  # sequence and thread of its next record

    @property
    def seen(self) -> int:
        """Give the highest sequence that came in a batch."""
        return self._words[SEEN]

    @property
    def done(self) -> int:
        """Give the sequence that ended or was skipped last."""
        return self._words[DONE]

    @property
    def begun(self) -> int:
        """Give the sequence that was begun last."""
        return self._words[BEGUN]

    @property
    def is_wanted(self) -> bool:
        """Tell whether others wait for the slot of the thread that runs."""
        return self._words[WANTED] != 0

    def mark_seen(self, sequence: int) -> None:
        """Note that everything up to this sequence has arrived: what comes again is dropped."""
        self._words[SEEN] = sequence

    def begin(self, sequence: int) -> bool:
        """Mark a thread begun, then look whether it was revoked; False: it must not run.

        The last of the range is read before the first: a kernel may replace a range that was passed by a later one in between, and the later one's last
        with the earlier one's first would span what neither holds.
        """
        words = self._words
        words[BEGUN] = sequence
        last = words[REVOKED_LAST]
        return sequence > last or not 0 < words[REVOKED_FIRST] <= sequence

    def append(self, sequence: int, tid: int, record: bytes, started_at: float) -> bool:
        """Put a short thread's ``[value, seconds]`` into the open stretch, or into a new one; False when there is no room, or it is too long for any."""
        length = len(record)
        at = self._at
        end = at + length
        if not self._word or end > self._end or self._next != (sequence, tid):
            self.close_stretch()
            if not self._open(sequence, tid, length, started_at):
                return False
            at = self._at
            end = at + length
        self._bytes[at:end] = record
        self._at = end
        self._extent += STRETCH_COUNT + length
        if not page.IS_STRONGLY_ORDERED:
            page.order_memory()
        self._words[self._word] = self._extent
        self._next = (sequence + 1, tid + 1)
        return True

    def _open(self, sequence: int, tid: int, length: int, started_at: float) -> bool:
        words = self._words
        used = self._head - words[TAIL]
        offset = self._head % CAPACITY
        if (used == 0 and offset > REWIND) or CAPACITY - offset < STRETCH_HEAD + max(length, LEAST):
            skipped = CAPACITY - offset
            if used + skipped + STRETCH_HEAD + length > CAPACITY:
                return False
            words[RING_WORD + offset // 8] = WRAP
            self._head += skipped
            used += skipped
            offset = 0
        room = min(CAPACITY - offset, CAPACITY - used, STRETCH_HEAD + STRETCH_MOST) - STRETCH_HEAD & ~7
        if length > room:
            return False
        self._word = RING_WORD + offset // 8
        self._extent = STRETCH
        self._at = HEADER_SIZE + offset + STRETCH_HEAD
        self._end = self._at + room
        words[self._word] = STRETCH
        words[self._word + 1] = sequence
        words[self._word + 2] = tid
        self._floats[self._word + 3] = started_at
        self._next = (sequence, tid)
        if not page.IS_STRONGLY_ORDERED:
            page.order_memory()
        words[HEAD] = self._head + STRETCH_HEAD
        return True

    def close_stretch(self) -> None:
        """Let *head* cover the open stretch: nothing more goes into it."""
        if self._word:
            self._word = 0
            if not page.IS_STRONGLY_ORDERED:
                page.order_memory()
            self._head = self._words[HEAD] = self._head + STRETCH_HEAD + (self._extent % STRETCH_COUNT + 7 & ~7)

    def write(self, record: bytes) -> bool:
        """Put a record into the ring; False when there is no room until the kernel has consumed some.

        ``record`` is at most RECORD_LIMIT bytes long.
        """
        self.close_stretch()
        words = self._words
        head = self._head
        length = len(record)
        need = 8 + (length + 7 & ~7)
        offset = head % CAPACITY
        used = head - words[TAIL]
        left = CAPACITY - offset
        if need > left or (used == 0 and offset > REWIND and need <= offset):
            if used + left + need > CAPACITY:
                return False
            words[RING_WORD + offset // 8] = WRAP
            head += left
            offset = 0
        elif used + need > CAPACITY:
            return False
        words[RING_WORD + offset // 8] = length
        start = HEADER_SIZE + offset + 8
        self._bytes[start : start + length] = record
        page.order_memory()
        self._head = words[HEAD] = head + need
        return True

    def finish(self, sequence: int) -> None:
        """Mark a thread ended or skipped."""
        if not page.IS_STRONGLY_ORDERED:
            page.order_memory()
        self._words[DONE] = sequence

    def is_spoiled(self, sequence: int) -> bool:
        """Tell whether the thread that ran last wrote over the page: two words that it had no business with are looked at, which a page that was overwritten does not keep both."""
        words = self._words
        return words[BEGUN] != sequence or words[MAGIC_WORD] != MAGIC

    def mend(self, sequence: int) -> None:
        """Put those words back by which it is known who ran; what the ring held is lost."""
        words = self._words
        words[MAGIC_WORD], words[SIZE_WORD] = MAGIC, SIZE
        words[DONE], words[BEGUN] = sequence - 1, sequence

    def mark_waiting(self, *, is_waiting: bool) -> None:
        """Tell the kernel that ``Consumed`` is waited for, or no longer.

        Mark, then look for room once more: either this sees the room that the kernel made, or the kernel sees the mark.
        """
        self._words[WAITS] = is_waiting
        page.fence()

    def close(self) -> None:
        """Unmap the page."""
        self._floats.release()
        self._words.release()
        self._bytes.release()
        self._memory.close()
