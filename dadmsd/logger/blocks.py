"""Compressed logs that can be read from anywhere: gzip files (RFC 1952) of many members, each of BLOCK bytes of text.

``zcat`` reads them like any other. Each member says in an extra field of its header how long it is, so that a reader steps from header to header to the block that
it wants and decompresses that one alone: the kernel answers questions about old logs, and must not be held up by them.
"""

import os
import struct
import zlib

BLOCK = 64 * 1024  # bytes of text a member: smaller ones compress worse, larger ones take a reader longer
_HEADER = struct.Struct("<4BI2BH2sHI")  # magic, deflate, flags; time; extra flags, system; extra length: field's name, size, content
_EXTRA = 0x04  # RFC 1952, FLG.FEXTRA
_NAME = b"DM"
_TRAILER = struct.Struct("<II")  # crc, size of the text
_LEVEL = 6  # zlib's own balance: 16 MB of text in half a second


def compress(source: int, target: int) -> None:
    """Write a file compressed into another; raises OSError."""
    while text := os.read(source, BLOCK):
        while len(text) < BLOCK and (more := os.read(source, BLOCK - len(text))):
            text += more
        deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = deflate.compress(text) + deflate.flush()
        length = _HEADER.size + len(body) + _TRAILER.size
        member = _HEADER.pack(0x1F, 0x8B, 8, _EXTRA, 0, 0, 255, 8, _NAME, 4, length) + body + _TRAILER.pack(zlib.crc32(text), len(text))
        while member:
            member = member[os.write(target, member) :]


def read(fd: int, offset: int, limit: int) -> bytes:
    """Give text from an offset of it, from one block, so maybe less than ``limit``; raises ValueError when the file is not whole."""
    at, first = 0, 0  # of the member in the file, of its text
    while header := os.pread(fd, _HEADER.size, at):
        try:
            *magic, _, _, _, _, name, _, length = _HEADER.unpack(header)
            if magic != [0x1F, 0x8B, 8, _EXTRA] or name != _NAME or length <= _HEADER.size + _TRAILER.size:
                raise ValueError("a member begins otherwise")
            crc, size = _TRAILER.unpack(os.pread(fd, _TRAILER.size, at + length - _TRAILER.size))
            if offset < first + size:
                body = os.pread(fd, length - _HEADER.size - _TRAILER.size, at + _HEADER.size)
                text = zlib.decompress(body, -zlib.MAX_WBITS, size)
                if zlib.crc32(text) != crc or len(text) != size:
                    raise ValueError("a member's sum differs")
                return text[offset - first :][:limit]
        except (struct.error, zlib.error) as error:
            raise ValueError(str(error)) from error
        at, first = at + length, first + size
    return b""
