"""Looks at what waits in a pipe without taking it (tee(2)): it is taken when it is written down, so that a logger that is killed in between loses nothing."""

import ctypes
import errno
import os

_SPLICE_F_NONBLOCK = 2  # linux/splice.h
_libc = ctypes.CDLL(None, use_errno=True)
_libc.tee.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)
_libc.tee.restype = ctypes.c_ssize_t


class Peephole:
    """A pipe of our own that others' content is copied into, and read from."""

    def __init__(self, size: int) -> None:
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._size = size

    def look(self, fd: int) -> bytes | None:
        """Give what waits in a pipe, ``size`` bytes of it at most; nothing when its writers are gone, None while nothing waits. Raises OSError."""
        copied: int = _libc.tee(fd, self._write_end, self._size, _SPLICE_F_NONBLOCK)
        if copied < 0:
            number = ctypes.get_errno()
            if number in (errno.EAGAIN, errno.EINTR):
                return None
            raise OSError(number, os.strerror(number))
        return os.read(self._read_end, copied) if copied else b""
