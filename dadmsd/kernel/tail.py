"""The newest turns of the journal: each is one frame, appended to a file with one system call.

1. A frame is whole or it is not there: length, checksum and a sequence without gaps tell. Reading ends at the first one that is not (what follows was never said to
   anybody, or was lost together with it).
2. What the file of rows has taken over is in files of its own, which go away then: ``rotate`` begins a new file, ``drop`` removes those before it.
3. A write that does not fit leaves the file as it was.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"dadms journal 1\n"
_FRAME = struct.Struct("<QII")  # sequence, bytes of the payload, CRC-32 of sequence and payload
_SEQUENCE = struct.Struct("<Q")


class Tail:
    """The files ``kernel.tail-N``, N being the sequence of the first frame."""

    def __init__(self, journal: Path) -> None:
        self._directory = journal.parent
        self._prefix = f"{journal.stem}.tail-"
        self._fd = -1
        self._size = 0  # bytes of the file that is written
        self.size = 0  # bytes of all of them

    def read(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Give (sequence, payload) of the frames that follow a sequence, oldest first."""
        for path in self._files():
            content = path.read_bytes()
            self.size += len(content)
            if not content.startswith(MAGIC):
                return
            place = len(MAGIC)
            while place + _FRAME.size <= len(content):
                sequence, length, checksum = _FRAME.unpack_from(content, place)
                payload = content[place + _FRAME.size : place + _FRAME.size + length]
                if sequence > after + 1 or len(payload) < length or _checksum(sequence, payload) != checksum:
                    return
                place += _FRAME.size + length
                if sequence == after + 1:  # earlier ones were taken over, and their file was about to go
                    after = sequence
                    yield sequence, payload

    def append(self, sequence: int, payload: bytes) -> None:
        """Add a frame. Raises OSError; nothing of it is there then."""
        if self._fd < 0:
            self._open(sequence)
        frame = _FRAME.pack(sequence, len(payload), _checksum(sequence, payload)) + payload
        try:
            written = os.write(self._fd, frame)
            while written < len(frame):  # a disk that is full says so at the next write
                written += os.write(self._fd, memoryview(frame)[written:])
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(frame)
        self.size += len(frame)

    def rotate(self) -> None:
        """Let the next frame begin a new file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def drop(self) -> None:
        """Remove every file but the one that is written."""
        files = self._files()
        for path in files[:-1] if self._fd >= 0 else files:
            path.unlink()
        self.size = self._size if self._fd >= 0 else 0

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob(f"{self._prefix}*"))

    def _open(self, sequence: int) -> None:
        path = self._directory / f"{self._prefix}{sequence:020d}"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(self._fd, MAGIC)
        except OSError:
            self.rotate()
            raise
        self._size = len(MAGIC)
        self.size += len(MAGIC)


def _checksum(sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_SEQUENCE.pack(sequence)))
