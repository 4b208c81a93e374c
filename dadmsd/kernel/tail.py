"""The newest turns of the journal: each is one frame, written to a file with one system call.

1. A frame is whole or it is not there: length, checksum and a sequence without gaps tell. Reading a file ends at the first one that is not (what follows was never said to
   anybody, or was lost together with it).
2. What the file of rows has taken over is in files of its own, which go away then: ``rotate`` begins a new file, ``drop`` removes those before it.
3. A write that does not fit leaves the file as it was.
4. The file has room beyond its end that is its own: AHEAD bytes are allocated, and more are asked for before fewer than LEAST are left. So that the disk is full is known before anything is
   promised, and what was promised, or happens by itself, has room for a while. A kernel that follows another goes on in its file, for a disk that is full gives it no other.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"dadms journal 1\n"
AHEAD = 4 << 20  # bytes: some thousand turns; allocating them takes less than a millisecond
LEAST = 2 << 20  # bytes: more than any one turn, but for one with the arguments of thousands of threads
_FRAME = struct.Struct("<QII")  # sequence, bytes of the payload, CRC-32 of sequence and payload
_SEQUENCE = struct.Struct("<Q")


class Tail:
    """The files ``kernel.tail-N``, N being the sequence of the first frame."""

    def __init__(self, journal: Path) -> None:
        self._directory = journal.parent
        self._prefix = f"{journal.stem}.tail-"
        self._fd = -1
        self._path: Path | None = None  # of the file that is written
        self._size = 0  # bytes of the file that is written, without the room beyond its end
        self._allocated = 0  # bytes of it, with that room
        self._last: tuple[Path, int] | None = None  # the newest file that was read, and where its frames end
        self.size = 0  # bytes of all of them

    def read(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Give (sequence, payload) of the frames that follow a sequence, oldest first."""
        for path in self._files():
            content = path.read_bytes()
            if not content.startswith(MAGIC):
                continue  # its kernel died before the first word in it: nothing was said there
            place = len(MAGIC)
            self._last = (path, place)
            while place + _FRAME.size <= len(content):
                sequence, length, checksum = _FRAME.unpack_from(content, place)
                payload = content[place + _FRAME.size : place + _FRAME.size + length]
                if sequence > after + 1 or len(payload) < length or _checksum(sequence, payload) != checksum:
                    break  # nothing was written here yet, or not all of it; a later file goes on where a kernel that saw the same did
                place += _FRAME.size + length
                self._last = (path, place)
                if sequence == after + 1:  # earlier ones were taken over, and their file was about to go
                    after = sequence
                    yield sequence, payload
            self.size += place

    def secure(self, sequence: int) -> None:
        """See to it that there is room for the next turns, whose first has this sequence. Raises OSError when there is not."""
        if self._fd < 0:
            self._open(sequence)
        elif self._allocated - self._size < LEAST:
            self._allocate()

    def append(self, sequence: int, payload: bytes) -> None:
        """Add a frame. Raises OSError; nothing of it is there then."""
        if self._fd < 0:
            self._open(sequence)
        frame = _FRAME.pack(sequence, len(payload), _checksum(sequence, payload)) + payload
        if self._size + len(frame) > self._allocated:
            self._allocate(len(frame))
        written = 0
        try:
            while written < len(frame):
                written += os.pwrite(self._fd, memoryview(frame)[written:], self._size + written)
        except OSError:
            if written:
                os.pwrite(self._fd, bytes(min(written, _FRAME.size)), self._size)
            raise
        self._size += len(frame)
        self.size += len(frame)

    def rotate(self, sequence: int) -> None:
        """Let the frame with this sequence begin a new file, which has its room before the old one gives its own back. Raises OSError, and the old one goes on."""
        fd, path, size, allocated = self._fd, self._path, self._size, self._allocated
        try:
            self._open(sequence, is_new=True)
        except OSError:
            self._fd, self._path, self._size, self._allocated = fd, path, size, allocated
            raise
        if fd >= 0:
            os.ftruncate(fd, size)
            os.close(fd)

    def drop(self) -> None:
        """Remove every file but the one that is written."""
        for path in self._files():
            if path != self._path:
                path.unlink()
        self.size = self._size if self._fd >= 0 else 0

    def empty(self) -> None:
        """Begin anew in the file that is written, and remove the others: all of it was taken over where there was no room for a new one."""
        if self._fd >= 0:
            os.ftruncate(self._fd, len(MAGIC))
            self._size = self._allocated = len(MAGIC)
        self.drop()

    def close(self) -> None:
        """Let go of it; a file without a frame goes."""
        if self._fd >= 0:
            os.ftruncate(self._fd, self._size)
            os.close(self._fd)
            self._fd = -1
            if self._size == len(MAGIC) and self._path is not None:
                self._path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob(f"{self._prefix}*"))

    def _open(self, sequence: int, *, is_new: bool = False) -> None:
        if self._last is not None and not is_new:
            self._go_on(*self._last)
            return
        path = self._directory / f"{self._prefix}{sequence:020d}"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._size = len(MAGIC)
        try:
            self._allocate()
            os.pwrite(self._fd, MAGIC, 0)
        except OSError:
            os.close(self._fd)
            self._fd = -1
            path.unlink()
            raise
        self._path = path
        self._last = None
        self.size += len(MAGIC)

    def _go_on(self, path: Path, place: int) -> None:
        """Write where another kernel stopped. What it may have left there of a frame that is not whole is wiped, lest it be taken for one some day."""
        self._last = None
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._size, self._allocated = place, os.fstat(self._fd).st_size
        left = self._allocated - place
        try:
            while left > 0:
                left -= os.pwrite(self._fd, bytes(left), self._allocated - left)
        except OSError:
            os.close(self._fd)
            self._fd, self._last = -1, (path, place)
            raise

    def _allocate(self, more: int = 0) -> None:
        end = self._size + AHEAD + more
        os.posix_fallocate(self._fd, self._size, AHEAD + more)
        self._allocated = end


def _checksum(sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_SEQUENCE.pack(sequence)))
