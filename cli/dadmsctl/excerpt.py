"""The end of a log for a person whose run has failed: what their own code said, and where in it the error is. Pure.

Each line loses its time and its process. Of a traceback only the frames in the user's own files and the error stay, without its headline, its marks and the frames of the machinery; one that has no
frame in a file of theirs says nothing to them, and goes altogether: the reason of the failure is told anyway. Of many lines the last ones stay.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dadmsctl import loglines

SHOWN = 12  # lines
OURS = {"dadms_orchestrators", "dadms_ipc", "dadmsd"}  # packages whose frames say nothing about a user's code
_FRAME = re.compile(r'  File "(?P<path>[^"]+)", line \d+')
_HEADLINES = ("Traceback (most recent call last):", "The above exception was the direct cause", "During handling of the above exception")
_WHOSE = re.compile(r"thread \d+ \([^()]*\):")  # what stands before a traceback that a worker wrote
_MARKS = re.compile(r"\s+[~^]+\s*")


def excerpt(lines: Iterable[str]) -> list[str]:
    """Give the lines of a log that are worth a look."""
    return list(_own(loglines.read(line).text for line in lines))[-SHOWN:]


def _own(texts: Iterable[str]) -> Iterator[str]:
    is_ours = False
    kept: list[str] | None = None  # of the traceback that is being read: what stays of it if a frame is the user's
    for text in texts:
        frame = _FRAME.match(text)
        if _WHOSE.fullmatch(text):
            continue
        if text.startswith(_HEADLINES):
            kept = []
            continue
        if kept is not None:
            if frame:
                is_ours = not OURS.isdisjoint(Path(frame["path"]).parts)
            if text.startswith("  "):  # a frame, its source, its marks
                if not is_ours and not _MARKS.fullmatch(text):
                    kept.append(text)
                continue
            if not text.strip():
                continue
            yield from [*kept, text] if kept else []  # the error itself is the last line
            kept, is_ours = None, False
            continue
        if frame:
            is_ours = not OURS.isdisjoint(Path(frame["path"]).parts)
        elif not text.startswith("    "):  # the source of a frame stands deeper than the frame
            is_ours = False
        if not is_ours and text.strip() and not _MARKS.fullmatch(text):
            yield text
