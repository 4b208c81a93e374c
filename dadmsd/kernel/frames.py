"""The frames of the tail: how one is written, and how a file of them is read when the disk did not keep it as it was.

1. A frame is its sequence (8 bytes, little-endian), the length of its payload (4), a CRC-32 of sequence and payload (4), and the payload, a msgpack value.
2. A file may end in the beginning of a frame: its kernel died as it wrote. That is no damage, for it was never said to anybody.
3. One bit that is another than was written is put right: a CRC-32 tells which. That is done only where the result is a msgpack value, so a file that is wrong in other ways
   is not made worse: a wrong "correction" of a frame of n bytes passes its checksum once in 2^29 / n times.
4. After a frame that stays broken the next whole one is looked for, so that it is known whether something follows it, and how much.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

MAGIC: Final = b"dadms journal 1\n"
HEADER: Final = struct.Struct("<QII")  # sequence, bytes of the payload, CRC-32 of sequence and payload
_SEQUENCE = struct.Struct("<Q")
MENDED_MOST = 1 << 20  # bytes of a payload in which a bit is looked for: a third of a second
AHEAD_MOST = 1 << 20  # turns that may be missing before a whole frame: what is further away is taken for chance


class Frame(msgspec.Struct, frozen=True):
    """A frame that is whole, or was made so."""

    sequence: int
    payload: bytes
    place: int  # where it begins in its file, bytes
    end: int
    is_mended: bool = False


def pack(sequence: int, payload: bytes) -> bytes:
    """Make the bytes of a frame."""
    return HEADER.pack(sequence, len(payload), _checksum(sequence, payload)) + payload


def read(content: bytes, first: int) -> Iterator[Frame]:
    """Give the frames of a file, oldest first; ``first`` is the sequence that its name says. What lies between the end of one and the place of the next is broken."""
    place, newest = len(MAGIC), first - 1
    end = len(content.rstrip(b"\0"))  # what follows is room
    while place < end:
        frame = _whole(content, place) or _mended(content, place, newest + 1)
        if frame is None:
            place = _next_whole(content, place + 1, end, newest)
            continue
        yield frame
        place, newest = frame.end, frame.sequence


def _checksum(sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_SEQUENCE.pack(sequence)))


def _whole(content: bytes, place: int) -> Frame | None:
    if place + HEADER.size > len(content):
        return None
    sequence, length, checksum = HEADER.unpack_from(content, place)
    end = place + HEADER.size + length
    if end > len(content):
        return None
    payload = content[place + HEADER.size : end]
    return Frame(sequence, payload, place, end) if _checksum(sequence, payload) == checksum else None


def _next_whole(content: bytes, place: int, end: int, newest: int) -> int:
    """Give the place of the next whole frame whose sequence is near; the end if there is none."""
    upper = {_SEQUENCE.pack(near)[2:] for near in (newest + 1, newest + 0x10000)}  # the lower two bytes may be any
    pattern = re.compile(b"(?s)(?=(?!\0{8})..(?:" + b"|".join(map(re.escape, upper)) + b"))")
    for match in pattern.finditer(content, place, end):
        frame = _whole(content, match.start())
        if frame is not None and frame.payload and newest < frame.sequence <= newest + AHEAD_MOST:
            return match.start()
    return end


# one wrong bit


def _mended(content: bytes, place: int, expected: int) -> Frame | None:
    """Give the frame that is there but for one bit, if it is the one that was to follow."""
    if place + HEADER.size > len(content):
        return None
    sequence, length, checksum = HEADER.unpack_from(content, place)
    for bit in range(32):  # of the length, which no checksum covers
        frame = _made(content, place, sequence, length ^ 1 << bit, checksum)
        if frame is not None:
            return frame if frame.sequence == expected else None
    end = place + HEADER.size + length
    if end > len(content) or length > MENDED_MOST:
        return None
    summed = bytearray(content[place : place + _SEQUENCE.size] + content[place + HEADER.size : end])
    difference = zlib.crc32(summed) ^ checksum
    if difference & (difference - 1):  # else the bit is the checksum's own
        found = _place_of(difference, len(summed))
        if found is None:
            return None
        summed[found[0]] ^= 1 << found[1]
    sequence, payload = _SEQUENCE.unpack_from(summed)[0], bytes(summed[_SEQUENCE.size :])
    return Frame(sequence, payload, place, end, is_mended=True) if sequence == expected and _is_value(payload) else None


def _made(content: bytes, place: int, sequence: int, length: int, checksum: int) -> Frame | None:
    end = place + HEADER.size + length
    if end > len(content):
        return None
    payload = content[place + HEADER.size : end]
    if _checksum(sequence, payload) != checksum or not _is_value(payload):
        return None
    return Frame(sequence, payload, place, end, is_mended=True)


def _is_value(payload: bytes) -> bool:
    try:
        msgspec.msgpack.decode(payload)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


_TABLE = [zlib.crc32(bytes([byte]), 0xFFFFFFFF) ^ 0xFFFFFFFF for byte in range(256)]  # CRC-32 of one byte, from zero (RFC 1952, section 8)
_BACK = {entry >> 24: index for index, entry in enumerate(_TABLE)}  # each upper byte comes once
_BITS = {_TABLE[1 << bit]: bit for bit in range(8)}  # what a bit of the last byte makes of a checksum


def _place_of(difference: int, size: int) -> tuple[int, int] | None:
    """Give the byte and the bit whose change makes this difference in the checksum of so many bytes; None when it is more than a bit."""
    for byte in range(size - 1, -1, -1):
        if difference in _BITS:
            return byte, _BITS[difference]
        index = _BACK[difference >> 24]  # a byte earlier the same change went through one more step of the table
        difference = (difference ^ _TABLE[index]) << 8 & 0xFFFFFFFF | index
    return None
