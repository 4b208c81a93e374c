"""Turning what an entry did into a record for the page: a value that travels, or an error in words.

1. An error is data: its class, its text, the traceback from the first frame of the user's own code, and the code of a BPMN error. Each has a bound, so that
   a record always fits.
2. A value travels when msgpack can encode it and it is no larger than RESULT_LIMIT; otherwise the thread failed, and the error says what to do.
3. Numbers of numeric libraries, and subclasses of the plain types, travel as the plain types that they stand for.
"""

import numbers
import os
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from dadms_ipc.errors import DadmsError
from dadmsd.worker.messages import Outcome
from dadmsd.worker.page import RESULT_LIMIT

MESSAGE_LIMIT = 8 * 1024  # characters; up to four bytes each
TRACEBACK_LIMIT = 16 * 1024  # characters
NAME_LIMIT = 200  # characters of a class or a BPMN error code
DEPTH = 50  # levels of a value that are looked through for what cannot be encoded
INSTEAD = "return an artifact instead, whose reference is small (task.artifact(value) in a handler, thread.artifact(value) in an entry)"
KEPT_AS_ARTIFACTS = ("numpy.ndarray", "numpy.memmap", "pyarrow.lib.Table")  # what artifacts keep as it is and msgpack does not know

DECLARING = "dadms_orchestrators.entries"  # its frame stands before that of every ``@thread`` function

_NIL = msgspec.Raw(b"\xc0")
_OWN = str(Path(__file__).resolve().parent) + os.sep


class Record(msgspec.Struct, frozen=True, array_like=True):
    """An Outcome whose value is encoded with the rest, in one go; the fields are those of ``messages.Outcome``."""

    sequence: int
    tid: int
    status: str
    value: Any
    kind: str
    message: str
    traceback: str
    code: str
    started_at: float
    run_seconds: float
    cpu_seconds: float


