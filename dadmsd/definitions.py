"""Processes that are defined in files: a directory of TOML files, each with one process or several, read into specifications.

1. ``NAME.toml`` with keys at its top defines the process NAME; ``[process.NAME]`` tables define one each. The keys are the fields of ``dadms_ipc.requests.Spec``, and a few that are
   easier to write (``user``, ``memory = "2G"``, a command as one string).
2. Each file stands alone: what is wrong in one is told with file, line, key and the nearest name that exists, and the others count.
3. A program that is not there costs its own definition only: whether it is there is the host's to say, and may change.
4. What is written is meant: names are compared as they are, nothing is expanded, and no key is guessed.
5. A directory that is not there defines nothing. One that is there and cannot be read, or not whole, says nothing about what is missing: nothing ends for that.
"""

import difflib
import functools
import grp
import os
import pwd
import re
import shlex
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc.errors import RequestRefused
from dadms_ipc.requests import Limits, Spec
from dadmsd import config, programs
from dadmsd.kernel.core.bounds import BYTES_MOST, text_flaw
from dadmsd.kernel.core.defined import Definition, Reading
from dadmsd.kernel.core.soundness import flaws

SUFFIX = ".toml"
FILES_MOST = 10_000
SIZES = {"memory", "worker_memory", "core", "memory_high", "swap"}  # of Limits, written as bytes or with a unit
COMMANDS = {"command", "ready_command", "live_command"}
OWN = {"user": "uid", "user_group": "gid", "enabled": ""}  # keys that are no field of Spec -> the field that they stand for
HIDDEN = {"uid", "gid", "parent"}  # fields that are no key
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmgt]?)(i?b)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


class Mistake(Exception):
    """A value that cannot be meant; its text says why."""


def read(directory: Path | str | None) -> Reading:
    """Read a directory; one that is not there defines nothing, and neither does a file with a mistake."""
    if directory is None:
        return Reading()
    found = gather(directory)
    first: dict[str, str] = {}  # file -> its first mistake
    for each in found.mistakes:
        first.setdefault(re.split(r":(?:\d+:)? ", each, maxsplit=1)[0], each)
    bad = set(found.bad_files)
    spoilt: dict[str, str] = {}
    for file in found.bad_files:
        spoilt |= dict.fromkeys(names_in(Path(directory, file)), f"its file has a mistake: {first.get(file, file)}")
    counted = [each for each in found.definitions if each.file not in bad]
    return Reading(counted, found.mistakes, found.bad_files, spoilt, is_whole=found.is_whole)


def mistaken(reading: Reading, directory: str) -> str:
    """Say in one line, for who starts a daemon, that not all of a directory counts; "" where it does."""
    found = [*reading.mistakes, *(f"{each.file}: {why}" for each in reading.definitions if each.is_enabled for why in each.lacks.values())]
    if not found:
        return ""
    count = "a mistake" if len(found) == 1 else f"{len(found)} mistakes, the first"
    return f'{count} in "{directory}": {found[0]}; dadmsctl config check {shlex.quote(directory)} tells all'


def names_in(path: Path) -> set[str]:
    """Give the names that a file with mistakes would define, as far as it can be read."""
    import tomllib  # here: most daemons have no definitions

    try:
        tables = tomllib.loads(config.read(path)).get("process")
    except (RequestRefused, ValueError, RecursionError):
        return {path.stem}
    return set(tables) if isinstance(tables, dict) else {path.stem}


def gather(directory: Path | str) -> Reading:
    """Read a directory with all that can be understood of files with mistakes as well."""
    definitions: dict[str, Definition] = {}
    mistakes: list[str] = []
    bad: list[str] = []
    names, lack = _listed(directory)
    for name in names[:FILES_MOST]:
        label = sayable(name)
        found, wrong = _judged(Path(directory, name)) if label == name else ([], [(0, "its name is not UTF-8")])
        for definition, line in found:
            other = definitions.get(definition.name)
            if other is not None:
                wrong.append((line, f'process "{definition.name}" is defined in {other.file} already'))
            else:
                definitions[definition.name] = definition
        if wrong:
            bad.append(label)
            mistakes += [f"{label}:{line}: {text}" if line else f"{label}: {text}" for line, text in sorted(wrong)]
    if lack:
        mistakes.append(f"{sayable(str(directory))}: {lack}")
    return Reading(list(definitions.values()), mistakes, bad, is_whole=not lack)


