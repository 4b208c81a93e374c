"""Reads a log by place, from whichever of its files holds it; called by the kernel, so each call opens at most a few files and reads at most one block.

The logger goes on meanwhile. What was opened is what it was: a file that is set aside afterwards keeps its descriptor, and the places are right when the list of what
was set aside is the same before and after the opening; otherwise all is done again.
"""

import os
from pathlib import Path
from typing import NamedTuple

from dadmsd.logger import segments

ATTEMPTS = 20  # a log is not set aside as often as we look


class Piece(NamedTuple):
    """A piece of a log."""

    data: bytes
    offset: int  # place of its first byte
    end: int  # of the log, now
    first: int  # place of the oldest byte that is kept


def read(logs: Path, stem: str, offset: int, limit: int) -> Piece:
    """Give up to ``limit`` bytes from a place; a negative one counts from the end. Nothing only at the end; less, anywhere. Raises OSError."""
    directory, path = segments.aside(logs, stem), segments.path(logs, stem)
    for _ in range(ATTEMPTS):
        kept = segments.listed(directory)
        base = kept[-1].end if kept else 0
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            fd = -1
        try:
            if segments.end(directory) != base:
                continue
            end = base + (os.fstat(fd).st_size if fd >= 0 else 0)
            found = _find(directory, kept, offset if offset >= 0 else max(0, end + offset), limit)
            if found is None:
                continue  # one of them is compressed or removed just now
            first = _first(directory, kept, base)
            data, place = found
            if not data and fd >= 0 and place < end:
                data, place = os.pread(fd, limit, max(0, place - base)), max(place, base)
            return Piece(data, min(place, end) if not data else place, end, first)
        finally:
            if fd >= 0:
                os.close(fd)
    raise OSError(None, "it is set aside faster than it can be read")


def _first(directory: Path, kept: list[segments.Segment], base: int) -> int:
    for segment in kept:
        try:
            if (directory / segment.name).stat().st_size:
                return segment.first
        except OSError:
            continue
    return base


def _find(directory: Path, kept: list[segments.Segment], place: int, limit: int) -> tuple[bytes, int] | None:
    """Read from what was set aside: the bytes at a place, or at the next one that is kept. None: list again."""
    for segment in kept:
        if place >= segment.end:
            continue
        start = max(place, segment.first)
        try:
            fd = os.open(directory / segment.name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            if data := _read(fd, segment, start, limit):
                return data, start
        finally:
            os.close(fd)
        place = segment.end  # it is empty: its content had to go, or it is damaged
    return b"", place


def _read(fd: int, segment: segments.Segment, start: int, limit: int) -> bytes:
    if not segment.is_compressed:
        return os.pread(fd, min(limit, segment.end - start), start - segment.first)
    from dadmsd.logger import blocks  # here: most questions are about what was written just now

    try:
        return blocks.read(fd, start - segment.first, limit)
    except ValueError:
        return b""
