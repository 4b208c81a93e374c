"""How full a disk is, in words."""

import errno
import os
from pathlib import Path

SQLITE_FULL = 13  # sqlite.org/rescode.html
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # there is no room, for anybody or for us; others are faults of the disk


def shortage(directory: Path, error: Exception) -> str:
    """Say why nothing more can be written below a directory, with the numbers where room is what lacks."""
    code = getattr(error, "sqlite_errorcode", None)  # of an error of SQLite's
    number = error.errno if isinstance(error, OSError) else None
    is_full = number in FULL or (code is not None and code & 0xFF == SQLITE_FULL)
    if number is None and is_full:
        number = errno.ENOSPC
    why = os.strerror(number).lower() if number is not None else str(error)
    return f'{why} ("{directory}"{f": {_numbers(directory)}" if is_full else ""})'


def _numbers(directory: Path) -> str:
    try:
        found = os.statvfs(directory)
    except OSError as error:
        return str(error.strerror)
    free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    return f"{free / (1 << 20):.1f} MiB free of {whole / (1 << 20):.0f} MiB"