def plain(value: Any) -> Any:
    """Give the plain value that an object stands for; the encoder asks for what it does not know."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational):
        return float(value)
    raise TypeError("no plain value")


encode = msgspec.msgpack.Encoder(enc_hook=plain).encode


class Timing(msgspec.Struct, frozen=True):
    """When a thread ran, and what it took."""

    started_at: float  # wall clock, seconds
    run_seconds: float
    cpu_seconds: float


def record_of_error(
    sequence: int, tid: int, error: BaseException, timing: Timing, *, status: str = "error", trace: str | None = None
) -> bytes:
    """Encode the outcome of a thread whose entry raised; ``trace`` is its traceback where that was made before."""
    code = getattr(error, "bpmn_code", "")
    return _record_of_failure(
        Outcome(
            sequence,
            tid,
            status,
            _NIL,
            kind=_sound(_kind(error), NAME_LIMIT),
            message=_sound(_text(error), MESSAGE_LIMIT),
            traceback=_sound(shortened(error) if trace is None else trace, TRACEBACK_LIMIT, is_end=True),
            code=_sound(code, NAME_LIMIT) if isinstance(code, str) else "",
            started_at=timing.started_at,
            run_seconds=timing.run_seconds,
            cpu_seconds=timing.cpu_seconds,
        )
    )


def record_of_result(sequence: int, tid: int, value: object, timing: Timing) -> bytes:
    """Encode the outcome of a thread whose entry returned, whatever that is."""
    try:
        record = encode(
            Record(sequence, tid, "completed", value, "", "", "", "", timing.started_at, timing.run_seconds, timing.cpu_seconds)
        )
        if len(record) > RESULT_LIMIT:
            size = len(encode(value))
            if size > RESULT_LIMIT:
                return record_of_size(sequence, tid, size, timing)
    except MemoryError as error:
        return record_of_error(sequence, tid, error, timing)
    except Exception as error:  # an object's own code runs while it is encoded
        return record_of_value(sequence, tid, value, error, timing)
    return record


def record_of_size(sequence: int, tid: int, size: int, timing: Timing) -> bytes:
    """Encode the outcome of a thread whose result is above the limit."""
    message = f"the result takes {size} bytes, and at most {RESULT_LIMIT} travel between processes: {INSTEAD}"
    return _record_of_failure(_failed(sequence, tid, "result-too-large", message, timing))


def record_of_value(sequence: int, tid: int, value: object, error: BaseException, timing: Timing) -> bytes:
    """Encode the outcome of a thread whose result cannot be encoded."""
    try:
        message = f"the result cannot travel between processes: {_culprit(value) or _text(error)}"
    except Exception as failure:  # the value's own iteration
        message = f"the result cannot travel between processes: looking at it raises {type(failure).__name__}"
    return _record_of_failure(_failed(sequence, tid, "result-not-encodable", message, timing))


def _failed(sequence: int, tid: int, kind: str, message: str, timing: Timing) -> Outcome:
    text = _sound(message, MESSAGE_LIMIT)
    return Outcome(
        sequence,
        tid,
        "error",
        _NIL,
        kind,
        text,
        started_at=timing.started_at,
        run_seconds=timing.run_seconds,
        cpu_seconds=timing.cpu_seconds,
    )


def _record_of_failure(outcome: Outcome) -> bytes:
    return msgspec.msgpack.encode(outcome)


def _kind(error: BaseException) -> str:
    """Name the class of an exception. One without a name is given one: no name at all stands for nothing raised."""
    try:
        return str(type(error).__name__) or "(unnamed)"
    except BaseException:  # a user's metaclass
        return "(unnamed)"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # a user's __str__, which may also exit
        return "(its text cannot be shown)"


def _sound(text: str, limit: int, *, is_end: bool = False) -> str:
    """Cut a text to its bound, and replace what no encoding can carry."""
    if len(text) > limit:
        text = f"…{text[-limit:]}" if is_end else f"{text[:limit]}…"
    return text.encode("utf-8", "backslashreplace").decode() if not text.isascii() else text


def shortened(error: BaseException) -> str:
    """Format a traceback from the first frame of the user's code on, or below the worker's own where none is theirs; an error of ours says all in its text."""
    if isinstance(error, DadmsError):
        return ""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OWN):
        frames = frames.tb_next
    theirs = frames
    while theirs is not None and theirs.tb_frame.f_globals.get("__name__") == DECLARING:
        theirs = theirs.tb_next
    frames = theirs or frames
    try:
        return "".join(traceback.format_exception(type(error), error, frames))
    except BaseException as failure:  # a user's __str__, which may also exit
        return f"{_kind(error)} (its traceback cannot be shown: {type(failure).__name__})\n"


def _culprit(value: object, path: str = "result", depth: int = 0) -> str:
    """Name the first part of a value that msgpack cannot encode; empty when there is none."""
    if depth > DEPTH:
        return f"{path} is nested too deeply, or contains itself"
    parts: list[tuple[str, object]] = []
    if isinstance(value, dict):
        for key, part in value.items():
            parts.append((f"the key {key!r:.80} of {path}", key))
            parts.append((f"{path}[{key!r:.80}]", part))
    elif isinstance(value, (list, tuple)):
        parts.extend((f"{path}[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        parts.extend((f"an element of {path}", part) for part in value)
    else:
        fields = getattr(value, "__struct_fields__", None) or getattr(value, "__dataclass_fields__", None)
        if fields and not isinstance(value, type):
            parts.extend((f"{path}.{field}", getattr(value, field, None)) for field in fields)
    for name, part in parts:
        found = _culprit(part, name, depth + 1)
        if found:
            return found
    if parts:
        return ""
    try:
        encode(value)
    except TypeError:
        name = _type_name(value)
        return f"{path} is a {name}, which msgpack cannot encode{f': {INSTEAD}' if name in KEPT_AS_ARTIFACTS else ''}"
    except Exception as error:  # an object's own code runs while it is encoded
        return f"{path} is a {_type_name(value)}, which msgpack cannot encode ({_text(error)})"
    return ""


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