def _listed(directory: Path | str) -> tuple[list[str], str]:
    """Give the names of the files, and why that is not all."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(SUFFIX))  # noqa: PTH208 - names, and the error that glob hides
    except (FileNotFoundError, NotADirectoryError):
        return [], ""
    except OSError as error:
        return [], f"it cannot be read ({error.strerror}), and what it defined stays as it is"
    if len(names) > FILES_MOST:
        return names, f"{len(names)} files are in it, and the first {FILES_MOST} are read; what the others defined stays as it is"
    return names, ""


def sayable(text: str) -> str:
    """Write the bytes of a name that are not UTF-8 as escapes: nothing else can be sent or stored (PEP 383)."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _judged(path: Path) -> tuple[list[tuple[Definition, int]], list[tuple[int, str]]]:
    """Read a file; where the reader itself fails at it, that is told as its mistake, and the others count."""
    try:
        return _read_file(path)
    except Exception as error:  # whatever it is: no file may end the kernel, or keep the others from being read
        return [], [(0, f"the check itself broke: {type(error).__name__}: {error}")]


def _read_file(path: Path) -> tuple[list[tuple[Definition, int]], list[tuple[int, str]]]:
    import tomllib  # here: most daemons have no definitions

    try:
        text = config.read(path)
        document = tomllib.loads(text)
    except RequestRefused as error:
        return [], [(0, str(error).partition('": ')[2] or str(error))]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        return [], [(_line_of_error(error), f"not TOML: {str(error).partition(' (at')[0]}")]
    tables = document.get("process")
    if not isinstance(tables, dict):
        return _define(path, text, path.stem, document, "")
    found: list[tuple[Definition, int]] = []
    wrong = [
        (_line_of(text, "", key), f'"{key}" stands beside [process.NAME] tables: it belongs into one of them')
        for key in document
        if key != "process"
    ]
    for name, content in tables.items():
        if not isinstance(content, dict):
            wrong.append((_line_of(text, "process", name), f"[process.{name}] must be a table"))
            continue
        more, worse = _define(path, text, name, content, f"process.{name}")
        found += more
        wrong += worse
    return found, wrong


@functools.cache
def _types_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(struct)}


def _line_of_error(error: Exception) -> int:
    place = re.search(r"at line (\d+)", str(error))
    return int(place[1]) if place else 1


def _define(
    path: Path, text: str, name: str, content: dict[str, Any], table: str
) -> tuple[list[tuple[Definition, int]], list[tuple[int, str]]]:
    wrong: list[tuple[int, str]] = []
    values: dict[str, Any] = {"name": name, "kind": "orchestrator" if "orchestrator" in content else "service"}
    types = _types_of(Spec)
    keys = [key for key in [*types, *OWN] if key not in HIDDEN]
    is_enabled = True
    meant: set[str] = set()  # keys that others were probably meant to be
    for key, value in content.items():
        where = f"[{table}] {key}" if table else key
        line = _line_of(text, table, key)
        if key not in keys:
            near, hint = _nearest(key, keys, Limits.__struct_fields__, "of [limits]")
            meant.add(near)
            wrong.append((line, f'unknown key "{key}"{hint}'))
            continue
        if key != "config" and (flaw := text_flaw(key, value)):
            wrong.append((line, f'"{name}": {flaw}'))
            continue
        try:
            if key == "enabled":
                is_enabled = msgspec.convert(value, bool)
            elif key == "limits":
                values[key] = _limits(text, table, value, wrong)
            else:
                values[OWN.get(key, key)] = _value(key, value, types, path)
        except (Mistake, msgspec.ValidationError) as error:
            reason = str(error).replace("`", "")
            wrong.append((line, f"{where} = {value!r}: {reason[:1].lower()}{reason[1:]}"))
    spec = Spec(**values)
    head = _line_of(text, table, None)
    lines = _lines(text, table, content, head)
    unread = meant | {
        key for key in content if OWN.get(key, key) not in values
    }  # what cannot be read is told already: what its lack leads to is no news
    wrong += [(lines.get(key) or head, f'"{name}": {flaw}') for key, flaw in flaws(spec) if key not in unread]
    if wrong:
        return [], wrong
    return [(Definition(spec.name, path.name, spec, is_enabled, lines, programs.lacks(spec)), head)], []


def _lines(text: str, table: str, content: dict[str, Any], head: int) -> dict[str, int]:
    """Find where each field of a specification, and each of its limits, is written."""
    lines = {"": head} | {OWN.get(key, key): _line_of(text, table, key) for key in content}
    below = f"{table}.limits" if table else "limits"
    limits = content.get("limits", {})
    if not isinstance(limits, dict):
        return lines
    return lines | {key: _line_of(text, below, key) or lines["limits"] for key in limits}


