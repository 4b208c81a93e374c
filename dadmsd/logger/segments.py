"""The files of one log, and the place of each byte in it.

1. ``1001.log`` is written to. A file that was set aside is ``1001.log.d/FIRST-END``, compressed ``1001.log.d/FIRST-END.gz``: the bytes of the log that it holds, counted
   from the log's first one. So a place in a log is one number, whatever has been set aside, compressed or removed since, and a reader that follows goes on across it.
2. The newest name says where ``1001.log`` begins. It stays as long as that file does; where its content must go, it stays empty.
3. Each step is one rename or removal: a logger that is killed leaves the state before or after it. A name that ends in ``.new`` is nobody's.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(r"(\d{1,19})-(\d{1,19})(\.gz)?")
UNFINISHED = ".new"


class Segment(NamedTuple):
    """A file that was set aside."""

    first: int  # place of its first byte in the log
    end: int  # place after its last one
    is_compressed: bool

    @property
    def name(self) -> str:
        """Give the name of its file."""
        return f"{self.first}-{self.end}{'.gz' if self.is_compressed else ''}"


def path(logs: Path, stem: str) -> Path:
    """Give the file that is written to."""
    return logs / f"{stem}.log"


def aside(logs: Path, stem: str) -> Path:
    """Give the directory of what was set aside."""
    return logs / f"{stem}.log.d"


def listed(directory: Path) -> list[Segment]:
    """List what was set aside, oldest first; where a file is there both ways, both are listed, the compressed one last."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - names
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [_NAME.fullmatch(name) for name in names]
    return sorted(Segment(int(match[1]), int(match[2]), match[3] is not None) for match in found if match)


def end(directory: Path) -> int:
    """Give the place where the file begins that is written to."""
    return max((segment.end for segment in listed(directory)), default=0)
