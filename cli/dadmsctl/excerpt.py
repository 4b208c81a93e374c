"""The end of a log for a person whose run has failed: what their own code said, and where in it the error is. Pure.

Each line loses its time and its process, of a traceback the frames of the machinery and the marks below lines are left out, and of many lines the last ones stay.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dadmsctl import loglines

SHOWN = 12  # lines
OURS = {"dadms_orchestrators", "dadms_ipc", "dadmsd"}  # packages whose frames say nothing about a user's code
_FRAME = re.compile(r'  File "(?P<path>[^"]+)", line \d+')
_MARKS = re.compile(r"\s+[~^]+\s*")


def excerpt(lines: Iterable[str]) -> list[str]:
    """Give the lines of a log that are worth a look."""
    return list(_own(loglines.read(line).text for line in lines))[-SHOWN:]


def _own(texts: Iterable[str]) -> Iterator[str]:
    is_ours = False
    for text in texts:
        frame = _FRAME.match(text)
        if frame:
            is_ours = not OURS.isdisjoint(Path(frame["path"]).parts)
        elif not text.startswith("    "):  # the source of a frame stands deeper than the frame
            is_ours = False
        if not is_ours and text.strip() and not _MARKS.fullmatch(text):
            yield text