def _limits(text: str, table: str, value: Any, wrong: list[tuple[int, str]]) -> Limits:
    if not isinstance(value, dict):
        raise Mistake("it must be a table")
    types = _types_of(Limits)
    values: dict[str, Any] = {}
    below = f"{table}.limits" if table else "limits"
    for key, each in value.items():
        line = _line_of(text, below, key) or _line_of(text, table, "limits")
        if key not in types:
            own = [each for each in [*Spec.__struct_fields__, *OWN] if each not in HIDDEN]
            _, hint = _nearest(key, types, own, "of the process itself")
            there = f"; there are {', '.join(types)}"
            wrong.append((line, f'unknown limit "{key}"{hint or there}'))
            continue
        try:
            values[key] = msgspec.convert(size(each) if key in SIZES and isinstance(each, str) else each, types[key])
        except (Mistake, msgspec.ValidationError) as error:
            reason = str(error).replace("`", "")
            wrong.append((line, f"limit {key} = {each!r}: {reason[:1].lower()}{reason[1:]}"))
    return Limits(**values)


def _nearest(key: str, here: Collection[str], elsewhere: Collection[str], whose: str) -> tuple[str, str]:
    """Give the name of this table that a key was probably meant to be, or "", and what to say of it; ``elsewhere`` are the names of the table that it may belong into, ``whose`` says which."""
    if key in elsewhere:
        return "", f": it is a key {whose}"
    near = difflib.get_close_matches(key, [*here, *elsewhere], 1, cutoff=0.4)  # of two that are as near, the last of the alphabet
    if not near:
        return "", ""
    return (near[0], f'; did you mean "{near[0]}"?') if near[0] in here else ("", f'; did you mean "{near[0]}" {whose}?')


def size(text: str) -> int:
    """Read bytes: ``64M``, ``1.5G``; a unit is a power of 1024."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise Mistake("it is no size: write bytes, or a number and K, M, G or T, such as 64M")
    amount = float(found["number"]) * _UNITS[found["unit"].lower()]
    if amount > BYTES_MOST:
        raise Mistake("it is too large: the most is 1024T")
    return int(amount)


def _value(key: str, value: Any, types: dict[str, Any], path: Path) -> Any:
    """Read one value; raises Mistake or msgspec.ValidationError."""
    if key == "user":
        return _number_of(value, "user", lambda name: pwd.getpwnam(name).pw_uid, lambda number: pwd.getpwuid(number).pw_uid)
    if key == "user_group":
        return _number_of(value, "group", lambda name: grp.getgrnam(name).gr_gid, lambda number: number)
    if key in COMMANDS and isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise Mistake(str(error)) from None
    if key == "memory_request" and isinstance(value, str):
        return size(value)
    if key == "umask" and isinstance(value, str):
        try:
            return int(value, 8)
        except ValueError:
            raise Mistake("it is no mask of modes: write it in octal, such as 027") from None
    if key == "stop_signal" and isinstance(value, str):
        name = value.upper() if value.upper().startswith("SIG") else f"SIG{value.upper()}"
        if name not in signal.Signals.__members__:
            raise Mistake("there is no such signal")
        return int(signal.Signals[name])
    if key == "config":
        table = msgspec.convert(value, dict[str, Any])
        try:
            return msgspec.Raw(msgspec.msgpack.encode(table))
        except (OverflowError, TypeError) as error:
            raise Mistake(f"it cannot be kept: {error}") from None
    if key == "handlers" and isinstance(value, str):
        place = str((path.parent / value).resolve())
        if sayable(place) != place:
            raise Mistake(f'it is "{sayable(place)}", which is not UTF-8')
        return place
    return msgspec.convert(value, types[key])


def _number_of(value: Any, what: str, by_name: Any, by_number: Any) -> int:
    try:
        if isinstance(value, str):
            return int(by_name(value))
        return int(by_number(msgspec.convert(value, int)))
    except (KeyError, OverflowError):
        raise Mistake(f"there is no {what} {value!r}") from None


def _line_of(text: str, table: str, key: str | None) -> int:
    """Find the line (from 1) of a table's header, or of a key in it; 0 when it is not there, 1 for the top of the file."""
    current, header = "", 0 if table else 1
    for number, line in enumerate(text.splitlines(), start=1):
        if found := re.match(r"\s*\[\s*([^\]#]+?)\s*\]", line):
            current = re.sub(r"[\"'\s]", "", found.group(1))
            if current == table:
                header = header or number
            if key is not None and current == f"{table}.{key}".lstrip("."):
                return number
        elif key is not None and current == table and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
            return number
    return header if key is None else 0
