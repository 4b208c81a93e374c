"""Files and values that a user hands over: read whole or refused with the file, the line and the reason, before anything is started.

1. What may be a variable is JSON that survives the way unchanged: no NaN, no infinity, no integer beyond 64 bits, no key twice in one object.
2. ``--set k=v``: v is JSON when it reads as JSON, else the text itself; what begins like JSON (``{``, ``[``, ``"``) and is broken is refused, not taken as text.
3. Of several sources the later wins: files in their order, then ``--set``.
"""

import json
import math
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from dadms_ipc.errors import RequestRefused

FILE_LIMIT = 8 * 1024 * 1024  # bytes; larger data belongs into files that tasks read themselves
INHERITED = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")  # what the shell has opened, such as <(jq …): somebody writes to it
DEPTH_LIMIT = 64  # lists and objects within each other, of one variable, as orchestrators have it


class NotAValue(ValueError):
    """A JSON text that cannot be a variable; the text says why."""


def read_file(path: Path, what: str) -> bytes:
    """Give the bytes of a file; ``what`` names its part in errors: ``the model``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO that nobody writes to would keep us for ever
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode) and not str(path).startswith(INHERITED):
                raise RequestRefused(f'cannot read {what} "{path}": it is no regular file')
            os.set_blocking(descriptor, True)
            content = file.read(FILE_LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RequestRefused(f'cannot read {what} "{path}": {reason}') from error
    if len(content) > FILE_LIMIT:
        raise RequestRefused(f'cannot read {what} "{path}": it is larger than {FILE_LIMIT // 1024**2} MiB')
    return content


def parse_json(text: str, *, depth: int = 0) -> Any:
    """Read one JSON value that can be a variable, or with ``depth`` -1 a map of them; raises NotAValue or json.JSONDecodeError."""
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError as error:
        raise NotAValue(f"it is nested more than {DEPTH_LIMIT} levels deep") from error
    _inspect(value, "", depth)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotAValue(f'the key "{twice}" stands twice in one object')
    return made


def _constant(name: str) -> Any:
    raise NotAValue(f"{name} is not JSON")


def _inspect(value: Any, way: str, depth: int) -> None:
    """Refuse what JSON can write and messages cannot carry."""
    at = f' of "{way}"' if way else ""
    if depth >= DEPTH_LIMIT and isinstance(value, dict | list):
        raise NotAValue(f"it is nested more than {DEPTH_LIMIT} levels deep")
    match value:
        case bool():
            pass
        case int() if not -(2**63) <= value < 2**64:
            raise NotAValue(f"the integer{at} has {value.bit_length()} bits, at most 64 are carried")
        case float() if not math.isfinite(value):
            raise NotAValue(f"the number{at} is too large for a float")
        case str() if any("\ud800" <= character <= "\udfff" for character in value):
            raise NotAValue(f"the text{at} holds half of a surrogate pair")
        case dict():
            for name, item in value.items():
                _inspect(name, way, depth)
                _inspect(item, f"{way}.{name}" if way else name, depth + 1)
        case list():
            for index, item in enumerate(value):
                _inspect(item, f"{way}[{index}]", depth + 1)


def read_object(path: Path, what: str) -> dict[str, Any]:
    """Read a file that holds one JSON object; raises RequestRefused with line and column."""
    try:
        value = parse_json(read_file(path, what).decode("utf-8-sig"), depth=-1)
    except UnicodeDecodeError as error:
        raise RequestRefused(f'cannot read {what} "{path}": byte {error.start} is not UTF-8') from error
    except json.JSONDecodeError as error:
        raise RequestRefused(f"cannot read {what} {path}:{error.lineno}:{error.colno}: not JSON: {_lower(error.msg)}") from error
    except NotAValue as error:
        raise RequestRefused(f'cannot read {what} "{path}": {error}') from error
    if not isinstance(value, dict):
        raise RequestRefused(f'cannot read {what} "{path}": it holds {_kind(value)}, and an object with a key for each variable is needed')
    return value


def read_setting(text: str) -> tuple[str, Any]:
    """Read one ``k=v``; raises click.UsageError for text of another form, RequestRefused for a value that cannot be."""
    name, sign, value = text.partition("=")
    name = name.strip()
    if not sign or not name:
        raise click.UsageError(f'--set needs name=value, not "{text}"')
    try:
        return name, parse_json(value)
    except NotAValue as error:
        raise RequestRefused(f'cannot set "{name}": {error}') from error
    except json.JSONDecodeError as error:
        if value.lstrip()[:1] in ("{", "[", '"'):
            raise RequestRefused(f'cannot set "{name}": not JSON: {_lower(error.msg)} at column {error.colno}') from error
        return name, _as_text(name, value)


def _as_text(name: str, value: str) -> str:
    try:
        _inspect(value, "", 0)
    except NotAValue as error:  # bytes of the command line that are no UTF-8 come as surrogates
        raise RequestRefused(f'cannot set "{name}": its value is not UTF-8') from error
    return value


def read_variables(files: Iterable[Path], settings: Sequence[str]) -> dict[str, Any]:
    """Give the variables of all sources; the same name twice in ``--set`` is a mistake."""
    given: dict[str, Any] = {}
    for path in files:
        given |= read_object(path, "the input")
    named = [read_setting(text) for text in settings]
    names = [name for name, _ in named]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise click.UsageError(f"--set {twice}=… is given {names.count(twice)} times")
    return given | dict(named)


def read_config(text: str) -> dict[str, Any]:
    """Read ``--config``: a JSON object as it stands, or the name of a file that holds one."""
    if not text.lstrip().startswith("{"):
        return read_object(Path(text), "the configuration")
    try:
        value = parse_json(text, depth=-1)
    except (NotAValue, json.JSONDecodeError) as error:
        raise RequestRefused(f"cannot use --config: not JSON: {error}") from error
    assert isinstance(value, dict)
    return value


def read_environment(settings: Iterable[str]) -> dict[str, str]:
    """Read ``--env NAME=VALUE``: text as it stands."""
    pairs = [setting.partition("=") for setting in settings]
    for name, sign, _ in pairs:
        if not sign or not name:
            raise click.UsageError(f'--env needs NAME=VALUE, not "{name}"')
    names = [name for name, _, _ in pairs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise click.UsageError(f"--env {twice}=… is given {names.count(twice)} times")
    return {name: value for name, _, value in pairs}


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}[type(value)]


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
