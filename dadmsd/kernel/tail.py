"""The newest turns of the journal: each is one frame, written to a file with one system call.

1. A frame is whole or it is not there: length, checksum and a sequence without gaps tell (frames.py). A file may end in what a kernel was writing when it died. A frame that is
   broken with whole ones behind it is damage: one wrong bit is put right; what follows anything else is left out, and told, and the files are kept aside.
2. What the file of rows has taken over is in files of its own, which go away then: ``rotate`` begins a new file, ``drop`` removes those before it.
3. A write that does not fit leaves the file as it was.
4. The file has room beyond its end that is its own: AHEAD bytes are allocated, and more are asked for before fewer than LEAST are left. So that the disk is full is known before anything is
   promised, and what was promised, or happens by itself, has room for a while. A kernel that follows another goes on in its file, for a disk that is full gives it no other.
"""

import os
import shutil
from pathlib import Path

import msgspec

from dadmsd.kernel import frames
from dadmsd.kernel.frames import MAGIC

AHEAD = 4 << 20  # bytes: some thousand turns; allocating them takes less than a millisecond
LEAST = 2 << 20  # bytes: more than any one turn, but for one with the arguments of thousands of threads
ASIDE = "damaged-"  # before the name of a file that is kept for people

Turn = tuple[int, bytes]  # sequence, payload


class Damage(msgspec.Struct, frozen=True):
    """A place where a file is not what was written."""

    path: Path  # where it was; a copy is beside it, with ASIDE before its name
    place: int  # bytes from its beginning
    left_out: int = 0  # bytes; 0: one bit was put right, and nothing is lost
    first: int = 0  # the turn that is broken or missing
    through: int = 0  # the last one that is missing, where nothing of them is there


class Reading(msgspec.Struct):
    """What the files of a tail hold."""

    turns: list[Turn] = []  # that follow the rows without a gap
    left_out: list[Turn] = []  # whole ones behind a gap
    damages: list[Damage] = []
    unfinished: int = 0  # bytes at the very end, of a turn that was being written
    missing_through: int = 0  # the last turn of a gap behind which there is nothing: its files, or the file of rows, were removed


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

    def read(self, after: int) -> Reading:
        """Read what follows a sequence."""
        reading = Reading()
        newest = after
        rest: Damage | None = None  # what is broken at the end of the file before
        for path in self._files():
            content = path.read_bytes()
            place = len(MAGIC)  # where the last frame ended
            is_ours = content.startswith(MAGIC)  # else its kernel died before the first word in it; or it is damaged
            mended = [] if is_ours else [0]
            broken = 0  # bytes
            for frame in frames.read(content, int(path.name.removeprefix(self._prefix))):
                is_ours = True
                if frame.sequence == newest + 1 and not reading.left_out:
                    newest = frame.sequence
                    reading.turns.append((newest, frame.payload))
                    mended += [frame.place] if frame.is_mended else []
                elif frame.sequence > newest + 1:  # earlier ones were taken over, and their file was about to go
                    if rest is not None and not reading.left_out:
                        reading.damages.append(rest)
                    broken = broken or place
                    reading.left_out.append((frame.sequence, frame.payload))
                place = frame.end
            first = int(path.name.removeprefix(self._prefix))
            if is_ours and place == len(MAGIC) and first > newest + 1 and not reading.left_out:  # its name says what came before it
                reading.missing_through = first - 1
                reading.damages.append(Damage(path, place, 0, newest + 1, first - 1))
            reading.damages += [Damage(path, each) for each in mended if is_ours]
            if broken:
                reading.damages.append(Damage(path, broken, place - broken, newest + 1))
            if is_ours:
                self._last = (path, place)
                over = len(content.rstrip(b"\0")) - place
                rest = Damage(path, place, over, newest + 1) if over > 0 else None
            self.size += place if is_ours else 0
        reading.unfinished = rest.left_out if rest is not None else 0
        return reading

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
        frame = frames.pack(sequence, payload)
        if self._size + len(frame) > self._allocated:
            self._allocate(len(frame))
        written = os.pwrite(self._fd, frame, self._size)
        try:
            while written < len(frame):
                written += os.pwrite(self._fd, memoryview(frame)[written:], self._size + written)
        except OSError:
            os.pwrite(self._fd, bytes(min(written, frames.HEADER.size)), self._size)
            raise
        self._size += written
        self.size += written

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

    def set_aside(self, damages: list[Damage]) -> None:
        """Keep what is damaged for people, under another name, and remove the rest: all that could be read of it was taken over."""
        for path in {damage.path for damage in damages}:
            kept = path.with_name(f"{ASIDE}{path.name}")
            if not kept.exists():
                try:
                    os.link(path, kept)  # takes no room
                except OSError:
                    shutil.copyfile(path, kept)
                    kept.chmod(0o600)
        self._last = None
        for path in self._files():
            path.unlink()
        self.size = 0

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
